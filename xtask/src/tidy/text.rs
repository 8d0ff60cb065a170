//! Text that does not belong into a repository: paths of one machine, notes nobody will find.

use super::{File, Report, Rule, Tree};

/// First folders of absolute paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 5] = ["tmp", "root", "home", "work", "Users"];

/// No file names an absolute path of the machine it was written on.
#[derive(Debug)]
pub struct MachinePaths;

impl Rule for MachinePaths {
    fn name(&self) -> &'static str {
        "machine-paths"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for file in tree.files() {
            for (at, line) in file.text.lines().enumerate() {
                if let Some(path) = machine_path(line) {
                    let found = format!("{path} exists on one machine only");
                    let fix = "use a path relative to the repository, an option, or a temporary \
                               folder made for the purpose (tempfile, mktemp)";
                    report.add(&file.path, at + 1, found, fix);
                }
            }
        }
    }
}

/// The machine's path that begins in `line`, if there is one; parts of URLs and of relative paths
/// do not count.
fn machine_path(line: &str) -> Option<String> {
    MACHINE_FOLDERS.iter().map(|folder| format!("/{folder}/")).find(|path| {
        line.match_indices(path.as_str()).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            let begins = before.is_none_or(|c| c.is_whitespace() || "\"'`(=:<>[,".contains(c));
            let after = line.get(at + path.len()..).and_then(|text| text.chars().next());
            begins && after.is_some_and(|c| c.is_alphanumeric() || "_.-$<{".contains(c))
        })
    })
}

/// A note about work left to do names the issue that tracks it.
#[derive(Debug)]
pub struct OpenNotes;

impl Rule for OpenNotes {
    fn name(&self) -> &'static str {
        "open-notes"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for file in tree.files() {
            for (line, remark) in remarks(file) {
                for note in NOTES {
                    let open = remark.match_indices(note).any(|(at, _)| {
                        let rest = remark.get(at + note.len()..).unwrap_or_default();
                        note != NOTES[0] || !names_issue(rest)
                    });
                    if open {
                        let fix =
                            format!("do it now, or open an issue and write {}(#123)", NOTES[0]);
                        report.add(&file.path, line, format!("an open {note}"), fix);
                    }
                }
            }
        }
    }
}

/// The marks of open notes; only the first may stay, with the number of an issue.
const NOTES: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

fn names_issue(rest: &str) -> bool {
    let number = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(digits, _)| digits.parse::<u32>().is_ok())
}

/// The parts of a file where notes are left: comments of Rust, and other sources whole. Prose
/// (Markdown) may speak about notes.
fn remarks(file: &File) -> Vec<(usize, &str)> {
    if let Some(source) = &file.source {
        return source.comments().collect();
    }
    let extensions = ["toml", "sh", "proto", "yml", "yaml", "py", "js", "ts"];
    let extension = file.path.rsplit('.').next().unwrap_or_default();
    if file.path.starts_with(".ci/") || extensions.contains(&extension) {
        return file.text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn a_path_of_one_machine_is_reported_in_sources_and_documents() {
        let text = concat!("see `/", "root/notes`\nand \"/", "tmp/x\"\n");
        for path in ["docs/a.md", "crates/a/src/b.rs", ".ci/run"] {
            let expected = [format!("{path}:1"), format!("{path}:2")];
            assert_eq!(violations_of(&MachinePaths, &[(path, text)]), expected);
        }
    }

    #[test]
    fn urls_and_relative_paths_are_fine() {
        let text = "https://example.org/home/x ./tmp/x $DIR/tmp/x GET /v1/keys /var/lib/kvorum\n";
        assert!(violations_of(&MachinePaths, &[("docs/a.md", text)]).is_empty());
    }

    #[test]
    fn a_note_without_an_issue_is_reported() {
        let text = concat!("// TO", "DO: later\n// TO", "DO(#12): later\n// FIX", "ME(#12)\n");
        let seen = violations_of(&OpenNotes, &[("crates/a/src/b.rs", text)]);
        assert_eq!(seen, ["crates/a/src/b.rs:1", "crates/a/src/b.rs:3"]);
        let script = concat!("# TO", "DO(later)\n");
        assert_eq!(violations_of(&OpenNotes, &[(".ci/run", script)]).len(), 1);
    }

    #[test]
    fn code_and_prose_may_speak_about_notes() {
        let text = "let a = \"TODO\";\n";
        assert!(violations_of(&OpenNotes, &[("crates/a/src/b.rs", text)]).is_empty());
        assert!(violations_of(&OpenNotes, &[("STYLE.md", "No TODO.\n")]).is_empty());
    }
}
