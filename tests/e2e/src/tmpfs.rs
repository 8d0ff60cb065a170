//! A small file system of its own, to fill up.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory; unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    /// Mounts a file system of `size` bytes; nothing if this process may not mount.
    ///
    /// # Panics
    /// There is no temporary directory.
    #[must_use]
    pub fn mount(size: u64) -> Option<Tmpfs> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "kvorum-e2e"])
            .arg(directory.path())
            .status();
        let mounted = status.is_ok_and(|status| status.success());
        mounted.then_some(Tmpfs { directory })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes up all free space with a file, and returns its path.
    ///
    /// # Panics
    /// Writing fails for another reason than the lack of space.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file can be created");
        let mut chunk: &[u8] = &[0; 64 << 10];
        loop {
            match file.write(chunk) {
                Ok(_) => {}
                // What is left may be less than a chunk, down to less than a page.
                Err(error) if error.kind() == ErrorKind::StorageFull && chunk.len() > 1 => {
                    chunk = &chunk[..chunk.len() / 2];
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => return path,
                Err(error) => panic!("filling the file system: {error}"),
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, because a process that is being killed may still hold files in it.
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}
