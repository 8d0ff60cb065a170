//! The faults of a run, drawn from its seed.

use kvorum_storage::{Disk, SimDisk};

use crate::chance::Chance;
use crate::node::Node;
use crate::world::{Event, World};

/// What has been done to the world.
#[derive(Debug)]
pub struct Nemesis {
    chance: Chance,
    injected: usize,
    touched_disks: bool,
    stopped: bool,
    /// An older image of one disk: whose, and what.
    image: Option<(usize, SimDisk)>,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    KillAll,
    PowerCut,
    PowerCutAll,
    Pause,
    CutOneWay,
    Isolate,
    HealNetwork,
    ClockJump,
    ClockDrift,
    DamageDisk,
    ImageDisk,
    FillDisk,
    FreeDisk,
    SlowDisk,
    SyncError,
}

impl Nemesis {
    /// A nemesis that has done nothing yet.
    #[must_use]
    pub fn new(chance: Chance) -> Nemesis {
        Nemesis { chance, injected: 0, touched_disks: false, stopped: false, image: None }
    }

    /// How many faults it has injected.
    #[must_use]
    pub const fn injected(&self) -> usize {
        self.injected
    }

    /// Whether durable data has been destroyed.
    #[must_use]
    pub const fn touched_disks(&self) -> bool {
        self.touched_disks
    }

    /// No more faults.
    pub fn stop(&mut self) {
        self.stopped = true;
    }
}

impl World {
    /// Injects the next fault and schedules the one after.
    pub(crate) fn next_fault(&mut self) {
        if self.nemesis.stopped {
            return;
        }
        let faults = self.possible_faults();
        if let Some(&fault) = self.nemesis.chance.pick(&faults) {
            self.nemesis.injected += 1;
            let host = self.nemesis.chance.index(self.hosts.len());
            self.trace.note(self.now, || format!("fault {fault:?} on host {host}"));
            self.inject(fault, host);
        }
        let next = self.nemesis.chance.between(200_000, 6_000_000);
        self.after(next, Event::Fault);
    }

    fn possible_faults(&self) -> Vec<Fault> {
        let allowed = self.settings.faults;
        let groups: [(bool, &[Fault]); 7] = [
            (allowed.kills, &[Fault::Kill, Fault::Kill, Fault::KillAll]),
            (allowed.power, &[Fault::PowerCut, Fault::PowerCut, Fault::PowerCutAll]),
            (allowed.pauses, &[Fault::Pause, Fault::SlowDisk]),
            (allowed.cuts, &[Fault::CutOneWay, Fault::Isolate, Fault::HealNetwork]),
            (allowed.clocks, &[Fault::ClockJump, Fault::ClockDrift]),
            (allowed.disks, &[Fault::DamageDisk, Fault::ImageDisk, Fault::SyncError]),
            (allowed.space, &[Fault::FillDisk, Fault::FreeDisk]),
        ];
        groups.iter().filter(|(may, _)| *may).flat_map(|(_, faults)| *faults).copied().collect()
    }

    fn inject(&mut self, fault: Fault, host: usize) {
        match fault {
            Fault::Kill => self.kill(host, false),
            Fault::PowerCut => self.kill(host, true),
            Fault::KillAll => (0..self.hosts.len()).for_each(|host| self.kill(host, false)),
            Fault::PowerCutAll => (0..self.hosts.len()).for_each(|host| self.kill(host, true)),
            Fault::Pause => self.pause(host),
            Fault::CutOneWay => self.cut_one_way(host),
            Fault::Isolate => self.isolate(host),
            Fault::HealNetwork => {
                self.network.heal();
                self.release();
            }
            Fault::ClockJump => {
                let jump = self.nemesis.chance.between(0, 20_000);
                if let Some(host) = self.host(host) {
                    host.offset_ms = i64::try_from(jump).unwrap_or(0) - 10_000;
                }
            }
            Fault::ClockDrift => {
                let drift = self.nemesis.chance.between(0, 2_000);
                if let Some(host) = self.host(host) {
                    host.drift_ppm = i64::try_from(drift).unwrap_or(0) - 1_000;
                }
            }
            Fault::DamageDisk => self.damage(host),
            Fault::ImageDisk => {
                self.nemesis.image =
                    self.hosts.get(host).map(|machine| (host, machine.disk.snapshot()));
            }
            Fault::FillDisk => self.fill(host),
            Fault::FreeDisk => {
                if let Some(host) = self.host(host) {
                    host.disk.set_capacity(None);
                }
            }
            Fault::SlowDisk => {
                let low = self.nemesis.chance.between(20, 50_000);
                if let Some(host) = self.host(host) {
                    host.sync_micros = (low, low * 2);
                }
            }
            Fault::SyncError => {
                let ahead = self.nemesis.chance.between(1, 10);
                if let Some(host) = self.host(host) {
                    host.disk.fail_at(host.disk.calls() + ahead, std::io::ErrorKind::Other);
                }
            }
        }
    }

