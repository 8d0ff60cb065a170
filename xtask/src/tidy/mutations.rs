//! The switches that remove a rule stay out of the product.

use super::{DependencyKind, Report, Rule, Tree};

/// The feature that compiles the switches in.
const FEATURE: &str = "mutations";

/// The package that proves its checkers with it.
const PROVER: &str = "kvorum-sim";

/// Only tests and the simulator switch the feature `mutations` on, and nothing does by default.
#[derive(Debug)]
pub struct MutationsOff;

impl Rule for MutationsOff {
    fn name(&self) -> &'static str {
        "mutations-off"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let fix = "switch it on in [dev-dependencies], or in a feature of kvorum-sim";
        for package in tree.packages() {
            if package.default_features.iter().any(|feature| is_switch(feature)) {
                let found = format!("{} has the feature {FEATURE} by default", package.name);
                report.add(&package.manifest, 1, found, fix);
            }
            for dependency in &package.dependencies {
                let product = dependency.kind == DependencyKind::Normal && package.name != PROVER;
                if product && dependency.features.iter().any(|feature| is_switch(feature)) {
                    let found = format!("{} builds {FEATURE} into the product", package.name);
                    report.add(&package.manifest, dependency.line, found, fix);
                }
            }
        }
        if let Some(root) = tree.file("Cargo.toml") {
            let quoted = format!("\"{FEATURE}\"");
            for (at, line) in root.text.lines().enumerate().filter(|(_, l)| l.contains(&quoted)) {
                let found = format!("the root manifest builds {FEATURE} in: {}", line.trim());
                report.add(&root.path, at + 1, found, fix);
            }
        }
    }
}

fn is_switch(feature: &str) -> bool {
    feature.rsplit('/').next() == Some(FEATURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    const ON: &str = "kvorum-storage = { workspace = true, features = [\"mutations\"] }";

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n{rest}\n")
    }

    #[test]
    fn a_product_with_the_switches_built_in_is_reported() {
        let node = manifest("kvorum-node", &format!("[dependencies]\n{ON}"));
        let storage = manifest("kvorum-storage", "[features]\ndefault = [\"x/mutations\"]");
        let root = format!("[workspace.dependencies]\n{ON}\n");
        let files = [
            ("Cargo.toml", root.as_str()),
            ("crates/node/Cargo.toml", &node),
            ("crates/storage/Cargo.toml", &storage),
        ];
        let expected = ["crates/node/Cargo.toml:4", "crates/storage/Cargo.toml:1", "Cargo.toml:2"];
        assert_eq!(violations_of(&MutationsOff, &files), expected);
    }

    #[test]
    fn tests_and_the_simulator_may_have_them() {
        let node = manifest("kvorum-node", &format!("[dev-dependencies]\n{ON}"));
        let sim = manifest("kvorum-sim", &format!("[dependencies]\n{ON}"));
        let files = [("crates/node/Cargo.toml", node.as_str()), ("crates/sim/Cargo.toml", &sim)];
        assert!(violations_of(&MutationsOff, &files).is_empty());
    }
}
