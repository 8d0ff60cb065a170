//! What the model of the floor remembers: three members, and what is under way between them.

use std::hash::{Hash, Hasher};

/// How many members the partition has.
pub(super) const MEMBERS: usize = 3;
/// How many of them are a majority.
pub(super) const MAJORITY: u32 = 2;
/// How many members that are whole a rebuilding one asks and copies: any so many include one of every majority.
pub(super) const COVER: u32 = MEMBERS as u32 - MAJORITY + 1;
/// The most writes a model can have: a version takes two bits.
pub(super) const MOST_WRITES: u8 = 3;

/// A reading of the hybrid clock, and the version of the write that was stamped with it. Writes are
/// numbered from 1 in the order of their stamps; 0 is before all of them, and "nothing stored".
pub(super) type Version = u8;

/// Some of the members, or some of the versions, one bit each.
pub(super) type Set = u8;

/// All members.
pub(super) const ALL: Set = 0b111;

/// The set of one member.
pub(super) const fn only(member: usize) -> Set {
    1 << member
}

/// The set of one version, which is not 0.
pub(super) const fn just(version: Version) -> Set {
    1 << (version - 1)
}

/// All pairs of members.
pub(super) const PAIRS: [(usize, usize); MEMBERS] = [(0, 1), (0, 2), (1, 2)];

/// The place of two different members among the pairs.
pub(super) const fn pair(one: usize, other: usize) -> usize {
    one + other - 1
}

/// What a member is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Serving.
    Whole,
    /// Its disk is blank or old. It has asked these for floor and promise, and stores nothing.
    Asking(Set),
    /// It knows the floor of the cover, and has copied what these hold.
    Copying(Set),
}

/// One replica of the one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The record it holds.
    pub(super) stored: Version,
    /// The record that is durable.
    pub(super) synced: Version,
    /// Nothing at or below it that would change something is taken. Durable.
    pub(super) floor: Version,
    /// No client's write at or below it that would change something is taken. Durable.
    pub(super) promise: Version,
    /// The highest promise told under an id that its log had before. The proposer may still count on it.
    pub(super) told: Version,
    pub(super) duty: Duty,
}

/// What a member showed at one moment, and holds no longer. It may yet be compared with what another
/// member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) of: usize,
    pub(super) stored: Version,
    pub(super) promise: Version,
}

/// A fault that only a step can show, not what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// A member that is whole stored something at or below its floor.
    StoredBelowFloor,
    /// The floor or the promise of a member that lost nothing went down.
    WentBack,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) members: [Member; MEMBERS],
    /// Which writes are deletes.
    pub(super) deletes: Set,
    /// Which versions some member has ever stored: any of them may come as a repair, for ever.
    pub(super) existed: Set,
    /// Which members acknowledged each write; all of them once a majority has.
    pub(super) acks: [Set; MOST_WRITES as usize],
    /// Up to which promise each pair is known to be clean.
    pub(super) clean: [Version; MEMBERS],
    pub(super) snapshot: Option<Snapshot>,
    /// How often a disk was lost.
    pub(super) losses: u8,
    /// How often what was not durable was lost, or is about to be.
    pub(super) crashes: u8,
    pub(super) fault: Fault,
}

impl State {
    /// Three empty members.
    pub(super) const fn new(deletes: Set) -> State {
        let (stored, synced, floor, promise, told) = (0, 0, 0, 0, 0);
        let empty = Member { stored, synced, floor, promise, told, duty: Duty::Whole };
        State {
            members: [empty; MEMBERS],
            deletes,
            existed: 0,
            acks: [0; MOST_WRITES as usize],
            clean: [0; MEMBERS],
            snapshot: None,
            losses: 0,
            crashes: 0,
            fault: Fault::None,
        }
    }

    pub(super) const fn is_delete(&self, version: Version) -> bool {
        version > 0 && self.deletes & just(version) != 0
    }

    pub(super) const fn acked(&self, version: Version) -> bool {
        self.acks[version as usize - 1] == ALL
    }

    /// Whether a member is whole, and all it stores durable.
    pub(super) fn is_settled(&self, member: usize) -> bool {
        let Member { stored, synced, .. } = self.members[member];
        self.is_whole(member) && stored == synced
    }

    pub(super) fn is_whole(&self, member: usize) -> bool {
        self.members[member].duty == Duty::Whole
    }

    /// The same state when member `order[n]` is called `n`.
    fn renamed(&self, order: &[usize; MEMBERS]) -> State {
        let name = |old: usize| {
            if order[0] == old {
                0
            } else if order[1] == old {
                1
            } else {
                2
            }
        };
        let set = |old: Set| (0..MEMBERS).fold(0, |new, n| new | ((old >> order[n] & 1) << n));
        let mut new = *self;
        new.members = order.map(|old| {
            let member = self.members[old];
            let duty = match member.duty {
                Duty::Whole => Duty::Whole,
                Duty::Asking(asked) => Duty::Asking(set(asked)),
                Duty::Copying(copied) => Duty::Copying(set(copied)),
            };
            Member { duty, ..member }
        });
        new.acks = self.acks.map(set);
        for (one, other) in PAIRS {
            new.clean[pair(one, other)] = self.clean[pair(order[one], order[other])];
        }
        new.snapshot = self.snapshot.map(|snapshot| Snapshot { of: name(snapshot.of), ..snapshot });
        new
    }

    /// The state as a number, another for every state.
    fn key(&self) -> u128 {
        let mut key = Key(0);
        for member in &self.members {
            for version in [member.stored, member.synced, member.floor, member.promise, member.told]
            {
                key.push(version, 2);
            }
            let (tag, set) = match member.duty {
                Duty::Whole => (0, 0),
                Duty::Asking(asked) => (1, asked),
                Duty::Copying(copied) => (2, copied),
            };
            key.push(tag, 2);
            key.push(set, 3);
        }
        for set in self.acks.iter().chain([&self.deletes, &self.existed]) {
            key.push(*set, 3);
        }
        for clean in self.clean {
            key.push(clean, 2);
        }
        if let Some(Snapshot { of, stored, promise }) = self.snapshot {
            key.push(of as u8 + 1, 2);
            key.push(stored, 2);
            key.push(promise, 2);
        } else {
            key.push(0, 6);
        }
        key.push(self.losses, 2);
        key.push(self.crashes, 2);
        key.push(self.fault as u8, 2);
        key.0
    }
}

/// States that differ only in how the members are called count as one: the checker knows states by
/// their hash, which is that of the smallest of their keys.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const OTHER_NAMES: [[usize; MEMBERS]; 5] =
            [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let keys = OTHER_NAMES.iter().map(|order| self.renamed(order).key());
        keys.fold(self.key(), u128::min).hash(hasher);
    }
}

/// Small numbers, one behind the other.
struct Key(u128);

impl Key {
    fn push(&mut self, number: u8, bits: u32) {
        self.0 = self.0 << bits | u128::from(number);
    }
}
