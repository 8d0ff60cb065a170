//! The faults of a run, drawn from its seed.

mod disks;
mod leaders;

use kvorum_storage::SimDisk;

use crate::chance::Chance;
use crate::settings::Settings;
use crate::world::{Event, World};

/// What has been done to the world.
#[derive(Debug)]
pub struct Nemesis {
    chance: Chance,
    injected: usize,
    touched_disks: bool,
    stopped: bool,
    /// The one disk that may hold damage that nobody has found yet.
    rotten: Option<usize>,
    /// Power fails with the next write that is acknowledged: on one machine or on all.
    armed: Option<Option<usize>>,
    /// Power fails on all machines with one of the next pieces of background work, counted down.
    awaited_work: Option<u64>,
    /// An older image of one disk: whose, and what.
    image: Option<(usize, SimDisk)>,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    KillAll,
    /// A node stops in order: it hands over what it leads first.
    Leave,
    /// A node is killed and does not come back soon.
    Absence,
    PowerCut,
    PowerCutAll,
    /// Processes are killed; what they had written and not synced is lost when the power fails
    /// soon after, while they are down or when they have started again.
    KillThenPowerCut,
    KillThenPowerCutAll,
    /// Power fails as soon as a client is told that its write is safe.
    PowerCutAtAck,
    PowerCutAllAtAck,
    /// Power fails in the middle of a piece of background work.
    PowerCutAtWork,
    Pause,
    CutOneWay,
    Isolate,
    /// A node is cut off, and only the others know.
    Depose,
    Reset,
    HealNetwork,
    ClockJump,
    ClockDrift,
    DamageDisk,
    /// A bit flips under a running node.
    Rot,
    ImageDisk,
    FillDisk,
    FreeDisk,
    SlowDisk,
    /// A node finds its disk too slow for a leader, or well again.
    JudgeDisk,
    SyncError,
}

