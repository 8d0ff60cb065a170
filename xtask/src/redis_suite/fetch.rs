//! The source package of redis-server: apt downloads it and checks it against Debian's signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where Debian 12, which has this version, is.
const SOURCES: &str = "\
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
";

/// What the package holds of redis-server itself.
const ARCHIVE: &str = "redis_7.0.15.orig.tar.gz";

/// Fetches and unpacks the suite. Returns the folder of its runner.
///
/// # Errors
/// If apt or tar fails, or Debian has another version.
pub(super) fn suite(scratch: &Path) -> Result<PathBuf> {
    let sources = scratch.join("sources.list");
    fs::write(&sources, SOURCES)?;
    let (state, cache) = (scratch.join("apt/state"), scratch.join("apt/cache"));
    for folder in [state.join("lists/partial"), cache.join("archives/partial")] {
        fs::create_dir_all(folder)?;
    }
    // A list of sources and a cache of our own: the machine's stay as they are.
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (name, value) in [
            ("Dir::Etc::sourcelist", sources.as_path()),
            ("Dir::Etc::sourceparts", Path::new("-")),
            ("Dir::State::lists", &state.join("lists")),
            ("Dir::Cache", &cache),
        ] {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        command.args(arguments).current_dir(scratch);
        output_of(command)
    };
    apt(&["-q", "update"])?;
    apt(&["-q", "source", "--download-only", "redis"])?;
    let archive = scratch.join(ARCHIVE);
    ensure!(archive.exists(), "Debian's package of redis no longer holds {ARCHIVE}");
    let suite = scratch.join("suite");
    fs::create_dir_all(&suite)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components", "1", "--file"]).arg(&archive);
    tar.arg("--directory").arg(&suite);
    output_of(tar)?;
    Ok(suite)
}

fn output_of(mut command: Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("running {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {said}");
    Ok(())
}
