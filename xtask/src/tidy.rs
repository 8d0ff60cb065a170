//! The rules of the repository, each a small type that reads the tree and reports violations.
//!
//! To add a rule: implement [`Rule`] in the file its subject belongs to, test it with a sample
//! that violates it, and add it to [`RULES`].

mod boundaries;
mod docs;
mod edges;
mod headers;
mod mutations;
mod names;
mod purity;
mod report;
mod size;
mod source;
mod testing;
mod text;
mod tree;
mod unused;

pub use report::{Report, Violation};
pub use size::lower_ratchet;
pub use source::Source;
pub use tree::{Dependency, DependencyKind, File, Package, Tree};

/// One thing that is true of the whole repository.
pub trait Rule: Sync {
    /// The name violations are reported under.
    fn name(&self) -> &'static str;

    /// Reports every place where the rule is violated.
    fn check(&self, tree: &Tree, report: &mut Report);
}

/// Every rule, in the order in which violations are printed.
pub const RULES: &[&dyn Rule] = &[
    &edges::Edges,
    &edges::DeclaredOnce,
    &unused::UnusedDependencies,
    &purity::PureDependencies,
    &purity::PureSources,
    &boundaries::GeneratedTypes,
    &boundaries::MetricsEmission,
    &boundaries::FrontEnds,
    &mutations::MutationsOff,
    &headers::Headers,
    &size::FileSize,
    &size::FunctionSize,
    &size::RatchetEntries,
    &names::BannedNames,
    &testing::IgnoredTests,
    &testing::Sleeps,
    &text::MachinePaths,
    &text::OpenNotes,
    &docs::Links,
    &docs::Pages,
    &docs::DesignIndex,
];

/// Checks every rule and returns the violations, grouped by rule.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut report = Report::default();
    for rule in RULES {
        report.begin(rule.name());
        rule.check(tree, &mut report);
    }
    report.into_violations()
}

/// The violations of one rule in a tree of the given files: what every rule's tests are made of.
#[cfg(test)]
fn violations_of(rule: &dyn Rule, files: &[(&str, &str)]) -> Vec<String> {
    let mut report = Report::default();
    report.begin(rule.name());
    rule.check(&Tree::of(files).unwrap(), &mut report);
    report.into_violations().iter().map(Violation::place).collect()
}
