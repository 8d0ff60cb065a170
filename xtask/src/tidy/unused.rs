//! Dependencies that nothing uses: build time and attack surface for nothing.

use super::source::names_path;
use super::{Package, Report, Rule, Tree};

/// Libraries that only generated code names, which is not in the tree.
const NAMED_BY_GENERATED_CODE: &[(&str, &str)] =
    &[("kvorum-proto", "prost"), ("kvorum-proto", "tonic-prost")];

/// Every dependency is named in a source of its package, and every declared one is inherited.
#[derive(Debug)]
pub struct UnusedDependencies;

impl Rule for UnusedDependencies {
    fn name(&self) -> &'static str {
        "unused-dependencies"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for package in tree.packages() {
            for dependency in &package.dependencies {
                let name = dependency.name.as_str();
                let generated = NAMED_BY_GENERATED_CODE.contains(&(package.name.as_str(), name));
                if !generated && !is_named(tree, package, &name.replace('-', "_")) {
                    let found = format!("{} does not use {name}", package.name);
                    report.add(&package.manifest, dependency.line, found, "delete the line");
                }
            }
        }
        for (name, line) in declared(tree) {
            let inherits = |package: &Package| package.dependencies.iter().any(|d| d.name == name);
            if !tree.packages().iter().any(inherits) {
                let found = format!("no package inherits {name}");
                report.add("Cargo.toml", line, found, "delete the line");
            }
        }
    }
}

fn is_named(tree: &Tree, package: &Package, identifier: &str) -> bool {
    let mut sources = tree.sources(&package.folder);
    sources.any(|(_, source)| source.code().any(|(_, code)| names_path(code, identifier)))
}

/// The dependencies that the root manifest declares, with their lines.
fn declared(tree: &Tree) -> Vec<(String, usize)> {
    let Some(root) = tree.file("Cargo.toml") else {
        return Vec::new();
    };
    let mut section = "";
    let mut names = Vec::new();
    for (at, line) in root.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[workspace.dependencies]"
            && let Some((name, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            names.push((name.trim().to_owned(), at + 1));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn a_dependency_that_no_source_names_is_reported() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nserde-json.workspace = true\n\
                        bytes.workspace = true\n";
        let files = [
            ("crates/a/Cargo.toml", manifest),
            ("crates/a/src/lib.rs", "use serde_json::Value; // bytes\n"),
        ];
        assert_eq!(violations_of(&UnusedDependencies, &files), ["crates/a/Cargo.toml:5"]);
    }

    #[test]
    fn a_declaration_that_no_package_inherits_is_reported() {
        let root =
            "[workspace.dependencies]\n# Why.\nbytes = \"1\"\nhttp = \"1\"\n[profile.dev]\nx = 1\n";
        let files = [
            ("Cargo.toml", root),
            (
                "crates/a/Cargo.toml",
                "[package]\nname = \"a\"\n[dependencies]\nbytes.workspace = true\n",
            ),
            ("crates/a/src/lib.rs", "use bytes::Bytes;\n"),
        ];
        assert_eq!(violations_of(&UnusedDependencies, &files), ["Cargo.toml:4"]);
    }
}
