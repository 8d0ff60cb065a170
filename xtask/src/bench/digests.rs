//! Measures what it costs to maintain the sums that replicas compare.
//!
//! A program of the storage crate puts the same records into two stores in memory, in turns; one
//! of them hashes. Its figures are CPU times of a put; the page of benchmarks has those of a SET of
//! the whole cluster, which is three puts and everything around them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::section;

/// The heading of the section of the page.
const HEADING: &str = "What maintaining digests costs";
/// How many replicas put what a client sets.
const REPLICAS: f64 = 3.0;
/// The cheapest kind of write on the page: the worst one to add something to.
const CHEAPEST: &str = "| SET, clients: 50, pipelining: 16 | kvorum, 3 nodes, QUORUM |";

/// CPU time of one kind of put, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
struct Put {
    name: String,
    without: f64,
    with: f64,
}

impl Put {
    /// Reads a line of the program: name and nanoseconds, between tabs.
    fn parse(line: &str) -> Option<Put> {
        let mut words = line.split('\t');
        let name = words.next()?.to_owned();
        let (without, with) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Put { name, without, with })
    }
}

/// Measures, and writes a section of `docs/benchmarks.md` below `root`.
///
/// # Errors
/// If the program cannot be built or says something else than expected, or the page does not have
/// the CPU time of a SET.
pub fn run(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "--package", "kvorum-storage", "--bench", "digests"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the program that measures failed");
    let said = String::from_utf8(output.stdout)?;
    let page = fs::read_to_string(root.join("docs/benchmarks.md"))?;
    let text = render(&said, &page)?;
    write!(std::io::stdout(), "{text}")?;
    section::write(root, HEADING, &text)
}

/// The CPU time of a SET on all nodes together, in nanoseconds: the last column of its row is
/// seconds per million.
fn set_ns(page: &str) -> Option<f64> {
    let row = page.lines().find(|line| line.starts_with(CHEAPEST))?;
    let seconds: f64 = row.trim_end_matches(['|', ' ']).rsplit('|').next()?.trim().parse().ok()?;
    Some(seconds * 1000.0)
}

fn render(said: &str, page: &str) -> Result<String> {
    let puts: Option<Vec<Put>> = said.lines().map(Put::parse).collect();
    let puts = puts.filter(|puts| !puts.is_empty());
    let puts = puts.with_context(|| format!("no figures in {said:?}"))?;
    let set = set_ns(page).context("the page has no CPU time of a SET: run `bench` first")?;
    let rows = puts.iter().map(|Put { name, without, with }| {
        // Without the zero, what rounds to nothing from below would be shown as minus nothing.
        let share = |added: f64, of: f64| (1000.0 * added / of).round() / 10.0 + 0.0;
        format!(
            "| {name} | {without:.0} | {with:.0} | {:.1} % | {:.1} % |\n",
            share(with - without, *without),
            share((with - without) * REPLICAS, set),
        )
    });
    Ok(format!(
        "Two stores of a million keys on disks in memory take the same records in turns; one of them \
         maintains the sums that replicas compare. Nanoseconds of CPU time of a put, medians; less than one \
         per cent is noise. The last \
         column is what three replicas spend on it beside all that the cluster spends on a SET (the first \
         table; 50 clients, pipelining 16, QUORUM).\n\n\
         | put of | without | with | more | of a SET |\n|---|---|---|---|---|\n{}",
        rows.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_added_time_is_shown_beside_a_put_and_beside_a_set_on_all_nodes() {
        let page = format!("x\n{CHEAPEST} 168180 | 4.60 | 7.25 | 7.5 |\ny\n");
        let text = render("a new key\t500.0\t525.0\n", &page).unwrap();
        assert_eq!(text.lines().last(), Some("| a new key | 500 | 525 | 5.0 % | 1.0 % |"));
        let text = render("a new key\t500.0\t499.9\n", &page).unwrap();
        assert_eq!(text.lines().last(), Some("| a new key | 500 | 500 | 0.0 % | 0.0 % |"));
    }

    #[test]
    fn figures_that_are_missing_are_an_error() {
        let page = format!("{CHEAPEST} 168180 | 4.60 | 7.25 | 7.5 |");
        assert!(render("", &page).is_err());
        assert!(render("a new key\t500.0", &page).is_err());
        assert!(render("a new key\tmany\t525.0", &page).is_err());
        assert!(render("a new key\t500.0\t525.0", "").is_err());
    }
}
