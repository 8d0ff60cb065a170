//! Names that say nothing.

use super::source::names_path;
use super::{Report, Rule, Tree};

const BANNED: [&str; 6] = ["util", "utils", "common", "shared", "helper", "helpers"];

/// No crate or module is named util, common, shared or helpers.
#[derive(Debug)]
pub struct BannedNames;

impl Rule for BannedNames {
    fn name(&self) -> &'static str {
        "banned-names"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for package in tree.packages() {
            let mut words = package.name.split('-');
            if let Some(name) = words.find(|word| BANNED.contains(word)) {
                report.add(&package.manifest, 1, found(name), FIX);
            }
        }
        for (file, source) in tree.sources("") {
            let mut parts = file.path.trim_end_matches(".rs").split('/');
            if let Some(name) = parts.find(|part| BANNED.contains(part)) {
                report.add(&file.path, 1, found(name), FIX);
            }
            for (line, code) in source.code() {
                let inline = |name: &&str| names_path(code, &format!("mod {name}"));
                if let Some(name) = BANNED.iter().find(|name| inline(name)) {
                    report.add(&file.path, line, found(name), FIX);
                }
            }
        }
    }
}

const FIX: &str = "name it after what is in it; if that is several things, they belong apart";

fn found(name: &str) -> String {
    format!("the name {name} says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn files_folders_modules_and_packages_with_empty_names_are_reported() {
        let manifest = "[package]\nname = \"kvorum-common\"\n";
        let files = [
            ("crates/a/Cargo.toml", manifest),
            ("crates/a/src/helpers/x.rs", ""),
            ("crates/a/src/lib.rs", "\npub mod utils {}\n"),
            ("crates/a/src/shared.rs", ""),
        ];
        let expected = [
            "crates/a/Cargo.toml:1",
            "crates/a/src/helpers/x.rs:1",
            "crates/a/src/lib.rs:2",
            "crates/a/src/shared.rs:1",
        ];
        assert_eq!(violations_of(&BannedNames, &files), expected);
    }

    #[test]
    fn names_that_only_contain_such_a_word_are_fine() {
        let files = [("crates/a/src/utilisation.rs", "mod shared_log;\n")];
        assert!(violations_of(&BannedNames, &files).is_empty());
    }
}
