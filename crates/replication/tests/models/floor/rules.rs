//! The steps of the floor's model: what each rule lets a member do.

use super::Mutation;
use super::state::{
    ALL, COVER, Duty, Fault, MAJORITY, MEMBERS, MOST_WRITES, Member, PAIRS, Set, Snapshot, State,
    Version, just, only, pair,
};

/// One thing that happens. A member is told by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A client's write reaches a member, however late. One that never does is lost.
    Write(Version, usize),
    /// A repair of what somebody once stored reaches a member, however late.
    Repair(Version, usize),
    /// The same, and the member will crash before it is durable.
    RepairInVain(Version, usize),
    /// A member loses what is not durable.
    Crash(usize),
    /// A member promises.
    Promise(Version, usize),
    /// Two members compare what they hold.
    Compare(usize, usize),
    /// A member compares what it holds with the snapshot that is under way.
    CompareLate(usize),
    /// The commit of this floor reaches a member.
    Commit(Version, usize),
    /// The first of two members learns the floor of the other at the beginning of a session.
    Adopt(usize, usize),
    /// A member removes its tombstone.
    Purge(usize),
    /// A member's disk is blank, or as old as when this was the newest record.
    Lose(Version, usize),
    /// A rebuilding member asks another for floor and promise.
    Ask(usize, usize),
    /// A rebuilding member copies what another holds.
    Page(usize, usize),
}

impl Step {
    /// The member whose snapshot would be another after the step.
    pub(super) const fn changes_what_is_shown(self) -> Option<usize> {
        match self {
            Step::Write(_, member)
            | Step::Repair(_, member)
            | Step::RepairInVain(_, member)
            | Step::Crash(member)
            | Step::Promise(_, member)
            | Step::Purge(member)
            | Step::Lose(_, member) => Some(member),
            Step::Compare(..)
            | Step::CompareLate(_)
            | Step::Commit(..)
            | Step::Adopt(..)
            | Step::Ask(..)
            | Step::Page(..) => None,
        }
    }
}

/// A state, the rules that hold in it, and its change.
pub(super) struct World {
    pub(super) state: State,
    pub(super) mutation: Option<Mutation>,
}

