//! What the simulated device holds, what only its cache holds, and what a power cut makes of both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::super::{end_of_file, in_memory, not_found};
use super::Survival;

/// The unit that is written whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    files: BTreeMap<u64, Content>,
    /// The directory as processes see it.
    pub(super) names: BTreeMap<String, u64>,
    /// The directory as a power cut would leave it, without [`State::pending`].
    durable_names: BTreeMap<String, u64>,
    /// Changes of the directory since its last sync.
    pending: Vec<NameChange>,
    next_id: u64,
    pub(super) locked: bool,
    /// Counts the processes that used the disk.
    pub(super) life: u64,
    pub(super) calls: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) off: bool,
    pub(super) fail_at: Option<(u64, io::ErrorKind)>,
    pub(super) garble_at: Option<u64>,
    pub(super) fail_reads: Option<io::ErrorKind>,
    pub(super) capacity: Option<u64>,
}

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
struct Content {
    /// As readers see them.
    bytes: Vec<u8>,
    /// The length that a power cut leaves at least.
    durable_len: usize,
    /// What the device holds of the sectors written since the last sync.
    dirty: BTreeMap<usize, [u8; SECTOR]>,
    /// What the device holds of the sectors whose sync has failed: readers see the new bytes, no
    /// later sync brings them to the device, and a power cut always loses them.
    failed: BTreeMap<usize, [u8; SECTOR]>,
    /// Bytes of which the device holds, or will hold, one bit wrong.
    garbled: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl State {
    /// # Errors
    /// If the power is off.
    pub(super) fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a mutating call and lets scheduled faults happen.
    pub(super) fn count_call(&mut self) -> io::Result<()> {
        self.powered()?;
        self.calls += 1;
        if self.cut_at.is_some_and(|at| self.calls >= at) {
            self.off = true;
        }
        if let Some((_, kind)) = self.fail_at.take_if(|(at, _)| *at == self.calls) {
            return Err(io::Error::new(kind, "injected"));
        }
        Ok(())
    }

    pub(super) fn end_process(&mut self) {
        self.life += 1;
        self.locked = false;
    }

    pub(super) fn power_cycle(&mut self, survival: Survival) {
        let mut chance = Chance::new(survival);
        let mut names = std::mem::take(&mut self.durable_names);
        let mut pending = std::mem::take(&mut self.pending);
        chance.reorder(&mut pending);
        for change in pending.into_iter().filter(|_| chance.survives()) {
            apply(&mut names, change);
        }
        self.files.retain(|id, _| names.values().any(|named| named == id));
        for content in self.files.values_mut() {
            content.power_cycle(&mut chance);
        }
        self.names.clone_from(&names);
        self.durable_names = names;
        self.off = false;
        self.cut_at = None;
        self.fail_at = None;
        self.garble_at = None;
        self.fail_reads = None;
        self.end_process();
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|content| content.bytes.len() as u64).sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn reserve(&self, more: u64) -> io::Result<()> {
        if more > self.free_bytes() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn create(&mut self, name: &str, len: u64) -> io::Result<u64> {
        self.reserve(len)?;
        self.next_id += 1;
        let id = self.next_id;
        let content = Content { bytes: vec![0; in_memory(len)?], ..Content::default() };
        self.files.insert(id, content);
        self.change_names(NameChange::Create(name.to_owned(), id));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if !self.names.contains_key(from) {
            return Err(not_found(from));
        }
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        if !self.names.contains_key(name) {
            return Err(not_found(name));
        }
        self.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn change_names(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.pending.push(change);
        self.drop_nameless_files();
    }

    pub(super) fn sync_names(&mut self) {
        self.durable_names.clone_from(&self.names);
        self.pending.clear();
        self.drop_nameless_files();
    }

    /// Frees the space of files that no name reaches any more, not even after a power cut.
    fn drop_nameless_files(&mut self) {
        let created = |id: u64| {
            self.pending
                .iter()
                .any(|change| matches!(change, NameChange::Create(_, at) if *at == id))
        };
        let lost: Vec<u64> = self
            .files
            .keys()
            .copied()
            .filter(|id| {
                !self.names.values().any(|named| named == id)
                    && !self.durable_names.values().any(|named| named == id)
                    && !created(*id)
            })
            .collect();
        for id in lost {
            self.files.remove(&id);
        }
    }

    pub(super) fn flip(&mut self, name: &str, byte: u64, bit: u8) -> bool {
        let Some(content) = self.names.get(name).and_then(|id| self.files.get_mut(id)) else {
            return false;
        };
        let Ok(index) = usize::try_from(byte) else { return false };
        let mask = 1u8 << (bit % 8);
        let Content { dirty, failed, .. } = content;
        let old = dirty.get_mut(&(index / SECTOR)).or(failed.get_mut(&(index / SECTOR)));
        if let Some(cell) = old.and_then(|old| old.get_mut(index % SECTOR)) {
            *cell ^= mask;
        }
        content.bytes.get_mut(index).map(|cell| *cell ^= mask).is_some()
    }

    pub(super) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.names.get(name).and_then(|id| self.files.get(id)).map(|content| content.bytes.clone())
    }

    fn file(&self, id: u64, life: u64) -> io::Result<&Content> {
        self.powered()?;
        if life != self.life {
            return Err(io::Error::other("the process that opened the file has ended"));
        }
        self.files.get(&id).ok_or_else(|| io::Error::other("the file was deleted"))
    }

    pub(super) fn size(&self, id: u64, life: u64) -> io::Result<u64> {
        Ok(self.file(id, life)?.bytes.len() as u64)
    }

    pub(super) fn read(&self, id: u64, life: u64, to: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.file(id, life)?;
        if let Some(kind) = self.fail_reads {
            return Err(io::Error::new(kind, "injected"));
        }
        let start = in_memory(offset)?;
        let range = start..start.saturating_add(to.len());
        to.copy_from_slice(content.bytes.get(range).ok_or_else(end_of_file)?);
        Ok(())
    }

    pub(super) fn write(&mut self, id: u64, life: u64, new: &[u8], offset: u64) -> io::Result<()> {
        self.file(id, life)?;
        self.count_call()?;
        let start = in_memory(offset)?;
        let range = start..start.saturating_add(new.len());
        let len = self.files.get(&id).map_or(0, |content| content.bytes.len());
        self.reserve(range.end.saturating_sub(len) as u64)?;
        let garble = self.garble_at.take_if(|at| *at == self.calls).is_some();
        if let Some(content) = self.files.get_mut(&id) {
            content.write(range.clone(), new);
            content.garbled.extend(range.take(usize::from(garble)));
        }
        self.powered()
    }

    pub(super) fn drop_cache(&mut self, id: u64) {
        if let Some(content) = self.files.get_mut(&id) {
            content.drop_cache();
        }
    }

    pub(super) fn sync(&mut self, id: u64, life: u64) -> io::Result<()> {
        self.file(id, life)?;
        let counted = self.count_call();
        let off = self.off;
        let Some(content) = self.files.get_mut(&id) else { return counted };
        if counted.is_err() {
            // As after a failed fsync of Linux: the pages count as clean though the device never
            // got them.
            let dirty = std::mem::take(&mut content.dirty);
            content.failed.extend(dirty);
            return counted;
        }
        if off {
            // The power went with this call: what was being written may have arrived or not.
            return self.powered();
        }
        content.dirty.clear();
        content.durable_len = content.bytes.len();
        Ok(())
    }
}

impl Content {
    /// Readers see from now on what the device holds of all that was synced.
    fn drop_cache(&mut self) {
        let synced = |at: &usize| !self.dirty.contains_key(&(at / SECTOR));
        for at in std::mem::take(&mut self.garbled).into_iter().filter(synced) {
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte ^= 1;
            }
        }
    }

    fn write(&mut self, range: Range<usize>, new: &[u8]) {
        if self.bytes.len() < range.end {
            self.bytes.resize(range.end, 0);
        }
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let on_device = self.failed.remove(&sector);
            let bytes = &self.bytes;
            let on_device = || on_device.unwrap_or_else(|| copy_of(bytes, sector));
            self.dirty.entry(sector).or_insert_with(on_device);
        }
        self.garbled.retain(|at| !range.contains(at));
        if let Some(to) = self.bytes.get_mut(range) {
            to.copy_from_slice(new);
        }
    }

