//! What the crates without I/O may use: no clock, no randomness, no sockets, no async.
//!
//! This is what lets one simulator drive the real code and one seed repeat a run.

use super::source::names_path;
use super::{DependencyKind, Report, Rule, Tree};

/// A crate without I/O: its package, its folder, and the libraries it may use.
struct PureCrate {
    package: &'static str,
    folder: &'static str,
    libraries: &'static [&'static str],
}

const PURE_CRATES: &[PureCrate] = &[
    PureCrate {
        package: "kvorum-core",
        folder: "crates/core",
        libraries: &["bytes", "crc32c", "thiserror", "xxhash-rust"],
    },
    PureCrate {
        package: "kvorum-storage",
        folder: "crates/storage",
        libraries: &["bytes", "crc32c", "thiserror", "xxhash-rust", "rustix"],
    },
    PureCrate {
        package: "kvorum-replication",
        folder: "crates/replication",
        // The library `raft` draws its election timeouts itself; the module that contains it
        // replaces them.
        libraries: &["bytes", "protobuf", "raft", "slog", "thiserror", "xxhash-rust"],
    },
    PureCrate {
        package: "kvorum-cluster",
        folder: "crates/cluster",
        // The library `foca` takes time and a generator as arguments, and the generator of
        // `rand_chacha` its seed.
        libraries: &[
            "bytes",
            "crc32c",
            "foca",
            "hmac",
            "rand_chacha",
            "sha2",
            "thiserror",
            "xxhash-rust",
        ],
    },
    PureCrate {
        package: "kvorum-shard",
        folder: "crates/shard",
        libraries: &["bytes", "crc32c", "thiserror"],
    },
];

/// The one file of the pure crates that touches the operating system: the real disk.
const REAL_DISK: &str = "crates/storage/src/disk/real.rs";

/// Names that product code of a pure crate does not contain, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time::Instant", "take `Now` as an argument; the driver reads the clock"),
    ("std::time::SystemTime", "take `Now` as an argument; the driver reads the clock"),
    ("Instant::now", "take `Now` as an argument; the driver reads the clock"),
    ("SystemTime::now", "take `Now` as an argument; the driver reads the clock"),
    ("std::net", "emit an effect; sockets belong to kvorum-node and kvorum-server"),
    ("std::fs", "go through the `Disk` trait; only the real disk touches files"),
    ("std::thread", "emit an effect; threads belong to kvorum-node"),
    ("std::process", "return an error; the driver decides whether the process ends"),
    ("std::env", "take an option; only kvorum-server and the binary read the environment"),
    ("RandomState", "use a BTreeMap or a map with a fixed hasher; its order must repeat"),
    ("rand", "take a seed or a generator at construction"),
    ("tokio", "return effects; only kvorum-node and above are asynchronous"),
];

/// Libraries of pure crates come from a short list.
#[derive(Debug)]
pub struct PureDependencies;

impl Rule for PureDependencies {
    fn name(&self) -> &'static str {
        "pure-dependencies"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        for package in tree.packages() {
            let Some(pure) = PURE_CRATES.iter().find(|pure| pure.package == package.name) else {
                continue;
            };
            for dependency in &package.dependencies {
                let name = dependency.name.as_str();
                let internal = name.starts_with("kvorum");
                let test = dependency.kind == DependencyKind::Dev;
                if internal || test || pure.libraries.contains(&name) {
                    continue;
                }
                let found = format!("{} has no I/O and may not use {name}", package.name);
                let fix = "move what needs it to kvorum-node; if the library itself has no clock, \
                           randomness, sockets or threads, add it to xtask/src/tidy/purity.rs";
                report.add(&package.manifest, dependency.line, found, fix);
            }
        }
    }
}

/// Sources of pure crates name no clock, generator, socket, file, thread or runtime.
#[derive(Debug)]
pub struct PureSources;

impl Rule for PureSources {
    fn name(&self) -> &'static str {
        "pure-sources"
    }

    fn check(&self, tree: &Tree, report: &mut Report) {
        let sources = PURE_CRATES.iter().flat_map(|pure| tree.sources(pure.folder));
        for (file, source) in sources.filter(|(file, _)| file.path != REAL_DISK) {
            for (line, code) in source.product_code() {
                let named = FORBIDDEN.iter().find(|(name, _)| uses(code, name));
                if let Some((name, fix)) = named {
                    report.add(&file.path, line, format!("a pure crate names {name}"), *fix);
                }
            }
        }
    }
}

/// Whether a line names `name`, written out or inside a group of imports (`std::{fs, io}`).
fn uses(code: &str, name: &str) -> bool {
    if names_path(code, name) {
        return true;
    }
    let Some((module, item)) = name.rsplit_once("::") else {
        return false;
    };
    let group = format!("{module}::{{");
    code.find(&group).is_some_and(|at| code.get(at..).is_some_and(|tail| names_path(tail, item)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::violations_of;

    #[test]
    fn an_asynchronous_runtime_in_a_pure_crate_is_reported() {
        let manifest = "[package]\nname = \"kvorum-shard\"\n[dependencies]\nbytes.workspace = true\n\
                        tokio.workspace = true\n[dev-dependencies]\nproptest.workspace = true\n";
        let seen = violations_of(&PureDependencies, &[("crates/shard/Cargo.toml", manifest)]);
        assert_eq!(seen, ["crates/shard/Cargo.toml:5"]);
    }

    #[test]
    fn clocks_files_and_sockets_in_pure_sources_are_reported() {
        let text = "use std::time::Duration;\nuse std::time::{Duration, Instant};\nuse std::fs;\n\
                    fn f() { let x = SystemTime::now(); }\nuse std::{net, io};\nuse std::io;\n";
        let seen = violations_of(&PureSources, &[("crates/core/src/a.rs", text)]);
        let lines = [2, 3, 4, 5].map(|line| format!("crates/core/src/a.rs:{line}"));
        assert_eq!(seen, lines);
    }

    #[test]
    fn only_the_real_disk_of_storage_touches_files() {
        let text = "use std::fs;\n";
        assert!(violations_of(&PureSources, &[(REAL_DISK, text)]).is_empty());
        let other = "crates/storage/src/disk/memory.rs";
        assert_eq!(violations_of(&PureSources, &[(other, text)]).len(), 1);
    }

    #[test]
    fn tests_comments_and_other_crates_are_free() {
        let text = "// std::fs is not for us\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert!(violations_of(&PureSources, &[("crates/core/src/a.rs", text)]).is_empty());
        let node = ("crates/node/src/a.rs", "use std::fs;\n");
        assert!(violations_of(&PureSources, &[node]).is_empty());
    }
}
