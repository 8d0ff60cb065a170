//! Size limits of files and functions, and the ratchet of exceptions.
//!
//! A file has at most 400 lines and a function 70 lines of code, tests apart. What was larger
//! when it was looked at stands in `xtask/ratchet.txt` with its size and a reason; its number may
//! only go down, and no file grows past 800 lines.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{File, Report, Rule, Source, Tree};

/// Lines of a file, tests apart, that need no exception.
const FILE_LINES: usize = 400;

/// Lines of a file, tests apart, that no exception allows to pass.
const FILE_LINES_CAP: usize = 800;

/// Lines of code of a function that need no exception.
const FUNCTION_LINES: usize = 70;

/// The list of exceptions.
const RATCHET: &str = "xtask/ratchet.txt";

/// What an exception is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// A file, by its path.
    File(String),
    /// A function, by its file and name.
    Function(String, String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::File(path) => write!(f, "file {path}"),
            Subject::Function(path, name) => write!(f, "function {path} {name}"),
        }
    }
}

/// One exception: `file PATH LINES reason` or `function PATH NAME LINES reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    subject: Subject,
    lines: usize,
    reason: String,
}

impl Exception {
    fn parse(text: &str) -> Option<Exception> {
        let mut words = text.split_whitespace();
        let subject = match words.next()? {
            "file" => Subject::File(words.next()?.to_owned()),
            "function" => Subject::Function(words.next()?.to_owned(), words.next()?.to_owned()),
            _ => return None,
        };
        let lines = words.next()?.parse().ok()?;
        let reason = words.collect::<Vec<_>>().join(" ");
        (!reason.is_empty()).then_some(Exception { subject, lines, reason })
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject, self.lines, self.reason)
    }
}

/// The lines of the list that say something, numbered, each read if it can be.
fn entries(tree: &Tree) -> Vec<(usize, Option<Exception>)> {
    let text = tree.file(RATCHET).map_or("", |file| file.text.as_str());
    let said = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
    let numbered = text.lines().enumerate().filter(|(_, line)| said(line));
    numbered.map(|(at, line)| (at + 1, Exception::parse(line))).collect()
}

fn allowed(tree: &Tree) -> BTreeMap<Subject, usize> {
    let exceptions = entries(tree).into_iter().filter_map(|(_, exception)| exception);
    exceptions.map(|exception| (exception.subject, exception.lines)).collect()
}

/// The sizes of everything that is not a test, largest of each name: what the limits apply to.
fn measure(tree: &Tree) -> BTreeMap<Subject, usize> {
    let mut sizes = BTreeMap::new();
    for (file, source) in tree.sources("") {
        sizes.insert(Subject::File(file.path.clone()), source.product_lines());
        for (subject, lines, _) in function_sizes(file, source) {
            let size = sizes.entry(subject).or_insert(lines);
            *size = lines.max(*size);
        }
    }
    sizes
}

fn function_sizes(file: &File, source: &Source) -> Vec<(Subject, usize, usize)> {
    let product = source.functions().iter().filter(|one| !source.is_test(*one.lines.start()));
    product
        .map(|one| {
            let subject = Subject::Function(file.path.clone(), one.name.clone());
            (subject, source.code_lines(&one.lines), *one.lines.start())
        })
        .collect()
}

/// Files are short, or stand in the list of exceptions, and are never over the cap.
#[derive(Debug)]
pub struct FileSize;

impl Rule for FileSize {
    fn name(&self) -> &'static str {
        "file-size"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let allowed = allowed(tree);
        for (file, source) in tree.sources("") {
            let lines = source.product_lines();
            let exception = allowed.get(&Subject::File(file.path.clone())).copied();
            let limit = exception.unwrap_or(FILE_LINES).min(FILE_LINES_CAP);
            if lines > limit {
                let found = format!("{lines} lines without tests, allowed are {limit}");
                let fix = "split it where its subjects part; tests go to their own file";
                report.add(&file.path, limit + 1, found, fix);
            }
        }
    }
}

/// Functions are short, or stand in the list of exceptions.
#[derive(Debug)]
pub struct FunctionSize;

impl Rule for FunctionSize {
    fn name(&self) -> &'static str {
        "function-size"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let allowed = allowed(tree);
        for (file, source) in tree.sources("") {
            for (subject, lines, start) in function_sizes(file, source) {
                let limit = allowed.get(&subject).copied().unwrap_or(FUNCTION_LINES);
                if lines > limit {
                    let found = format!("{lines} lines of code in {subject}, allowed are {limit}");
                    let fix = format!(
                        "take the steps apart; one sequential story may stay, as a line in {RATCHET}"
                    );
                    report.add(&file.path, start, found, fix);
                }
            }
        }
    }
}

/// Every exception is still needed and says exactly how large its subject is.
#[derive(Debug)]
pub struct RatchetEntries;

