//! The few things a store asks of a disk, so that it runs on a real, a memory and a simulated one.

mod memory;
mod real;
mod sim;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

pub use memory::MemDisk;
pub use real::RealDisk;
pub use sim::{SimDisk, Survival};

/// One directory of files, without sub-directories.
///
/// Nothing is durable before the matching call returned: the bytes of a file before
/// [`DiskFile::sync`], the names of files before [`Disk::sync_dir`]. After an error of either, what
/// is on the disk is unknown, and calling again proves nothing.
pub trait Disk: Send + Sync {
    /// Takes the directory for this process, or returns nothing if another process has it.
    ///
    /// # Errors
    /// Those of the operating system.
    fn lock(&self) -> io::Result<Option<DirectoryLock>>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `len` zero bytes that occupy space on the device.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no space (the file is removed again), and those
    /// of the operating system.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Those of the operating system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file; a file of the new name is replaced.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and deletions durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_dir(&self) -> io::Result<()>;

    /// How many bytes can still be allocated.
    ///
    /// # Errors
    /// Those of the operating system.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file. Calls from several threads may overlap.
pub trait DiskFile: Send + Sync {
    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before, and those of the operating system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at `offset`; the file grows if they reach beyond its end.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, as `fdatasync` does.
    ///
    /// # Errors
    /// Those of the operating system. What is durable is unknown then.
    fn sync(&self) -> io::Result<()>;

    /// Asks that the next read come from the device and not from a cache; a hint.
    fn drop_cache(&self);
}

/// The directory belongs to this process until this is dropped.
pub struct DirectoryLock(#[allow(dead_code)] Box<dyn Any + Send + Sync>);

impl DirectoryLock {
    /// A lock that lasts as long as `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> DirectoryLock {
        DirectoryLock(Box::new(guard))
    }
}

impl fmt::Debug for DirectoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryLock")
    }
}

/// The file ended before the bytes that were asked for.
fn end_of_file() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the bytes asked for")
}

/// A file that does not exist.
fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}

/// A length or offset of a file in memory.
fn in_memory(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}
