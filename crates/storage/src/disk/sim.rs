//! A simulated disk that forgets, tears, flips and refuses, the same way for the same seeds.

mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirectoryLock, Disk, DiskFile, not_found};
use state::State;

/// A disk in memory that behaves at a power cut as badly as a real one may.
///
/// Clones share the disk: a simulator keeps one to pull the plug while a store uses another.
/// Every mutating call has a number, counted from one since the disk was made, so that a test can
/// cut the power at each of them.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What survives a power cut of that which was never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything: the cut came just after the device had written it.
    Everything,
    /// Each sector, file length and directory change or not, drawn from this seed.
    Random(u64),
}

impl SimDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process that uses the disk, as kill -9 does: nothing is lost, its open files and
    /// its lock end, and whatever it still tries fails. If a cut that was scheduled has come, it
    /// was the process that ended at that call, not the power.
    pub fn kill(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.off) {
            state.cut_at = None;
        }
        state.end_process();
    }

    /// Cuts the power and restores it. Open files and locks end; what was not synced survives
    /// as told. Scheduled faults are forgotten.
    pub fn power_cycle(&self, survival: Survival) {
        self.state().power_cycle(survival);
    }

    /// How many mutating calls there were: create, write, sync, rename, remove, directory sync.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// From the mutating call with this number on, everything fails, the call itself included
    /// (which may still have reached the device), until the next [`SimDisk::power_cycle`].
    pub fn cut_power_at(&self, call: u64) {
        self.state().cut_at = Some(call);
    }

    /// Whether the power is off because of [`SimDisk::cut_power_at`].
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The mutating call with this number fails once with this kind of error. What a failed sync
    /// covered is not durable, and a later sync does not make it so.
    pub fn fail_at(&self, call: u64, kind: io::ErrorKind) {
        self.state().fail_at = Some((call, kind));
    }

    /// Of what the mutating call with this number writes, one bit reaches the device wrong. Readers
    /// do not notice as long as the cache is neither dropped nor lost.
    pub fn garble_at(&self, call: u64) {
        self.state().garble_at = Some(call);
    }

    /// Every read from now on fails with this kind of error, or none does.
    pub fn fail_reads(&self, kind: Option<io::ErrorKind>) {
        self.state().fail_reads = kind;
    }

    /// Limits the sum of all file lengths; nothing removes the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Flips one bit of a file, on the device and in the cache.
    ///
    /// Returns whether there was such a file and bit.
    pub fn flip(&self, name: &str, byte: u64, bit: u8) -> bool {
        self.state().flip(name, byte, bit)
    }

    /// The bytes of a file as a reader sees them now.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.state().contents(name)
    }

    /// A copy of the disk as it is, unsynced data included, that shares nothing with it.
    #[must_use]
    pub fn snapshot(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    /// Puts the disk back to what it was at the snapshot, as restoring an old image does. Open
    /// files and locks end; calls go on counting.
    pub fn restore(&self, image: &SimDisk) {
        let image = image.state().clone();
        let mut state = self.state();
        let (calls, life) = (state.calls, state.life);
        *state = image;
        state.calls = calls;
        state.life = life;
        state.end_process();
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        let mut state = self.state();
        state.powered()?;
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        let life = state.life;
        Ok(Some(DirectoryLock::new(Unlock { disk: self.clone(), life })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.powered()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.count_call()?;
        let id = state.create(name, len)?;
        state.powered()?;
        Ok(self.handle(id, &state))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.powered()?;
        let id = state.names.get(name).copied().ok_or_else(|| not_found(name))?;
        Ok(self.handle(id, &state))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count_call()?;
        state.rename(from, to)?;
        state.powered()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count_call()?;
        state.remove(name)?;
        state.powered()
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.count_call()?;
        state.powered()?;
        state.sync_names();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        state.powered()?;
        Ok(state.free_bytes())
    }
}

impl SimDisk {
    fn handle(&self, id: u64, state: &State) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), id, life: state.life })
    }
}

/// Gives the directory back, unless the process that had it has ended anyway.
struct Unlock {
    disk: SimDisk,
    life: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked = false;
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    /// The process that opened the file.
    life: u64,
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.disk.state().size(self.id, self.life)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.state().read(self.id, self.life, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.state().write(self.id, self.life, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(self.id, self.life)
    }

    fn drop_cache(&self) {
        self.disk.state().drop_cache(self.id);
    }
}

#[cfg(test)]
mod tests;
