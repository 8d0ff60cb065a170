//! Transactions: what a strong keyspace does to the keys of one slot in one indivisible step.
//!
//! Everything that reads, decides and writes is one of these: `INCR` is a transaction of one step,
//! compare-and-set one with a comparison, MULTI/EXEC one with many steps. The form is etcd's:
//! if all comparisons hold, the steps of `then` are done, else those of `otherwise`.

use bytes::Bytes;

use crate::{Expiry, Item, Version};

/// A transaction over keys of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All of these must hold.
    pub compare: Vec<Compare>,
    /// What is done if they do.
    pub then: Vec<Step>,
    /// What is done if one does not.
    pub otherwise: Vec<Step>,
}

impl Txn {
    /// The transaction that does one step whatever is stored.
    #[must_use]
    pub fn always(step: Step) -> Txn {
        Txn { then: vec![step], ..Txn::default() }
    }

    /// The keys it names, in the order it names them.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let compared = self.compare.iter().map(|compare| &compare.key);
        compared.chain(self.then.iter().chain(&self.otherwise).map(|step| &step.key))
    }

    /// Whether it may change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(|step| step.action != Action::Read)
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn weight(&self) -> usize {
        let compared = self.compare.iter().map(|compare| {
            let value =
                if let Condition::Value(value) = &compare.condition { value.len() } else { 0 };
            compare.key.len() + value
        });
        let steps = self.then.iter().chain(&self.otherwise);
        compared.chain(steps.map(|step| step.key.len() + step.action.weight())).sum()
    }
}

/// A comparison with what is stored for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What must hold.
    pub condition: Condition,
}

/// What must hold of a key. An expired value counts as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has no value.
    Absent,
    /// It has a value.
    Present,
    /// It has a value of exactly this version.
    Version(Version),
    /// It has exactly this value.
    Value(Bytes),
    /// Its tag is below this one, or it is absent.
    TagBelow(u32),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The key.
    pub key: Bytes,
    /// What is done to it.
    pub action: Action,
    /// Whether the answer shall contain what was stored before.
    pub previous: bool,
}

/// What a step does to its key. Times are decided by the log, never by a replica's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Read,
    /// Stores a value.
    Put {
        /// The value.
        value: Bytes,
        /// When it stops being visible; absent to keep what the present value says.
        expiry: Option<Expiry>,
        /// The client's own integer.
        tag: u32,
    },
    /// Removes the value.
    Delete,
    /// Adds to the decimal integer that the value is; an absent one counts as zero. Keeps the
    /// expiry. Refused if the value is no 64-bit integer or the sum is none.
    Add(i64),
    /// Appends to the value; an absent one counts as empty. Keeps the expiry.
    Append(Bytes),
}

impl Action {
    /// Bytes of values.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Action::Put { value, .. } | Action::Append(value) => value.len(),
            Action::Read | Action::Delete | Action::Add(_) => 0,
        }
    }
}

/// What a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether all comparisons held.
    pub held: bool,
    /// What became of each step, in order.
    pub steps: Vec<Done>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether the key had a value before.
    pub existed: bool,
    /// What was stored before, if that was wanted and there was something.
    pub previous: Option<Item>,
    /// The version of the key now; nothing if it has no value.
    pub version: Option<Version>,
    /// What the step says beyond that.
    pub output: Output,
}

/// What a step says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing beyond having been done.
    Done,
    /// A number: the sum of [`Action::Add`], the new length of [`Action::Append`].
    Integer(i64),
    /// It was not done, because what is stored does not allow it; the other steps were.
    Refused(Refusal),
}

/// Why a step was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The value is not a decimal integer of 64 bits.
    #[error("value is not an integer or out of range")]
    NotAnInteger,
    /// The sum is no integer of 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
    /// The value would be longer than values may be.
    #[error("value would exceed the maximum allowed size")]
    TooLong,
}
