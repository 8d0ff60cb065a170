//! Documents that must agree with the rest of the repository.

use std::collections::BTreeSet;

use super::{File, Report, Rule, Tree};

/// Links between documents, and mentions of documents in sources, lead somewhere.
#[derive(Debug)]
pub struct Links;

impl Rule for Links {
    fn name(&self) -> &'static str {
        "links"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for file in tree.files() {
            for (line, text) in prose(file) {
                let links = if file.path.ends_with(".md") { links(text) } else { Vec::new() };
                let from_here = links.into_iter().map(|link| resolve(&file.path, link));
                let targets: BTreeSet<String> = from_here.chain(mentions(text)).collect();
                for target in targets {
                    if !target.is_empty() && !tree.exists(&target) {
                        let fix = "correct the path (links are relative to the document, mentions \
                                   to the root), or write the document";
                        report.add(&file.path, line, format!("there is no {target}"), fix);
                    }
                }
            }
        }
    }
}

/// What a file says in words: the comments of Rust, other files whole; numbered lines.
fn prose(file: &File) -> Vec<(usize, &str)> {
    match &file.source {
        Some(source) => source.comments().collect(),
        None => file.text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect(),
    }
}

/// The targets of Markdown links in a line that lie in the repository, without their anchors.
fn links(line: &str) -> Vec<&str> {
    let behind = line.split("](").skip(1);
    behind
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .collect()
}

/// The path from the root that `link` in the document `from` leads to.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Documents named by their path from the root, in text or code.
fn mentions(line: &str) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = line.split(|c| !is_path(c)).map(|word| word.trim_end_matches('.'));
    words
        .filter(|word| {
            let (folder, page) = word.split_once('/').unwrap_or_default();
            let numbered = folder == "design" && page.starts_with(|c: char| c.is_ascii_digit());
            numbered
                || (folder == "docs" && page.ends_with(".md") && !page.starts_with("design/NNNN"))
        })
        .map(str::to_owned)
        .collect()
}

/// A page that must exist and stay short enough to be read.
struct Page {
    path: &'static str,
    lines: usize,
}

const PAGES: &[Page] = &[
    Page { path: "README.md", lines: 120 },
    Page { path: "ARCHITECTURE.md", lines: 300 },
    Page { path: "STYLE.md", lines: 150 },
    Page { path: "CONTRIBUTING.md", lines: 120 },
    Page { path: "CHANGELOG.md", lines: usize::MAX },
    Page { path: "SECURITY.md", lines: 60 },
    Page { path: "docs/guarantees.md", lines: 300 },
    Page { path: "docs/formats.md", lines: usize::MAX },
    Page { path: "docs/glossary.md", lines: 200 },
    Page { path: "docs/operations.md", lines: 400 },
    Page { path: "docs/benchmarks.md", lines: 300 },
];

/// The pages a reader expects are there, short, and ARCHITECTURE.md names every package.
#[derive(Debug)]
pub struct Pages;

impl Rule for Pages {
    fn name(&self) -> &'static str {
        "pages"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for page in PAGES {
            let Some(file) = tree.file(page.path) else {
                report.add(page.path, 1, "the page is missing", "write it");
                continue;
            };
            let lines = file.text.lines().count();
            if lines > page.lines {
                let found = format!("{lines} lines, allowed are {}", page.lines);
                let fix = "shorten it; details go to a page of their own in docs";
                report.add(page.path, page.lines + 1, found, fix);
            }
        }
        let Some(architecture) = tree.file("ARCHITECTURE.md") else {
            return;
        };
        for package in tree.packages() {
            if !architecture.text.contains(&format!("`{}`", package.folder)) {
                let found = format!("the package in {} is not mentioned", package.folder);
                let fix = format!("say in the table of packages what `{}` is", package.folder);
                report.add("ARCHITECTURE.md", 1, found, fix);
            }
        }
    }
}

/// Every design decision is in the index, and is named by number and title.
#[derive(Debug)]
pub struct DesignIndex;

const DESIGN: &str = "docs/design/";

impl Rule for DesignIndex {
    fn name(&self) -> &'static str {
        "design-index"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let index = tree.file("docs/design/README.md").map_or("", |file| file.text.as_str());
        let decisions = tree.files().filter_map(|file| Some((file, decision_name(file)?)));
        for (file, name) in decisions {
            let numbered = name.get(..4).is_some_and(|number| number.parse::<u16>().is_ok());
            if !numbered {
                let fix = "name it NNNN-title.md, with the next free number";
                report.add(&file.path, 1, "a decision without a number", fix);
            }
            if !index.contains(&format!("({name})")) {
                let fix = format!("add a line with a link to {name} to docs/design/README.md");
                report.add(&file.path, 1, "the decision is not in the index", fix);
            }
        }
    }
}

fn decision_name(file: &File) -> Option<&str> {
    let name = file.path.strip_prefix(DESIGN)?;
    (name.ends_with(".md") && name != "README.md").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn links_and_mentions_that_lead_nowhere_are_reported() {
        let page =
            "[a](guarantees.md#top)\n[b](gone.md)\n[c](../README.md) [d](https://x.org/y.md)\n";
        let code = concat!("//! See do", "cs/gone.md and do", "cs/a.md.\n// de", "sign/60 6.2\n");
        let files = [
            ("README.md", ""),
            ("crates/a/src/b.rs", code),
            ("docs/a.md", page),
            ("docs/guarantees.md", ""),
        ];
        let expected = ["crates/a/src/b.rs:1", "crates/a/src/b.rs:2", "docs/a.md:2"];
        assert_eq!(violations_of(&Links, &files), expected);
    }

    #[test]
    fn missing_and_overlong_pages_are_reported() {
        let long = "x\n".repeat(301);
        let seen = violations_of(&Pages, &[("ARCHITECTURE.md", &long)]);
        assert!(seen.contains(&"README.md:1".to_owned()));
        assert!(seen.contains(&"ARCHITECTURE.md:301".to_owned()));
    }

    #[test]
    fn a_package_that_the_architecture_does_not_mention_is_reported() {
        let manifest = "[package]\nname = \"kvorum-core\"\n";
        let mut files: Vec<(&str, &str)> = PAGES.iter().map(|page| (page.path, "")).collect();
        files.push(("crates/core/Cargo.toml", manifest));
        assert_eq!(violations_of(&Pages, &files), ["ARCHITECTURE.md:1"]);
        files.retain(|(path, _)| *path != "ARCHITECTURE.md");
        files.push(("ARCHITECTURE.md", "`crates/core` is the vocabulary\n"));
        assert!(violations_of(&Pages, &files).is_empty());
    }

    #[test]
    fn a_decision_outside_the_index_or_without_a_number_is_reported() {
        let files = [
            ("docs/design/README.md", "[one](0001-one.md)\n"),
            ("docs/design/0001-one.md", ""),
            ("docs/design/0002-two.md", ""),
            ("docs/design/three.md", ""),
        ];
        let expected =
            ["docs/design/0002-two.md:1", "docs/design/three.md:1", "docs/design/three.md:1"];
        assert_eq!(violations_of(&DesignIndex, &files), expected);
    }
}
