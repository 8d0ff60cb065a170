//! The load, once per case and round: redis-benchmark, or our own clients of etcd.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Protocol, System, etcd};

/// One kind of load.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The command, as redis-benchmark names its test.
    pub(crate) command: &'static str,
    /// How many connections.
    pub(crate) clients: u32,
    /// How many commands each has under way.
    pub(crate) pipeline: u32,
    /// How many requests in all.
    requests: u32,
}

/// Values are of this many bytes.
pub(crate) const VALUE_BYTES: u32 = 100;

/// Keys are drawn from this many.
pub(crate) const KEYS: u32 = 100_000;

/// Writes come first, so that reads find something.
pub(crate) const CASES: &[Case] = &[
    Case { command: "set", clients: 1, pipeline: 1, requests: 20_000 },
    Case { command: "set", clients: 50, pipeline: 1, requests: 200_000 },
    Case { command: "set", clients: 1, pipeline: 16, requests: 200_000 },
    Case { command: "set", clients: 50, pipeline: 16, requests: 1_000_000 },
    Case { command: "get", clients: 1, pipeline: 1, requests: 40_000 },
    Case { command: "get", clients: 50, pipeline: 1, requests: 300_000 },
    Case { command: "get", clients: 1, pipeline: 16, requests: 300_000 },
    Case { command: "get", clients: 50, pipeline: 16, requests: 1_500_000 },
];

/// What one round measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Requests per second.
    pub(crate) per_second: f64,
    /// Median latency in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of latency in milliseconds.
    pub(crate) p99_ms: f64,
    /// CPU seconds of all server processes per million requests.
    pub(crate) cpu_seconds: f64,
}

/// Runs one round of a case against a system.
pub(crate) fn run(case: &Case, scale: f64, system: &System<'_>) -> Result<Figures> {
    let server = system.server;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let requests = (f64::from(case.requests) * scale).max(1.0) as u32;
    let before = server.cpu_seconds()?;
    let mut figures = match system.protocol {
        Protocol::Redis(database) => redis_benchmark(case, requests, server.port, database)?,
        Protocol::Etcd => etcd::run(case, requests, &server.ports)?,
    };
    let used = server.cpu_seconds()? - before;
    figures.cpu_seconds = used * 1e6 / f64::from(requests);
    Ok(figures)
}

fn redis_benchmark(case: &Case, requests: u32, port: u16, database: u8) -> Result<Figures> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-t", case.command, "--csv"])
        .args(["-n", &requests.to_string(), "-c", &case.clients.to_string()])
        .args(["-P", &case.pipeline.to_string(), "-d", &VALUE_BYTES.to_string()])
        .args(["-r", &KEYS.to_string(), "--dbnum", &database.to_string()])
        .output()
        .context("running redis-benchmark (Debian: redis-tools)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "redis-benchmark failed: {text}{errors}");
    parse(&text).with_context(|| format!("redis-benchmark said: {text}{errors}"))
}

/// Reads the last line of the table that redis-benchmark prints; the CPU time is not in it.
fn parse(text: &str) -> Option<Figures> {
    let cells = |line: &str| -> Vec<String> {
        line.split(',').map(|cell| cell.trim().trim_matches('"').to_owned()).collect()
    };
    let mut lines = text.lines().filter(|line| line.starts_with('"'));
    let names = cells(lines.next()?);
    let values = cells(lines.next_back()?);
    let value = |name: &str| -> Option<f64> {
        let at = names.iter().position(|candidate| candidate == name)?;
        values.get(at)?.parse().ok()
    };
    Some(Figures {
        per_second: value("rps")?,
        p50_ms: value("p50_latency_ms")?,
        p99_ms: value("p99_latency_ms")?,
        cpu_seconds: 0.0,
    })
}

/// The median of each figure by itself.
pub(crate) fn medians(rounds: &[Figures]) -> Option<Figures> {
    let median = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Figures {
        per_second: median(|one| one.per_second)?,
        p50_ms: median(|one| one.p50_ms)?,
        p99_ms: median(|one| one.p99_ms)?,
        cpu_seconds: median(|one| one.cpu_seconds)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_the_names_of_their_columns() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
                    \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"SET\",\"50761.42\",\"0.1\",\"0.2\",\"0.3\",\"0.4\",\"0.5\",\"0.6\"\n";
        let expected = Figures { per_second: 50761.42, p50_ms: 0.3, p99_ms: 0.5, cpu_seconds: 0.0 };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn an_error_of_the_server_is_not_a_figure() {
        assert_eq!(parse("Error from server: UNAVAILABLE\n"), None);
    }

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let round = |x: f64| Figures { per_second: x, p50_ms: -x, p99_ms: 1.0, cpu_seconds: x };
        let seen = medians(&[round(3.0), round(1.0), round(2.0)]).unwrap();
        assert_eq!((seen.per_second, seen.p50_ms), (2.0, -2.0));
        assert_eq!(medians(&[]), None);
    }
}