    fn power_cycle(&mut self, chance: &mut Chance) {
        self.drop_cache();
        let kept = self.durable_len.max(chance.below(self.bytes.len()));
        for (sector, old) in std::mem::take(&mut self.failed) {
            restore(&mut self.bytes, sector, &old);
        }
        for (sector, old) in std::mem::take(&mut self.dirty) {
            if !chance.survives() {
                restore(&mut self.bytes, sector, &old);
            }
        }
        self.bytes.truncate(kept);
        self.durable_len = kept;
    }
}

fn copy_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut copy = [0; SECTOR];
    let start = sector * SECTOR;
    let end = bytes.len().min(start + SECTOR);
    for (to, from) in copy.iter_mut().zip(bytes.get(start..end).unwrap_or_default()) {
        *to = *from;
    }
    copy
}

fn restore(bytes: &mut [u8], sector: usize, old: &[u8; SECTOR]) {
    let start = sector * SECTOR;
    let end = bytes.len().min(start + SECTOR);
    for (to, from) in bytes.get_mut(start..end).unwrap_or_default().iter_mut().zip(old) {
        *to = *from;
    }
}

/// Applies one change of the directory, or nothing if what it starts from is not there.
fn apply(names: &mut BTreeMap<String, u64>, change: NameChange) {
    match change {
        NameChange::Create(name, id) => {
            names.insert(name, id);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

/// Decides what survives: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014), or one answer for everything.
struct Chance {
    survival: Survival,
    state: u64,
}

impl Chance {
    fn new(survival: Survival) -> Chance {
        let state = if let Survival::Random(seed) = survival { seed } else { 0 };
        Chance { survival, state }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn survives(&mut self) -> bool {
        match self.survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Random(_) => self.next() & 1 == 1,
        }
    }

    /// A length up to `len`.
    fn below(&mut self, len: usize) -> usize {
        match self.survival {
            Survival::Nothing => 0,
            Survival::Everything => len,
            Survival::Random(_) => match self.next() % (2 * len as u64 + 2) {
                part if part > len as u64 => len,
                part => usize::try_from(part).unwrap_or(len) / SECTOR * SECTOR,
            },
        }
    }

    /// Swaps neighbours: a directory change may reach the device before an earlier one.
    fn reorder(&mut self, changes: &mut [NameChange]) {
        if matches!(self.survival, Survival::Random(_)) {
            for index in 1..changes.len() {
                if self.survives() {
                    changes.swap(index - 1, index);
                }
            }
        }
    }
}
