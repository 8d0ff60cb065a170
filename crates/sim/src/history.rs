//! What the clients of a run asked and what they were told.

use kvorum_core::{Consistency, Executed, Mono, Version};

/// A client operation on one key.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The client that ran it.
    pub client: usize,
    /// The key, by number.
    pub key: usize,
    /// What it was.
    pub kind: Kind,
    /// At which consistency.
    pub consistency: Consistency,
    /// For reads: the version that the answer must not be older than.
    pub min_version: Option<Version>,
    /// When it began.
    pub invoked: Mono,
    /// When and how it ended; nothing if it never did.
    pub completed: Option<(Mono, Ending)>,
}

/// What an operation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A write of a value that no other write of the run has.
    Put(Written),
    /// A deletion.
    Delete,
    /// A read.
    Get,
    /// What a page of a scan told about a key that lay in its range.
    Scan,
}

/// A value that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number that names it.
    pub number: u64,
    /// Its length in bytes.
    pub len: u32,
    /// How long after the write it expires, in milliseconds; zero for never.
    pub ttl_ms: u64,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A write took effect under this version.
    Written(Version),
    /// A read found this.
    Found(Seen),
    /// A read found nothing; perhaps a tombstone or an expired value of this version.
    Missing(Option<Version>),
    /// A scan passed by the key without a word.
    Unlisted,
    /// It failed.
    Failed(Executed),
}

/// A value that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: Version,
    /// The number that names it, [`Seen::GARBLED`] if its bytes are not those of any write;
    /// nothing if only the header was read.
    pub number: Option<u64>,
    /// Its length in bytes.
    pub len: u32,
    /// When it expires, in milliseconds since 1970; zero for never.
    pub expire_ms: u64,
}

impl Seen {
    /// The number of bytes that nobody wrote.
    pub const GARBLED: u64 = 0;
}

/// All operations of a run, in the order in which they began, except that what scans told comes
/// when they end.
#[derive(Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// Notes the beginning of an operation and returns its number.
    pub fn invoke(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Notes the end of an operation.
    pub fn complete(&mut self, number: usize, at: Mono, ending: Ending) {
        if let Some(operation) = self.operations.get_mut(number) {
            operation.completed = Some((at, ending));
        }
    }

    /// All operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How many operations succeeded.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        let good = |operation: &&Operation| matches!(operation.completed, Some((_, ending)) if !matches!(ending, Ending::Failed(_)));
        self.operations.iter().filter(good).count()
    }
}
