//! What commands write: text for people, JSON for programs.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs, one document per line.
    Json,
}

/// Writes bytes to standard output.
///
/// # Errors
/// Those of the write. A reader that has gone away (`kvorum scan | head`) is not an error.
pub fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes a line of text to standard output.
///
/// # Errors
/// As [`write`].
pub fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a JSON document on one line to standard output.
///
/// # Errors
/// As [`write`].
pub fn json(document: &serde_json::Value) -> anyhow::Result<()> {
    line(&document.to_string())
}

/// Writes a line to standard error. There is nobody to tell if that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
