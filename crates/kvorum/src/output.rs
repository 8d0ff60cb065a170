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

/// Whether anybody still reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// As far as can be told.
    Read,
    /// The reader has gone away (`kvorum scan | head`): what follows is of no use.
    Unread,
}

/// Writes bytes to standard output.
///
/// # Errors
/// Those of the write. A reader that has gone away is not an error.
pub fn write(bytes: &[u8]) -> anyhow::Result<Printed> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::Unread),
        result => result.map(|()| Printed::Read).context("cannot write to standard output"),
    }
}

/// Writes a line of text to standard output.
///
/// # Errors
/// As [`write`].
pub fn line(text: &str) -> anyhow::Result<Printed> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a JSON document on one line to standard output.
///
/// # Errors
/// As [`write`].
pub fn json(document: &serde_json::Value) -> anyhow::Result<Printed> {
    line(&document.to_string())
}

/// Writes a line to standard error. There is nobody to tell if that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
