//! What the model of re-stamping remembers: three replicas with clocks that are apart, and the operations
//! of clients.

/// How many replicas the partition has. Each of them coordinates too.
pub(super) const MEMBERS: usize = 3;
/// How many of them are a majority.
pub(super) const MAJORITY: usize = 2;
/// The most writes and reads a model can have.
pub(super) const MOST: usize = 3;

/// A reading of a hybrid clock and the coordinator that stamped with it; 0 is "nothing stored".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Version {
    pub(super) clock: u8,
    pub(super) writer: u8,
}

impl Version {
    pub(super) const NONE: Version = Version { clock: 0, writer: 0 };
}

/// A replica's answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Applied,
    /// It holds this newer version.
    Superseded(Version),
}

/// How far one replica's part of one attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Nothing is under way, or nobody listens any more.
    Over,
    /// The request is under way.
    Asked,
    /// The answer is under way.
    Answered(Answer),
    /// The coordinator has the answer.
    Counted(Answer),
}

/// How far a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Waiting,
    First,
    Second,
    Acknowledged,
}

/// A write at QUORUM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Write {
    pub(super) stage: Stage,
    pub(super) version: Version,
    /// The newest version that a majority had acknowledged, or that a read had shown, when it began.
    pub(super) after: Version,
    pub(super) parts: [Part; MEMBERS],
    /// The version of the first attempt, and what is still under way of it.
    pub(super) former: Version,
    pub(super) former_parts: [Part; MEMBERS],
}

/// A read at QUORUM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) begun: bool,
    pub(super) answered: bool,
    /// The newest version that a majority had acknowledged when it began.
    pub(super) after_write: Version,
    /// The newest version that a read had shown when it began.
    pub(super) after_read: Version,
    /// What the replicas told, in the order of their numbers.
    pub(super) told: [Option<Version>; MEMBERS],
    /// The newest version told by the first majority; from then on the answer is fixed.
    pub(super) newest: Version,
    /// Which replicas are being sent the newest version.
    pub(super) pushed: [bool; MEMBERS],
    /// Which replicas are known to hold it or a newer one.
    pub(super) held: [bool; MEMBERS],
}

impl Read {
    /// A read that has not begun.
    pub(super) const NEW: Read = Read {
        begun: false,
        answered: false,
        after_write: Version::NONE,
        after_read: Version::NONE,
        told: [None; MEMBERS],
        newest: Version::NONE,
        pushed: [false; MEMBERS],
        held: [false; MEMBERS],
    };
}

/// What a client was told that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    None,
    /// E7: a write that began later has the smaller version.
    LaterWriteLoses,
    /// E3: a read does not show what was acknowledged before it began.
    ReadMissesWrite,
    /// E4: a read shows less than one before it.
    ReadGoesBack,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) clocks: [u8; MEMBERS],
    pub(super) stored: [Version; MEMBERS],
    pub(super) writes: [Write; MOST],
    pub(super) reads: [Read; MOST],
    /// The newest version that a majority acknowledged.
    pub(super) acknowledged: Version,
    /// The newest version that a read showed.
    pub(super) shown: Version,
    pub(super) fault: Fault,
}

impl State {
    /// Nothing is stored, and the clocks are apart.
    pub(super) const fn new(clocks: [u8; MEMBERS]) -> State {
        let write = Write {
            stage: Stage::Waiting,
            version: Version::NONE,
            after: Version::NONE,
            parts: [Part::Over; MEMBERS],
            former: Version::NONE,
            former_parts: [Part::Over; MEMBERS],
        };
        State {
            clocks,
            stored: [Version::NONE; MEMBERS],
            writes: [write; MOST],
            reads: [Read::NEW; MOST],
            acknowledged: Version::NONE,
            shown: Version::NONE,
            fault: Fault::None,
        }
    }
}
