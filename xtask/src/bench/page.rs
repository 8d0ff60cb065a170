//! The page that shows what was measured.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, Result};

use super::load::{Case, Figures, KEYS, VALUE_BYTES};
use super::{Measured, Options};

const HEAD: &str = "\
# Benchmarks

Written by `just bench`, which measured all systems in one run on one machine; load and servers
share its cores. All answer a write only when it is on disk: kvorum and etcd on a majority of three
nodes, all of them on this machine, redis-server on its one. *strong* is a linearizable keyspace, as
etcd is, *QUORUM* an eventual one. The load comes from redis-benchmark on connections to one node;
for etcd from gRPC clients of our own, spread over its nodes. *CPU* is CPU seconds of all server
processes per million requests; compare by it first.
";

/// The whole page.
pub(crate) fn render(measured: &[Measured], options: &Options) -> Result<String> {
    let mut page = HEAD.to_owned();
    writeln!(page, "\n{}\n", conditions(options)?)?;
    writeln!(page, "| work | system | requests/s | p50 ms | p99 ms | CPU |")?;
    writeln!(page, "|---|---|---|---|---|---|")?;
    for Measured { system, case, figures } in measured {
        writeln!(page, "| {} | {system} | {} |", work(case), cells(figures))?;
    }
    Ok(page)
}

/// Says on the terminal how one case went.
pub(crate) fn progress(system: &str, case: &Case, figures: &Figures) -> Result<()> {
    writeln!(std::io::stdout(), "{}; {system}: {}", work(case), cells(figures))?;
    Ok(())
}

fn work(case: &Case) -> String {
    let Case { command, clients, pipeline, .. } = case;
    format!("{}, clients: {clients}, pipelining: {pipeline}", command.to_uppercase())
}

fn cells(figures: &Figures) -> String {
    let Figures { per_second, p50_ms, p99_ms, cpu_seconds } = figures;
    format!("{per_second:.0} | {p50_ms:.2} | {p99_ms:.2} | {cpu_seconds:.1}")
}

fn conditions(options: &Options) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let commit = output_of("git", &["describe", "--always", "--dirty"])?;
    let redis = output_of("redis-server", &["--version"])?;
    let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?");
    let etcd = output_of("etcd", &["--version"])?;
    let etcd = etcd.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or("?");
    Ok(format!(
        "Values of {VALUE_BYTES} bytes, {KEYS} keys, medians of {} rounds; {cores} cores, Linux {}; \
         kvorum {commit}, redis-server {redis}, etcd {etcd}.",
        options.rounds,
        kernel.trim(),
    ))
}

fn output_of(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::load::CASES;
    use super::*;

    #[test]
    fn every_measurement_is_one_line_of_the_table() {
        let figures = Figures { per_second: 1234.5, p50_ms: 0.25, p99_ms: 1.0, cpu_seconds: 17.04 };
        let one = Measured { system: "x", case: CASES[0].clone(), figures };
        let page = render(&[one], &Options::default()).unwrap();
        let expected = "| SET, clients: 1, pipelining: 1 | x | 1234 | 0.25 | 1.00 | 17.0 |";
        assert_eq!(page.lines().last(), Some(expected));
    }
}
