//! A disk that watches that no block of a segment is written twice in one life of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::{DirectoryLock, DiskFile};
use crate::log::BLOCK;
use crate::{Disk, SimDisk};

/// What was written to which file; outlives the processes that use the disk.
#[derive(Debug, Default)]
pub(super) struct Written {
    files: BTreeMap<String, Arc<Mutex<Blocks>>>,
}

/// The blocks of one file that its present life has written.
#[derive(Debug, Default)]
struct Blocks {
    written: BTreeSet<u64>,
    twice: Option<u64>,
}

impl Written {
    /// A block that was written twice, and its file.
    pub(super) fn twice(&self) -> Option<(String, u64)> {
        let twice = |(name, blocks): (&String, &Arc<Mutex<Blocks>>)| {
            Some((name.clone(), blocks.lock().unwrap().twice?))
        };
        self.files.iter().find_map(twice)
    }
}

/// The disk of one process.
pub(super) struct WriteOnce {
    pub(super) disk: SimDisk,
    pub(super) written: Arc<Mutex<Written>>,
}

impl WriteOnce {
    fn watched(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if name.starts_with("checkpoint") {
            return file;
        }
        let mut written = self.written.lock().unwrap();
        let blocks = Arc::clone(written.files.entry(name.to_owned()).or_default());
        Arc::new(Watched { file, blocks })
    }
}

impl Disk for WriteOnce {
    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(name, len)?;
        self.written.lock().unwrap().files.remove(name);
        Ok(self.watched(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watched(name, self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)?;
        let mut written = self.written.lock().unwrap();
        if let Some(blocks) = written.files.remove(from) {
            written.files.insert(to.to_owned(), blocks);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

struct Watched {
    file: Arc<dyn DiskFile>,
    blocks: Arc<Mutex<Blocks>>,
}

impl DiskFile for Watched {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut blocks = self.blocks.lock().unwrap();
        if offset == 0 {
            // The header is the first thing that a life of the file writes.
            blocks.written.clear();
        }
        let block = BLOCK as u64;
        for at in offset / block..(offset + bytes.len() as u64).div_ceil(block) {
            if !blocks.written.insert(at) {
                blocks.twice = Some(at);
            }
        }
        drop(blocks);
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}

#[test]
fn a_block_written_twice_is_noticed_unless_a_new_life_of_the_file_began() {
    let written: Arc<Mutex<Written>> = Arc::default();
    let disk = WriteOnce { disk: SimDisk::new(), written: Arc::clone(&written) };
    let file = disk.create("free-0000000001", 16 << 10).unwrap();
    file.write_at(&[1; BLOCK], 0).unwrap();
    disk.rename("free-0000000001", "0000000001.log").unwrap();
    file.write_at(&[1; 2 * BLOCK], BLOCK as u64).unwrap();
    file.write_at(&[1; BLOCK], 0).unwrap();
    file.write_at(&[1; BLOCK], BLOCK as u64).unwrap();
    assert_eq!(written.lock().unwrap().twice(), None);
    file.write_at(&[1; 10], BLOCK as u64 + 7).unwrap();
    assert_eq!(written.lock().unwrap().twice(), Some(("0000000001.log".to_owned(), 1)));
}