    fn kill(&mut self, host: usize, power: bool) {
        self.crash(host, power);
        let wait = self.nemesis.chance.between(1_000, 5_000_000);
        self.after(wait, Event::Start { host });
    }

    fn pause(&mut self, host: usize) {
        let wait = self.nemesis.chance.between(1_000, 20_000_000);
        let Some(target) = self.host(host) else { return };
        if target.node.is_none() || target.paused {
            return;
        }
        target.paused = true;
        let life = target.life;
        self.after(wait, Event::Resume { host, life });
    }

    fn cut_one_way(&mut self, host: usize) {
        let other = self.nemesis.chance.index(self.hosts.len());
        let ids = (self.hosts.get(host).map(|h| h.id), self.hosts.get(other).map(|h| h.id));
        if let (Some(from), Some(to)) = ids
            && from != to
        {
            self.network.cut(from, to, true);
        }
    }

    fn isolate(&mut self, host: usize) {
        let Some(id) = self.hosts.get(host).map(|host| host.id) else { return };
        for (a, b) in self.network.pairs() {
            if a == id || b == id {
                self.network.cut(a, b, true);
                self.network.cut(b, a, true);
            }
        }
    }

    /// Fills a disk up to what is on it.
    fn fill(&mut self, host: usize) {
        let Some(host) = self.host(host) else { return };
        let used = used_bytes(&host.disk);
        host.disk.set_capacity(Some(used));
    }

    /// Wipes a disk, puts back an older image, or flips a bit: only while everybody else is
    /// complete, since what two of three replicas have lost cannot be restored.
    fn damage(&mut self, host: usize) {
        let whole = self
            .hosts
            .iter()
            .all(|host| !host.paused && host.node.as_ref().is_some_and(Node::is_whole));
        if !whole {
            return;
        }
        self.nemesis.touched_disks = true;
        self.crash(host, false);
        let draw = (self.nemesis.chance.between(0, 3), self.nemesis.chance.any());
        let image = self.nemesis.image.take();
        let Some(target) = self.hosts.get_mut(host) else { return };
        match (draw, image) {
            ((0, _), _) => target.disk.restore(&SimDisk::new()),
            ((1, _), Some((of, image))) if of == host => target.disk.restore(&image),
            ((_, bits), _) => flip(&target.disk, bits),
        }
        self.after(500_000, Event::Start { host });
    }
}

/// Flips a bit somewhere.
fn flip(disk: &SimDisk, bits: u64) {
    let files = disk.list().unwrap_or_default();
    let (which, place) = (bits >> 32, bits & 0xffff_ffff);
    let index = usize::try_from(which).unwrap_or(0) % files.len().max(1);
    if let Some(name) = files.get(index) {
        let length = disk.contents(name).map_or(0, |bytes| bytes.len() as u64);
        disk.flip(name, place % length.max(1), (bits >> 61) as u8);
    }
}

fn used_bytes(disk: &SimDisk) -> u64 {
    let names = disk.list().unwrap_or_default();
    names.iter().filter_map(|name| disk.contents(name)).map(|bytes| bytes.len() as u64).sum()
}
