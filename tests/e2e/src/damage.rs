//! Damaging a node's files while it is down.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The store's directory in a node's data directory.
const STORE: &str = "store";

/// The oldest segment of a node's log.
///
/// # Panics
/// There are fewer than two: the newest one would not be an old one.
#[must_use]
pub fn oldest_segment(data_dir: &Path) -> PathBuf {
    let mut segments = files(data_dir, |name| name.ends_with(".log"));
    assert!(segments.len() > 1, "the log has a single segment");
    segments.swap_remove(0)
}

/// The newest checkpoint of a node, if there is one.
#[must_use]
pub fn checkpoint(data_dir: &Path) -> Option<PathBuf> {
    files(data_dir, |name| name.starts_with("checkpoint-")).pop()
}

/// The files of the store with certain names, in the order of their names.
fn files(data_dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(STORE)).expect("a data directory can be listed");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted);
    let mut found: Vec<PathBuf> = paths.filter(named).collect();
    found.sort();
    found
}

/// The first place at or after `from` where `text` stands in a file.
///
/// # Panics
/// There is none.
#[must_use]
pub fn find(file: &Path, from: u64, text: &str) -> u64 {
    let bytes = fs::read(file).expect("a file to search");
    let from = usize::try_from(from).expect("a small file");
    let found = bytes[from..].windows(text.len()).position(|window| window == text.as_bytes());
    (from + found.unwrap_or_else(|| panic!("{text:?} is not in {}", file.display()))) as u64
}

/// Flips one bit of a file at `offset`.
///
/// # Panics
/// The file is shorter, or cannot be written.
pub fn flip_a_byte(file: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).expect("a file to damage");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the byte to damage");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("damaging a byte");
    file.sync_all().expect("the damage is on the disk");
}
