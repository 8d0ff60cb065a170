//! What happens to disks: they fill up, rot, are wiped, or go back to an older image.

use kvorum_storage::{Disk, SimDisk};

use crate::chance::Chance;
use crate::node::Node;
use crate::world::{Event, World};

impl World {
    /// Fills a disk up to what is on it.
    pub(super) fn fill(&mut self, host: usize) {
        let Some(host) = self.host(host) else { return };
        let used = used_bytes(&host.disk);
        host.disk.set_capacity(Some(used));
    }

    /// Lets a disk take as much as it likes again.
    pub(super) fn free(&mut self, host: usize) {
        if let Some(host) = self.host(host) {
            host.disk.set_capacity(None);
        }
    }

    /// Whether a disk may be harmed: only while every node is complete and no other disk is
    /// rotten, since what two of three replicas have lost cannot be restored.
    fn may_harm(&self, host: usize) -> bool {
        if self.nemesis.rotten.is_some_and(|rotten| rotten != host) {
            return false;
        }
        let whole = |node: &Node| node.is_whole();
        self.hosts.iter().all(|host| !host.paused && host.node.as_ref().is_some_and(whole))
    }

    fn harm(&mut self, host: usize) {
        self.nemesis.touched_disks = true;
        if let Some(target) = self.host(host) {
            target.harmed = true;
        }
    }

    /// Wipes a disk, puts back an older image, or flips a bit, while the node is down.
    pub(super) fn damage(&mut self, host: usize) {
        if !self.may_harm(host) {
            return;
        }
        self.harm(host);
        self.crash(host, false);
        let draw = (self.nemesis.chance.between(0, 3), self.nemesis.chance.any());
        let image = self.nemesis.image.take();
        let Some(target) = self.hosts.get_mut(host) else { return };
        match (draw, image) {
            ((0, _), _) => target.disk.restore(&SimDisk::new()),
            ((1, _), Some((of, image))) if of == host => target.disk.restore(&image),
            ((_, bits), _) => {
                let mut chance = Chance::new(bits);
                if let Some((name, place)) = somewhere(&target.disk, &mut chance) {
                    flip(&target.disk, &name, place, &mut chance);
                }
                self.nemesis.rotten = Some(host);
            }
        }
        self.after(500_000, Event::Start { host });
    }

    /// A stretch of a file rots under a running node, often one that holds a value: a bit here and
    /// there is flipped.
    pub(super) fn rot(&mut self, host: usize) {
        if !self.may_harm(host) {
            return;
        }
        self.harm(host);
        self.nemesis.rotten = Some(host);
        let mut chance = self.nemesis.chance.fork();
        let value = match chance.permille(500) {
            true => self.clients.a_written_value(&mut chance),
            false => self.strong.a_written_value(&mut chance),
        };
        let Some(disk) = self.hosts.get(host).map(|host| &host.disk) else { return };
        let value = value.filter(|_| chance.permille(700));
        let (spot, length) = match value.and_then(|value| find(disk, &value)) {
            Some((name, place, length)) => (Some((name, place)), length),
            None => (somewhere(disk, &mut chance), chance.between(1, 64 << 10)),
        };
        let Some((name, start)) = spot else { return };
        self.trace.note(self.now, || format!("{name} of host {host} rots from {start} on"));
        let step = chance.between(1, length.min(1_000));
        let mut place = start + chance.between(0, step - 1);
        while place < start + length && flip(disk, &name, place, &mut chance) {
            place += chance.between(1, step);
        }
    }
}

/// Where a segment holds these bytes, searched from the newest one on.
fn find(disk: &SimDisk, bytes: &[u8]) -> Option<(String, u64, u64)> {
    let segment = |name: &String| name.ends_with(".log") && !name.starts_with("free");
    for name in disk.list().unwrap_or_default().into_iter().filter(segment).rev() {
        let contents = disk.contents(&name).unwrap_or_default();
        if let Some(place) = contents.windows(bytes.len()).position(|window| window == bytes) {
            return Some((name, place as u64, bytes.len() as u64));
        }
    }
    None
}

/// A byte of a file, rather where something was written.
fn somewhere(disk: &SimDisk, chance: &mut Chance) -> Option<(String, u64)> {
    let files = disk.list().unwrap_or_default();
    let mut found = None;
    for _ in 0..20 {
        let name = chance.pick(&files)?;
        let contents = disk.contents(name).unwrap_or_default();
        let place = chance.index(contents.len());
        found = Some((name.clone(), place as u64));
        if contents.get(place).is_some_and(|byte| *byte != 0) {
            break;
        }
    }
    found
}

fn flip(disk: &SimDisk, name: &str, place: u64, chance: &mut Chance) -> bool {
    disk.flip(name, place, u8::try_from(chance.between(0, 7)).unwrap_or(0))
}

fn used_bytes(disk: &SimDisk) -> u64 {
    let names = disk.list().unwrap_or_default();
    names.iter().filter_map(|name| disk.contents(name)).map(|bytes| bytes.len() as u64).sum()
}
