//! What the clients of a run asked and what they were told.

use kvorum_core::{Consistency, Executed, Mono, Version};

/// A client operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The client that ran it.
    pub client: usize,
    /// The key, by number.
    pub key: usize,
    /// What it was.
    pub kind: Kind,
    /// At which consistency.
    pub consistency: Consistency,
    /// When it began.
    pub invoked: Mono,
    /// When and how it ended; nothing if it never did.
    pub completed: Option<(Mono, Ending)>,
}

/// What an operation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A write of a value that no other write of the run has.
    Put(u64),
    /// A deletion.
    Delete,
    /// A read.
    Get,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A write took effect under this version.
    Written(Version),
    /// A read found this value.
    Found(Version, u64),
    /// A read found nothing; perhaps a tombstone or an expired value of this version.
    Missing(Option<Version>),
    /// It failed.
    Failed(Executed),
}

/// All operations of a run, in the order in which they began.
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
