//! Where the kvorum binary is: in `KVORUM_BIN`, or built on first use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The root of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a process needs of the environment of the tests; the last one is for coverage.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LLVM_PROFILE_FILE"];

/// A command of kvorum whose environment holds no settings.
pub(crate) fn command(subcommand: &str) -> Command {
    with_clean_environment(Command::new(kvorum()), subcommand)
}

/// [`command`] for a process that may open no more than so many files.
pub(crate) fn command_with_files(subcommand: &str, files: u32) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={files}:{files}")).arg(kvorum());
    with_clean_environment(limited, subcommand)
}

fn with_clean_environment(mut command: Command, subcommand: &str) -> Command {
    command.arg(subcommand).env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a command to its end; returns its exit code, and the JSON document it wrote.
///
/// # Panics
/// It writes no JSON document.
#[must_use]
pub fn run(subcommand: &str, arguments: &[&str]) -> (i32, Value) {
    let mut command = command(subcommand);
    let output = command.args(arguments).args(["--output", "json"]).output();
    let output = output.expect("the command can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&text).unwrap_or_else(|error| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        panic!("{subcommand} {arguments:?}: {error}: {text:?}; {complaint}")
    });
    (output.status.code().unwrap_or(-1), document)
}

/// The path of the binary under test.
fn kvorum() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("KVORUM_BIN") {
        Some(path) => workspace().join(path).canonicalize().expect("KVORUM_BIN names no file"),
        None => build(),
    })
}

/// Builds the binary with the profile of the tests. Cargo itself says where it put it.
fn build() -> PathBuf {
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--package", "kvorum", "--message-format", "json-render-diagnostics"])
        .args(profile)
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "the kvorum binary cannot be built");
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo names the executable it has built")
}
