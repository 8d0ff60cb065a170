//! What the runner says of its cases, and which ones are listed as left out.

use anyhow::{Result, ensure};

/// A case that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    unit: String,
    case: String,
    reason: String,
}

/// The cases that docs/redis-compat.md lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    differences: Vec<Difference>,
}

impl Listed {
    /// Reads the rows of the page that begin with the name of a unit.
    ///
    /// # Errors
    /// Names the row that is no row of three cells, or has no reason.
    pub(super) fn read(page: &str) -> Result<Listed> {
        let mut differences = Vec::new();
        for row in page.lines().filter(|line| line.starts_with("| `unit/")) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [unit, case, reason] = cells.as_slice() else {
                anyhow::bail!("a row of docs/redis-compat.md has not three cells: {row}");
            };
            ensure!(!reason.is_empty(), "a row of docs/redis-compat.md has no reason: {row}");
            let name = |cell: &str| cell.trim_matches('`').to_owned();
            differences.push(Difference {
                unit: name(unit),
                case: name(case),
                reason: (*reason).to_owned(),
            });
        }
        Ok(Listed { differences })
    }

    /// The names of the listed cases of a unit.
    pub(super) fn names(&self, unit: &str) -> impl Iterator<Item = &str> {
        let own = self.differences.iter().filter(move |own| own.unit == unit);
        own.map(|own| own.case.as_str())
    }

    /// Why a case is left out.
    pub(super) fn reason(&self, unit: &str, case: &str) -> Option<&str> {
        let found = self.differences.iter().find(|own| own.unit == unit && own.case == case);
        found.map(|own| own.reason.as_str())
    }
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// It is listed.
    Skipped,
    /// The runner leaves it out itself, because of its tags. It can stand for several.
    Ignored,
}

/// What became of the cases of a unit.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) unit: &'a str,
    /// In their order: the name, after a failure with what went wrong.
    pub(super) cases: Vec<(Outcome, String)>,
    /// The runner came to the end.
    pub(super) complete: bool,
}

impl Report<'_> {
    /// Reads what the runner wrote.
    pub(super) fn read<'a>(unit: &'a str, output: &str) -> Report<'a> {
        let mut report = Report { unit, cases: Vec::new(), complete: false };
        for line in output.lines() {
            let line = without_colors(line);
            if line.trim() == "The End" {
                report.complete = true;
                break;
            }
            let Some((status, text)) = line.strip_prefix('[').and_then(|l| l.split_once("]: "))
            else {
                // What goes on behind a failure.
                if let Some((Outcome::Failed, text)) = report.cases.last_mut()
                    && !line.starts_with('[')
                {
                    text.push_str("\n           ");
                    text.push_str(&line);
                }
                continue;
            };
            let case = match status {
                "ok" => (Outcome::Passed, without_time(text).to_owned()),
                "err" | "exception" | "TIMEOUT" => (Outcome::Failed, text.to_owned()),
                "skip" => (Outcome::Skipped, text.to_owned()),
                "ignore" => (Outcome::Ignored, text.to_owned()),
                _ => continue,
            };
            report.cases.push(case);
        }
        report
    }

    /// How many cases came to this.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|(own, _)| *own == outcome).count()
    }

    /// Whether the runner left out a case of this name because it is listed.
    pub(super) fn skipped(&self, name: &str) -> bool {
        self.cases.iter().any(|(outcome, case)| *outcome == Outcome::Skipped && case == name)
    }
}

/// A line without the sequences that give it colors.
fn without_colors(line: &str) -> String {
    let mut plain = String::new();
    for (at, part) in line.split("\x1b[").enumerate() {
        let text = if at == 0 { part } else { part.split_once('m').map_or("", |(_, text)| text) };
        plain.push_str(text);
    }
    plain
}

/// The name of a case without the time it took.
fn without_time(text: &str) -> &str {
    text.rsplit_once(" (").map_or(text, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Starting test server at port 21079
[ready]: 4242
\x1b[1;37;49mTesting unit/incr\x1b[0m
[\x1b[0;32;49mok\x1b[0m]: INCR (against) nothing (2 ms)
[\x1b[0;31;49merr\x1b[0m]: INCR of a list in tests/unit/incr.tcl
unknown command
[\x1b[0;33;49mskip\x1b[0m]: INCR of a hash
[\x1b[0;36;49mignore\x1b[0m]: INCR and replicas: Tag: needs:repl denied
[1/1 \x1b[0;33;49mdone\x1b[0m]: unit/incr (0 seconds)

                   The End
*** [\x1b[0;31;49merr\x1b[0m]: INCR of a list in tests/unit/incr.tcl
";

    #[test]
    fn every_case_of_the_runners_output_is_counted_once() {
        let report = Report::read("unit/incr", OUTPUT);
        let failed = "INCR of a list in tests/unit/incr.tcl\n           unknown command";
        let expected = [
            (Outcome::Passed, "INCR (against) nothing"),
            (Outcome::Failed, failed),
            (Outcome::Skipped, "INCR of a hash"),
            (Outcome::Ignored, "INCR and replicas: Tag: needs:repl denied"),
        ];
        assert_eq!(report.cases, expected.map(|(outcome, name)| (outcome, name.to_owned())));
        assert!(report.complete && report.skipped("INCR of a hash"));
        let (begin, _) = OUTPUT.split_once("[1/1").unwrap();
        assert!(!Report::read("unit/incr", begin).complete);
    }

    #[test]
    fn the_page_lists_cases_with_their_units_and_reasons() {
        let page = "text\n| unit | case | reason |\n|---|---|---|\n| `unit/a` | `x: y` | lists |\n";
        let listed = Listed::read(page).unwrap();
        assert_eq!(listed.names("unit/a").collect::<Vec<_>>(), ["x: y"]);
        assert_eq!(listed.reason("unit/a", "x: y"), Some("lists"));
        assert_eq!(listed.names("unit/b").count(), 0);
        assert!(Listed::read("| `unit/a` | `x` | |").is_err());
        assert!(Listed::read("| `unit/a` | `x` |").is_err());
    }
}
