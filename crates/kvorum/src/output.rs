//! What commands write: text for people, JSON for programs.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

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

/// A size in binary units, with one decimal: `12.3 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in units {
        if bytes >> shift > 0 {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// How long ago something was, roughly: `3 s ago`.
#[must_use]
pub fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86400, "d"), (3600, "h"), (60, "min")];
    // Two of a unit, so that one and a half is not told as one.
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = unit.unwrap_or((1, "s"));
    format!("{} {unit} ago", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_at_a_glance() {
        let shown: Vec<String> = [0, 1023, 1536, 64 << 20, 5 << 40].map(size).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "64.0 MiB", "5120.0 GiB"]);
        let shown = [0, 119, 120, 7199, 7200, 400_000].map(|s| ago(Duration::from_secs(s)));
        assert_eq!(
            shown,
            ["0 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "4 d ago"]
        );
    }
}
