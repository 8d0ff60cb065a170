//! `cargo xtask`: the command line of the repository's own tools.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use xtask::tidy::{self, Tree};
use xtask::{bench, redis_suite};

const USAGE: &str = "\
cargo xtask COMMAND

  tidy            check the rules of STYLE.md; one line per violation, exit 1 if there is any
  tidy --lower    also lower the numbers in xtask/ratchet.txt to what is measured
  bench [--rounds N] [--scale X]
                  measure a cluster beside redis-server and write docs/benchmarks.md
  bench failover  kill leaders, measure how long writes stand still, and write its section there
  bench convergence [--scale X]
                  measure what it costs to keep replicas equal, and how soon they are after a node
                  was away, and write its section there
  bench digests   measure what the sums that replicas compare cost a put, and write its section
                  there
  redis-suite [UNIT …]
                  run the cases of redis-server's own test suite that are about strings against a
                  cluster; exit 1 if one fails that docs/redis-compat.md does not list
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => run_tidy(false),
        ["tidy", "--lower"] => run_tidy(true),
        ["bench", "failover"] => {
            bench::failover::run(root()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["bench", "convergence", rest @ ..] => {
            bench::convergence::run(root()?, bench::Options::parse(rest)?.scale)?;
            Ok(ExitCode::SUCCESS)
        }
        ["bench", "digests"] => {
            bench::digests::run(root()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["bench", rest @ ..] => {
            bench::run(root()?, &bench::Options::parse(rest)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["redis-suite", units @ ..] => match redis_suite::run(root()?, units)? {
            true => Ok(ExitCode::SUCCESS),
            false => Ok(ExitCode::FAILURE),
        },
        _ => {
            std::io::stderr().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::from(2))
        }
    }
}

fn root() -> Result<&'static Path> {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.context("xtask lies directly below the root of the repository")
}

fn run_tidy(lower: bool) -> Result<ExitCode> {
    let root = root()?;
    if lower {
        tidy::lower_ratchet(root)?;
    }
    let violations = tidy::check(&Tree::read(root)?);
    let mut out = std::io::stdout().lock();
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    if violations.is_empty() {
        writeln!(out, "tidy: no violations of {} rules", tidy::RULES.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "tidy: {} violations", violations.len())?;
    Ok(ExitCode::FAILURE)
}