impl Nemesis {
    /// A nemesis that has done nothing yet.
    #[must_use]
    pub fn new(chance: Chance) -> Nemesis {
        Nemesis {
            chance,
            injected: 0,
            touched_disks: false,
            stopped: false,
            rotten: None,
            armed: None,
            awaited_work: None,
            image: None,
        }
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

    /// Whether the next start of a node is interrupted: after how many calls of its disk, and
    /// whether by a loss of power.
    pub fn interruption(&mut self, settings: &Settings) -> Option<(u64, bool)> {
        let (kills, power) = (settings.faults.kills, settings.faults.power);
        if self.stopped || !(kills || power) || !self.chance.permille(150) {
            return None;
        }
        let by_power = power && (!kills || self.chance.permille(500));
        Some((self.chance.between(1, 15), by_power))
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
        let next = self.nemesis.chance.between(100_000, self.settings.calm_micros);
        self.after(next, Event::Fault);
    }

    fn possible_faults(&self) -> Vec<Fault> {
        let allowed = self.settings.faults;
        let groups: [(bool, &[Fault]); 9] = [
            (
                allowed.kills,
                &[Fault::Kill, Fault::Kill, Fault::KillAll, Fault::Leave, Fault::Leave],
            ),
            (allowed.absences, &[Fault::Absence]),
            (allowed.power, POWER_CUTS),
            (
                allowed.kills && allowed.power,
                &[Fault::KillThenPowerCut, Fault::KillThenPowerCutAll],
            ),
            (allowed.pauses, &[Fault::Pause, Fault::SlowDisk, Fault::JudgeDisk]),
            (allowed.cuts, CUTS),
            (allowed.clocks, &[Fault::ClockJump, Fault::ClockDrift]),
            (allowed.disks, DISKS),
            (allowed.space, &[Fault::FillDisk, Fault::FreeDisk]),
        ];
        groups.iter().filter(|(may, _)| *may).flat_map(|(_, faults)| *faults).copied().collect()
    }

    fn inject(&mut self, fault: Fault, host: usize) {
        match fault {
            Fault::Kill => self.kill(host, false),
            Fault::PowerCut => self.kill(host, true),
            Fault::KillAll => (0..self.hosts.len()).for_each(|host| self.kill(host, false)),
            Fault::Leave => self.leave(host),
            Fault::Absence => self.send_away(host),
            Fault::PowerCutAll => self.cut_power(None),
            Fault::KillThenPowerCut => {
                self.kill(host, false);
                self.power_cut_soon(Some(host));
            }
            Fault::KillThenPowerCutAll => {
                (0..self.hosts.len()).for_each(|host| self.kill(host, false));
                self.power_cut_soon(None);
            }
            Fault::PowerCutAtAck => self.nemesis.armed = Some(Some(host)),
            Fault::PowerCutAllAtAck => self.nemesis.armed = Some(None),
            Fault::PowerCutAtWork => {
                self.nemesis.awaited_work = Some(self.nemesis.chance.between(0, 20));
            }
            Fault::Pause => self.pause(host),
            Fault::CutOneWay => self.cut_one_way(host),
            Fault::Isolate => self.isolate(host),
            Fault::Depose => self.depose(host, self.settings.faults.clocks),
            Fault::Reset => self.reset(host),
            Fault::HealNetwork => {
                self.network.heal();
                self.release();
            }
            Fault::ClockJump => {
                let jump = self.nemesis.chance.between(0, 20_000);
                self.watch_clocks();
                if let Some(host) = self.host(host) {
                    host.offset_ms = i64::try_from(jump).unwrap_or(0) - 10_000;
                }
            }
            Fault::ClockDrift => {
                let drift = self.nemesis.chance.between(0, 2_000);
                self.watch_clocks();
                if let Some(host) = self.host(host) {
                    host.drift_ppm = i64::try_from(drift).unwrap_or(0) - 1_000;
                }
            }
            Fault::DamageDisk => self.damage(host),
            Fault::Rot => self.rot(host),
            Fault::ImageDisk => {
                self.nemesis.image =
                    self.hosts.get(host).map(|machine| (host, machine.disk.snapshot()));
            }
            Fault::FillDisk => self.fill(host),
            Fault::FreeDisk => self.free(host),
            Fault::SlowDisk => {
                let low = self.nemesis.chance.between(20, 50_000);
                if let Some(host) = self.host(host) {
                    host.sync_micros = (low, low * 2);
                }
            }
            Fault::JudgeDisk => self.judge_disk(host),
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
        let quick = self.nemesis.chance.permille(300);
        let most = if quick { 50_000 } else { 5_000_000 };
        let wait = self.nemesis.chance.between(1_000, most);
        self.after(wait, Event::Start { host });
    }

    /// Kills a node for longer than hints are kept and floors lag.
    fn send_away(&mut self, host: usize) {
        self.crash(host, false);
        let wait = self.nemesis.chance.between(5_000_000, 25_000_000);
        self.after(wait, Event::Start { host });
    }

    /// A machine loses power, or all do at once.
    pub(crate) fn cut_power(&mut self, host: Option<usize>) {
        if self.nemesis.stopped {
            return;
        }
        match host {
            Some(host) => self.kill(host, true),
            None => (0..self.hosts.len()).for_each(|host| self.kill(host, true)),
        }
    }

    /// A client has been told that its write is safe.
    pub(crate) fn write_acknowledged(&mut self, by: usize) {
        if self.nemesis.armed.is_some_and(|host| host.is_none_or(|host| host == by)) {
            let host = self.nemesis.armed.take().flatten();
            self.after(0, Event::PowerCut { host });
        }
    }

    /// A machine has begun a piece of background work that takes some time.
    pub(crate) fn work_begun(&mut self, by: usize, micros: u64) {
        match self.nemesis.awaited_work {
            Some(0) => {
                self.nemesis.awaited_work = None;
                let all = self.nemesis.chance.permille(300);
                let wait = self.nemesis.chance.between(0, micros.min(3_000));
                self.after(wait, Event::PowerCut { host: (!all).then_some(by) });
            }
            Some(more) => self.nemesis.awaited_work = Some(more - 1),
            None => {}
        }
    }

    fn power_cut_soon(&mut self, host: Option<usize>) {
        let wait = self.nemesis.chance.between(1_000, 200_000);
        self.after(wait, Event::PowerCut { host });
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

    /// Ends a node's connection to another one; what was under way is lost.
    fn reset(&mut self, host: usize) {
        let other = self.nemesis.chance.index(self.hosts.len());
        let ids = (self.hosts.get(host).map(|h| h.id), self.hosts.get(other).map(|h| h.id));
        if let (Some(a), Some(b)) = ids
            && a != b
        {
            let (low, high) = (a.min(b), a.max(b));
            self.close(low, high, low);
            self.close(low, high, high);
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
}

const POWER_CUTS: &[Fault] = &[
    Fault::PowerCut,
    Fault::PowerCut,
    Fault::PowerCutAll,
    Fault::PowerCutAtAck,
    Fault::PowerCutAllAtAck,
    Fault::PowerCutAtWork,
    Fault::PowerCutAtWork,
];
const CUTS: &[Fault] = &[
    Fault::CutOneWay,
    Fault::Isolate,
    Fault::Depose,
    Fault::Depose,
    Fault::Reset,
    Fault::HealNetwork,
    Fault::HealNetwork,
    Fault::HealNetwork,
];
const DISKS: &[Fault] =
    &[Fault::DamageDisk, Fault::Rot, Fault::Rot, Fault::ImageDisk, Fault::SyncError];