impl World {
    /// Does a step. The state stays as it is if a rule forbids the step.
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Write(version, to) => self.write(version, to),
            Step::Repair(version, to) => self.repair(version, to),
            Step::RepairInVain(version, to) => self.repair_in_vain(version, to),
            Step::Crash(member) => self.member(member).stored = self.state.members[member].synced,
            Step::Promise(reading, member) => self.promise(reading, member),
            Step::Compare(one, other) => self.compare_now(one, other),
            Step::CompareLate(member) => self.compare_late(member),
            Step::Commit(reading, member) => self.commit(reading, member),
            Step::Adopt(member, from) => self.adopt(member, from),
            Step::Purge(member) => self.purge(member),
            Step::Lose(image, member) => self.lose(image, member),
            Step::Ask(member, whom) => self.ask(member, whom),
            Step::Page(member, from) => self.page(member, from),
        }
    }

    fn member(&mut self, member: usize) -> &mut Member {
        &mut self.state.members[member]
    }

    fn without(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// A client's write is refused as late at or below the promise.
    fn write(&mut self, version: Version, to: usize) {
        let late = version <= self.state.members[to].promise;
        if (!late || self.without(Mutation::PromiseRefusesNothing)) && self.takes(version, to) {
            self.store(version, to);
        }
    }

    /// A repair is taken below the promise: somebody held it when he promised, or holds something newer.
    fn repair(&mut self, version: Version, to: usize) {
        if self.state.existed & just(version) != 0 && self.takes(version, to) {
            self.store(version, to);
        }
    }

    /// Whoever waits for the log waits in vain: nothing follows here but the crash.
    fn repair_in_vain(&mut self, version: Version, to: usize) {
        if self.state.existed & just(version) != 0 && self.takes(version, to) {
            self.member(to).stored = version;
            self.state.crashes += 1;
        }
    }

    /// Whether a record would change something and may: not at or below the floor, and nothing at all before
    /// a rebuilding member knows its floor.
    fn takes(&self, version: Version, to: usize) -> bool {
        let Member { stored, synced, floor, duty, .. } = self.state.members[to];
        version > stored
            && stored == synced
            && !matches!(duty, Duty::Asking(_))
            && (version > floor || self.without(Mutation::FloorRefusesNothing))
    }

    fn store(&mut self, version: Version, to: usize) {
        let Member { floor, duty, .. } = self.state.members[to];
        if version <= floor && duty == Duty::Whole {
            self.state.fault = Fault::StoredBelowFloor;
        }
        self.member(to).stored = version;
        self.member(to).synced = version;
        self.state.existed |= just(version);
        self.acknowledge(to);
    }

    /// Whoever is whole and holds a write durably acknowledges it, unless it is late by now: a repair may
    /// have brought it after the promise, and then no comparison has seen it. That it is always
    /// acknowledged is the worst case: nothing but what must be kept depends on it.
    fn acknowledge(&mut self, member: usize) {
        let Member { synced, promise, duty, .. } = self.state.members[member];
        let late = synced <= promise
            && !self.without(Mutation::LateWritesAreAcknowledged)
            && !self.without(Mutation::PromiseRefusesNothing);
        if synced > 0 && !late && duty == Duty::Whole {
            let acks = &mut self.state.acks[usize::from(synced) - 1];
            *acks |= only(member);
            if acks.count_ones() >= MAJORITY {
                *acks = ALL;
            }
        }
    }

    /// A promise is told once it is durable, and with it all that was stored before.
    fn promise(&mut self, reading: Version, member: usize) {
        if self.state.is_settled(member) && reading > self.state.members[member].promise {
            self.member(member).promise = reading;
        }
    }

    /// What leaves a member in a session is durable there.
    fn shows(&self, member: usize) -> bool {
        self.state.is_settled(member)
            || self.state.is_whole(member) && self.without(Mutation::SnapshotsAreNotDurable)
    }

    /// Puts the snapshot that a member has just sent under way.
    pub(super) fn show(&mut self, of: usize) -> bool {
        let Member { stored, promise, .. } = self.state.members[of];
        self.state.snapshot = Some(Snapshot { of, stored, promise });
        self.shows(of)
    }

    fn compare_now(&mut self, one: usize, other: usize) {
        if self.shows(one) {
            let Member { stored, promise, .. } = self.state.members[one];
            self.compare(Snapshot { of: one, stored, promise }, other);
        }
    }

    fn compare_late(&mut self, member: usize) {
        if let Some(snapshot) = self.state.snapshot.filter(|snapshot| snapshot.of != member) {
            self.compare(snapshot, member);
        }
    }

    /// Two members are clean with each other if for every record at or below the smaller promise the
    /// other shows it or a newer one.
    fn compare(&mut self, snapshot: Snapshot, member: usize) {
        let Snapshot { of, stored: shown, promise } = snapshot;
        let here = self.state.members[member];
        if !self.shows(member) {
            return;
        }
        let both = promise.min(here.promise);
        // What may be purged here is left out: the other may have purged it, or not yet.
        let purged = |version| self.state.is_delete(version) && version <= here.floor;
        let lacks = |version, held| version > held && version <= both && !purged(version);
        if !lacks(shown, here.stored) && !lacks(here.stored, shown) {
            let any = self.without(Mutation::SnapshotsBeforeThePromiseCount);
            let clean = &mut self.state.clean[pair(of, member)];
            *clean = if any { MOST_WRITES } else { both.max(*clean) };
        }
    }

    /// All members have promised, and every pair is clean up to there: the proposer may commit. It may have
    /// got any of these answers from a member before its disk was lost.
    fn decided(&self, reading: Version) -> bool {
        let promised = |member: usize| {
            let Member { promise, told, .. } = self.state.members[member];
            promise.max(told) >= reading
        };
        let promisers = (0..MEMBERS).filter(|&member| promised(member)).count();
        let both = |&(one, other): &(usize, usize)| promised(one) && promised(other);
        let mut clean = PAIRS.into_iter().filter(both);
        let mut clean =
            clean.by_ref().map(|(one, other)| self.state.clean[pair(one, other)] >= reading);
        let need =
            if self.without(Mutation::RoundWithoutTheDown) { MAJORITY } else { MEMBERS as u32 };
        promisers >= need as usize
            && if self.without(Mutation::OneSessionForAll) {
                clean.any(|clean| clean)
            } else {
                clean.all(|clean| clean)
            }
    }

    /// A commit names the ids of the logs that promised, so a member refuses it whose disk was lost since.
    /// A rebuilt one that has promised again, or learned of the promise, is named by the next round.
    fn commit(&mut self, reading: Version, member: usize) {
        let Member { floor, promise, .. } = self.state.members[member];
        let named = self.state.is_settled(member) && promise >= reading
            || self.without(Mutation::CommitToAnotherLog);
        if named && floor < reading && self.decided(reading) {
            self.member(member).floor = reading;
        }
    }

    /// The floor of the other is one that was committed, and this member had a part in it: it promised.
    fn adopt(&mut self, member: usize, from: usize) {
        let floor = self.state.members[from].floor;
        let Member { floor: own, promise, .. } = self.state.members[member];
        let serving = self.state.is_settled(member) && self.state.is_whole(from);
        if serving && own < floor && floor <= promise {
            self.member(member).floor = floor;
        }
    }

    fn purge(&mut self, member: usize) {
        let Member { stored, floor, .. } = self.state.members[member];
        if self.state.is_delete(stored) && stored <= floor {
            self.member(member).stored = 0;
            self.member(member).synced = 0;
        }
    }

    /// The connection to the member is lost with its disk, and with it the acknowledgements that were not
    /// enough yet, and the messages under way.
    fn lose(&mut self, image: Version, member: usize) {
        let before = self.state.members[member];
        if before.duty != Duty::Whole || (image > 0 && self.state.existed & just(image) == 0) {
            return;
        }
        let asks = !self.without(Mutation::RebuildWithoutFloor);
        *self.member(member) = Member {
            stored: image,
            synced: image,
            floor: 0,
            promise: 0,
            told: before.told.max(before.promise),
            duty: if asks { Duty::Asking(0) } else { Duty::Copying(0) },
        };
        self.state.losses += 1;
        let others: Set = ALL & !only(member);
        for acks in &mut self.state.acks {
            *acks = if *acks == ALL { ALL } else { *acks & others };
        }
        if !self.without(Mutation::SnapshotsOfAFormerLifeCount) {
            self.state.snapshot = self.state.snapshot.filter(|snapshot| snapshot.of != member);
        }
    }

    fn ask(&mut self, member: usize, whom: usize) {
        let Member { floor, promise, .. } = self.state.members[whom];
        let Duty::Asking(asked) = self.state.members[member].duty else { return };
        if !self.state.is_settled(whom) || asked & only(whom) != 0 {
            return;
        }
        let asked = asked | only(whom);
        let here = self.member(member);
        here.floor = here.floor.max(floor);
        here.promise = here.promise.max(promise);
        let enough = asked.count_ones() >= COVER;
        here.duty = if enough { Duty::Copying(0) } else { Duty::Asking(asked) };
    }

    /// A page carries the floor of its source, which is adopted. What is in it is taken whatever the floor
    /// says. What is here at or below the floor of the first source, and not there, was deleted or overwritten.
    /// The second source is not asked that: what it lacks may have come from the first, and be acknowledged;
    /// what superseded it there may not have reached the second.
    fn page(&mut self, member: usize, from: usize) {
        let Duty::Copying(copied) = self.state.members[member].duty else { return };
        let settled = self.state.members[member].stored == self.state.members[member].synced;
        if !settled || !self.state.is_settled(from) || copied & only(from) != 0 {
            return;
        }
        let Member { stored: shown, floor, .. } = self.state.members[from];
        let first = copied == 0 || self.without(Mutation::LeftoversJudgedByAll);
        let copied = copied | only(from);
        let keeps = !first || self.without(Mutation::LeftoversAreKept);
        let adopts = !self.without(Mutation::PageWithoutFloor);
        let here = self.member(member);
        if here.stored <= floor && here.stored != shown && !keeps {
            here.stored = 0;
        }
        here.stored = here.stored.max(shown);
        here.synced = here.stored;
        if adopts {
            here.floor = here.floor.max(floor);
            here.promise = here.promise.max(floor);
        }
        let enough = copied.count_ones() >= COVER;
        here.duty = if enough { Duty::Whole } else { Duty::Copying(copied) };
        self.acknowledge(member);
    }
}