impl Rule for RatchetEntries {
    fn name(&self) -> &'static str {
        "ratchet"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let sizes = measure(tree);
        for (line, exception) in entries(tree) {
            let Some(Exception { subject, lines, .. }) = exception else {
                let fix = "write `file PATH LINES reason` or `function PATH NAME LINES reason`";
                report.add(RATCHET, line, "not an exception", fix);
                continue;
            };
            let limit = default_limit(&subject);
            let size = sizes.get(&subject).copied().unwrap_or(0);
            if size <= limit {
                let found = format!("{subject} needs no exception any more");
                report.add(RATCHET, line, found, "delete the line");
            } else if size < lines {
                let found = format!("{subject} has {size} lines now, not {lines}");
                report.add(RATCHET, line, found, "lower the number: `cargo xtask tidy --lower`");
            }
        }
    }
}

const fn default_limit(subject: &Subject) -> usize {
    match subject {
        Subject::File(_) => FILE_LINES,
        Subject::Function(..) => FUNCTION_LINES,
    }
}

/// Lowers the numbers in the list of exceptions to what is measured and drops what is not needed
/// any more. Never raises one.
///
/// # Errors
/// If the tree cannot be read or the list cannot be written.
pub fn lower_ratchet(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    if let Some(file) = tree.file(RATCHET) {
        let path = root.join(RATCHET);
        std::fs::write(&path, lowered(&file.text, &measure(&tree)))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn lowered(text: &str, sizes: &BTreeMap<Subject, usize>) -> String {
    let mut result = String::new();
    for line in text.lines() {
        match Exception::parse(line) {
            None => result.push_str(line),
            Some(mut exception) => {
                let size = sizes.get(&exception.subject).copied().unwrap_or(0);
                if size <= default_limit(&exception.subject) {
                    continue;
                }
                exception.lines = exception.lines.min(size);
                result.push_str(&exception.to_string());
            }
        }
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    const PATH: &str = "crates/a/src/b.rs";

    fn file_of(lines: usize) -> String {
        "//! x\n".repeat(lines)
    }

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_file_is_reported_and_its_tests_do_not_count() {
        let long = file_of(FILE_LINES + 1);
        assert_eq!(violations_of(&FileSize, &[(PATH, &long)]).len(), 1);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n\n}}\n", file_of(FILE_LINES));
        assert!(violations_of(&FileSize, &[(PATH, &tested)]).is_empty());
    }

    #[test]
    fn an_exception_allows_a_long_file_up_to_its_number_and_the_cap() {
        let exception = "file crates/a/src/b.rs 500 a table\n";
        let fits = file_of(500);
        let grown = file_of(501);
        assert!(violations_of(&FileSize, &[(PATH, &fits), (RATCHET, exception)]).is_empty());
        assert_eq!(violations_of(&FileSize, &[(PATH, &grown), (RATCHET, exception)]).len(), 1);
        let beyond = "file crates/a/src/b.rs 900 a table\n";
        let huge = file_of(FILE_LINES_CAP + 1);
        assert_eq!(violations_of(&FileSize, &[(PATH, &huge), (RATCHET, beyond)]).len(), 1);
    }

    #[test]
    fn a_long_function_is_reported_at_its_first_line() {
        let text = format!("//! x\n{}", function_of(FUNCTION_LINES + 1));
        assert_eq!(violations_of(&FunctionSize, &[(PATH, &text)]), [format!("{PATH}:2")]);
        let exception = format!("function {PATH} long 71 one story\n");
        let files = [(PATH, text.as_str()), (RATCHET, exception.as_str())];
        assert!(violations_of(&FunctionSize, &files).is_empty());
        let short = function_of(FUNCTION_LINES);
        assert!(violations_of(&FunctionSize, &[(PATH, &short)]).is_empty());
    }

    #[test]
    fn the_ratchet_only_holds_what_is_needed_and_exact() {
        let list = "# Exceptions.\n\
                    file crates/a/src/b.rs 450 a table\n\
                    file crates/a/src/gone.rs 450 a table\n\
                    function crates/a/src/b.rs 90\n";
        let text = file_of(440);
        let seen = violations_of(&RatchetEntries, &[(PATH, &text), (RATCHET, list)]);
        assert_eq!(seen, [2, 3, 4].map(|line| format!("{RATCHET}:{line}")));
    }

    #[test]
    fn lowering_never_raises_a_number() {
        let sizes = BTreeMap::from([
            (Subject::File("a.rs".to_owned()), 450),
            (Subject::File("b.rs".to_owned()), 700),
            (Subject::File("c.rs".to_owned()), 10),
        ]);
        let list = "# Kept.\nfile a.rs 500 x\nfile b.rs 600 y\nfile c.rs 410 z\n";
        assert_eq!(lowered(list, &sizes), "# Kept.\nfile a.rs 450 x\nfile b.rs 600 y\n");
    }
}
