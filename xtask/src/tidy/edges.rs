//! Which package of the workspace may depend on which.
//!
//! The table is the architecture: pure siblings that do not know each other over one vocabulary
//! crate, tied together in exactly one crate that does I/O.

use super::{Dependency, DependencyKind, Package, Report, Rule, Tree};

/// A package and the packages of the workspace it may depend on.
type Row = (&'static str, &'static [&'static str]);

/// Every package of the workspace. An edge that is not here does not exist.
const ALLOWED: &[Row] = &[
    ("kvorum-core", &[]),
    ("kvorum-storage", &["kvorum-core"]),
    ("kvorum-replication", &["kvorum-core"]),
    ("kvorum-cluster", &["kvorum-core"]),
    ("kvorum-proto", &["kvorum-core"]),
    ("kvorum-shard", &["kvorum-core", "kvorum-replication"]),
    (
        "kvorum-node",
        &[
            "kvorum-core",
            "kvorum-shard",
            "kvorum-storage",
            "kvorum-replication",
            "kvorum-cluster",
            "kvorum-proto",
        ],
    ),
    ("kvorum-server", &["kvorum-core", "kvorum-proto", "kvorum-node"]),
    ("kvorum-client", &["kvorum-core", "kvorum-proto"]),
    ("kvorum", &["kvorum-server", "kvorum-client", "kvorum-node"]),
    (
        "kvorum-sim",
        &["kvorum-core", "kvorum-storage", "kvorum-replication", "kvorum-cluster", "kvorum-shard"],
    ),
    ("kvorum-e2e", &["kvorum-core", "kvorum-proto", "kvorum-client"]),
    ("xtask", &[]),
];

/// Packages without I/O: the tests of any package below or beside them may use them as well,
/// because a test may put a neighbour on the other end without the product knowing it.
const PURE: [&str; 5] =
    ["kvorum-core", "kvorum-storage", "kvorum-replication", "kvorum-cluster", "kvorum-shard"];

/// Every edge between packages of the workspace is in the table.
///
/// Tests (dev-dependencies) may add any package without I/O, never node, server or the simulator.
#[derive(Debug)]
pub struct Edges;

impl Rule for Edges {
    fn name(&self) -> &'static str {
        "edges"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for package in tree.packages() {
            let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
                let found = format!("the package {} is not in the table of edges", package.name);
                let fix = "add it to ALLOWED in xtask/src/tidy/edges.rs and to ARCHITECTURE.md";
                report.add(&package.manifest, 1, found, fix);
                continue;
            };
            for dependency in &package.dependencies {
                check_edge(package, dependency, allowed, report);
            }
        }
    }
}

fn check_edge(package: &Package, dependency: &Dependency, allowed: &[&str], report: &mut Report) {
    let internal = ALLOWED.iter().any(|(name, _)| *name == dependency.name);
    let pure_test =
        dependency.kind == DependencyKind::Dev && PURE.contains(&dependency.name.as_str());
    if !internal || pure_test || allowed.contains(&dependency.name.as_str()) {
        return;
    }
    let found = format!("{} may not depend on {}", package.name, dependency.name);
    let fix = if allowed.is_empty() {
        "it depends on no package of the workspace: move what it needs into it, or the code that \
         needs both into a package above"
            .to_owned()
    } else {
        format!("it may depend on {}: move the code that needs both up", allowed.join(", "))
    };
    report.add(&package.manifest, dependency.line, found, fix);
}

/// Versions and features of dependencies are written once, in the root manifest.
#[derive(Debug)]
pub struct DeclaredOnce;

impl Rule for DeclaredOnce {
    fn name(&self) -> &'static str {
        "declared-once"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for package in tree.packages() {
            for dependency in package.dependencies.iter().filter(|one| !one.inherited) {
                let found = format!("{} is declared here with its own version", dependency.name);
                let fix = "declare it under [workspace.dependencies] in the root Cargo.toml and \
                           inherit it with `NAME.workspace = true`";
                report.add(&package.manifest, dependency.line, found, fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    fn manifest(name: &str, tables: &str) -> String {
        format!("[package]\nname = \"{name}\"\n{tables}")
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_reported_at_its_line() {
        let shard = manifest("kvorum-shard", "[dependencies]\nkvorum-storage.workspace = true\n");
        let seen = violations_of(&Edges, &[("crates/shard/Cargo.toml", &shard)]);
        assert_eq!(seen, ["crates/shard/Cargo.toml:4"]);
    }

    #[test]
    fn siblings_do_not_know_each_other() {
        let cluster =
            manifest("kvorum-cluster", "[dependencies]\nkvorum-replication.workspace = true\n");
        assert_eq!(violations_of(&Edges, &[("crates/cluster/Cargo.toml", &cluster)]).len(), 1);
    }

    #[test]
    fn tests_may_use_packages_without_io_and_nothing_above() {
        let pure =
            manifest("kvorum-shard", "[dev-dependencies]\nkvorum-storage.workspace = true\n");
        assert!(violations_of(&Edges, &[("crates/shard/Cargo.toml", &pure)]).is_empty());
        let above = manifest("kvorum-shard", "[dev-dependencies]\nkvorum-sim.workspace = true\n");
        assert_eq!(violations_of(&Edges, &[("crates/shard/Cargo.toml", &above)]).len(), 1);
    }

    #[test]
    fn a_package_that_nobody_put_into_the_table_is_reported() {
        let stranger = manifest("kvorum-stranger", "");
        assert_eq!(violations_of(&Edges, &[("crates/s/Cargo.toml", &stranger)]).len(), 1);
    }

    #[test]
    fn a_version_outside_the_root_manifest_is_reported() {
        let own = manifest("kvorum-core", "[dependencies]\nbytes = \"1\"\n");
        let seen = violations_of(&DeclaredOnce, &[("crates/core/Cargo.toml", &own)]);
        assert_eq!(seen, ["crates/core/Cargo.toml:4"]);
    }
}
