//! Every Rust file says in its first line what it is for.

use super::{Report, Rule, Tree};

/// Every Rust file begins with a `//!` sentence.
#[derive(Debug)]
pub struct Headers;

impl Rule for Headers {
    fn name(&self) -> &'static str {
        "headers"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for (file, _) in tree.sources("") {
            let first = file.text.lines().next().unwrap_or_default();
            let said = first.strip_prefix("//!").is_some_and(|rest| rest.trim().len() >= 10);
            if !said {
                let fix = "begin the file with `//! What it is for, in one sentence.`";
                report.add(&file.path, 1, "the file does not say what it is for", fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn a_file_without_a_purpose_is_reported() {
        for text in ["", "use std::io;\n", "//!\n", "// Reads frames from a socket.\n"] {
            assert_eq!(violations_of(&Headers, &[("crates/a/src/b.rs", text)]).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_file_with_a_purpose_is_fine() {
        let text = "//! Reads frames from a socket.\n";
        assert!(violations_of(&Headers, &[("crates/a/src/b.rs", text)]).is_empty());
    }
}
