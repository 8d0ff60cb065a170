//! The disk of the operating system: one directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation};
use rustix::io::Errno;

use super::{DirectoryLock, Disk, DiskFile};

/// How many zero bytes are written at once when a file is created.
const ZEROS: usize = 1 << 20;
/// How many are handed to the device at once: a longer burst would hold up the log's own syncs.
const BURST: u64 = 8 << 20;

/// A directory of a real file system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: Arc<File>,
}

impl RealDisk {
    /// Opens the directory, and creates it (durably) if it does not exist.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path) -> io::Result<RealDisk> {
        if !path.exists() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.canonicalize()?.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(RealDisk { path: path.to_owned(), directory: Arc::new(File::open(path)?) })
    }
}

impl Disk for RealDisk {
    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        // A descriptor of its own: the lock ends with the guard, not with the disk.
        let directory = File::open(&self.path)?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DirectoryLock::new(directory))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        // Zeros are written, not merely reserved: the first write into an unwritten extent costs
        // a journal commit of the file system at every sync.
        if let Err(error) = fill_with_zeros(&file, len) {
            drop(file);
            fs::remove_file(&path)?;
            return Err(no_space(error));
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stats = rustix::fs::fstatvfs(&*self.directory)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }
}

fn fill_with_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0u8; ZEROS];
    let mut offset = 0;
    while offset < len {
        let part = usize::try_from(len - offset).map_or(ZEROS, |rest| rest.min(ZEROS));
        file.write_all_at(zeros.get(..part).unwrap_or(&zeros), offset)?;
        offset += part as u64;
        if offset.is_multiple_of(BURST) {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// A quota that is used up is a full disk like any other: it passes when something is deleted.
fn no_space(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => io::Error::new(io::ErrorKind::StorageFull, error),
        _ => error,
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn drop_cache(&self) {
        // Only a hint: where it is not followed, the read back proves less, and nothing else.
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_quota_is_a_full_disk_and_nothing_else_is() {
        let kind = |kind: io::ErrorKind| no_space(kind.into()).kind();
        assert_eq!(kind(io::ErrorKind::QuotaExceeded), io::ErrorKind::StorageFull);
        assert_eq!(kind(io::ErrorKind::StorageFull), io::ErrorKind::StorageFull);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), io::ErrorKind::PermissionDenied);
    }
}
