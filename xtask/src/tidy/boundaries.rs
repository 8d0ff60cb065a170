//! Walls inside and between the crates that do I/O.

use super::source::names_path;
use super::{Report, Rule, Tree};

/// Where generated protocol buffer types may be named.
const GENERATED_TYPES: [&str; 6] = [
    "crates/proto",
    "crates/client",
    "crates/server/src/grpc",
    "crates/server/src/grpc.rs",
    "crates/node/src/peer",
    "crates/node/src/peer.rs",
];

/// Generated types stay in proto's conversions and in the modules that speak gRPC.
#[derive(Debug)]
pub struct GeneratedTypes;

impl Rule for GeneratedTypes {
    fn name(&self) -> &'static str {
        "generated-types"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for (file, source) in tree.sources("crates") {
            if GENERATED_TYPES.iter().any(|place| is_below(&file.path, place)) {
                continue;
            }
            for (line, code) in source.product_code() {
                let generated = ["kvorum_proto", "prost"];
                if let Some(name) = generated.into_iter().find(|name| names_path(code, name)) {
                    let found = format!("{name} is named outside the modules that speak gRPC");
                    let fix = "convert to kvorum-core's types in kvorum-proto, the client, \
                               server's grpc or node's peer, and pass those on";
                    report.add(&file.path, line, found, fix);
                }
            }
        }
    }
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Metrics are emitted in node and server only: what is below returns numbers.
#[derive(Debug)]
pub struct MetricsEmission;

impl Rule for MetricsEmission {
    fn name(&self) -> &'static str {
        "metrics-emission"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let emitters = ["kvorum-node", "kvorum-server"];
        for package in tree.packages() {
            if emitters.contains(&package.name.as_str()) {
                continue;
            }
            for dependency in &package.dependencies {
                if dependency.name == "metrics" || dependency.name.starts_with("metrics-") {
                    let found = format!("{} may not emit metrics", package.name);
                    let fix =
                        "count in a plain struct and let kvorum-node or kvorum-server emit it";
                    report.add(&package.manifest, dependency.line, found, fix);
                }
            }
        }
    }
}

/// The front ends of kvorum-server do not know each other.
#[derive(Debug)]
pub struct FrontEnds;

const FRONT_ENDS: [&str; 3] = ["grpc", "http", "resp"];

impl Rule for FrontEnds {
    fn name(&self) -> &'static str {
        "front-ends"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for own in FRONT_ENDS {
            let folder = format!("crates/server/src/{own}");
            let root = format!("{folder}.rs");
            let inside = tree
                .sources("crates/server/src")
                .filter(|(file, _)| is_below(&file.path, &folder) || file.path == root);
            for (file, source) in inside {
                let mut import = String::new();
                for (line, code) in source.product_code() {
                    import = continued(&import, code);
                    let other = FRONT_ENDS.into_iter().find(|other| {
                        *other != own && (enters(code, other) || groups(&import, code, other))
                    });
                    if let Some(other) = other {
                        let found = format!("the front end {own} uses the front end {other}");
                        let fix = "move what both need beside them in kvorum-server, or below it";
                        report.add(&file.path, line, found, fix);
                    }
                }
            }
        }
    }
}

/// The import statement that `code` continues or begins; empty outside of imports.
fn continued(import: &str, code: &str) -> String {
    let open = !import.is_empty() && !import.trim_end().ends_with(';');
    if open {
        return format!("{import} {code}");
    }
    let trimmed = code.trim_start();
    if trimmed.starts_with("use ") || trimmed.starts_with("pub use ") {
        return code.to_owned();
    }
    String::new()
}

/// Whether `code` goes from the crate's root into the module `other`.
fn enters(code: &str, other: &str) -> bool {
    names_path(code, &format!("crate::{other}"))
}

/// Whether `code` is the line of `import` that takes `other` out of a group at the crate's root.
fn groups(import: &str, code: &str, other: &str) -> bool {
    let trimmed = import.trim_start();
    let Some(group) = trimmed.split_once("crate::{").map(|(_, group)| group) else {
        return false;
    };
    let mut depth = 0_usize;
    let mut top = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => top.push(character),
            _ => {}
        }
    }
    let first = |path: &str| path.split("::").next().is_some_and(|name| name.trim() == other);
    names_path(code, other) && top.split(',').any(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn generated_types_outside_the_grpc_modules_are_reported() {
        let text = "use kvorum_proto::v1::Get;\n";
        let seen = violations_of(&GeneratedTypes, &[("crates/server/src/http/keys.rs", text)]);
        assert_eq!(seen, ["crates/server/src/http/keys.rs:1"]);
        for allowed in ["crates/server/src/grpc/kv.rs", "crates/node/src/peer.rs"] {
            assert!(violations_of(&GeneratedTypes, &[(allowed, text)]).is_empty());
        }
    }

    #[test]
    fn metrics_below_the_node_are_reported() {
        let manifest =
            "[package]\nname = \"kvorum-shard\"\n[dependencies]\nmetrics.workspace = true\n";
        let seen = violations_of(&MetricsEmission, &[("crates/shard/Cargo.toml", manifest)]);
        assert_eq!(seen, ["crates/shard/Cargo.toml:4"]);
    }

    #[test]
    fn one_front_end_that_uses_another_is_reported_however_it_is_imported() {
        let path = "crates/server/src/http/keys.rs";
        let direct = "use crate::resp::Reply;\n";
        let grouped = "use crate::{\n    config::Config,\n    resp::{Reply, http},\n};\n";
        let absolute = "fn f() { crate::grpc::start(); }\n";
        assert_eq!(violations_of(&FrontEnds, &[(path, direct)]), [format!("{path}:1")]);
        assert_eq!(violations_of(&FrontEnds, &[(path, grouped)]), [format!("{path}:3")]);
        assert_eq!(violations_of(&FrontEnds, &[(path, absolute)]), [format!("{path}:1")]);
    }

    #[test]
    fn a_front_end_may_use_itself_and_libraries_of_the_same_name() {
        let path = "crates/server/src/resp/keys.rs";
        let text =
            "use crate::resp::Reply;\nuse http::StatusCode;\nuse crate::{config};\nlet http = 1;\n";
        assert!(violations_of(&FrontEnds, &[(path, text)]).is_empty());
    }
}
