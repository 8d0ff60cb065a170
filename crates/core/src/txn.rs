//! Transactions: what a strong keyspace does to the keys of one slot in one indivisible step.
//!
//! Everything that reads, decides and writes is one of these: `INCR` is a transaction of one step,
//! compare-and-set one with a comparison, MULTI/EXEC one with many steps. The form is etcd's:
//! if all comparisons hold, the steps of `then` are done, else those of `otherwise`.

use bytes::Bytes;

use crate::limits::MAX_TXN_ANSWER;
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

    /// How deep transactions may lie in each other: one that is a step holds none itself.
    pub const MAX_DEPTH: usize = 2;

    /// The keys it names, in the order it names them.
    #[must_use]
    pub fn keys(&self) -> Box<dyn Iterator<Item = &Bytes> + '_> {
        let compared = self.compare.iter().map(|compare| &compare.key);
        let steps = self.steps().flat_map(|step| {
            let (from, inner) = match &step.action {
                Action::Copy { from } => (Some(from), None),
                Action::Txn(inner) => (None, Some(inner.keys())),
                _ => (None, None),
            };
            std::iter::once(&step.key).chain(from).chain(inner.into_iter().flatten())
        });
        Box::new(compared.chain(steps))
    }

    /// Whether it may change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.steps().any(|step| match &step.action {
            Action::Read => false,
            Action::Txn(inner) => inner.is_write(),
            _ => true,
        })
    }

    /// Whether it makes something expire at a time that is counted from when it is done.
    #[must_use]
    pub fn counts_from_now(&self) -> bool {
        let counts = |step: &Step| match &step.action {
            Action::Put { expiry, .. } => matches!(expiry, Some(Expiry::After(_))),
            Action::Expire { expiry, .. } => matches!(expiry, Expiry::After(_)),
            Action::Txn(inner) => inner.counts_from_now(),
            _ => false,
        };
        self.steps().any(counts)
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn weight(&self) -> usize {
        let compared = self.compare.iter().map(|compare| {
            let value =
                if let Condition::Value(value) = &compare.condition { value.len() } else { 0 };
            compare.key.len() + value
        });
        compared.chain(self.steps().map(|step| step.key.len() + step.action.weight())).sum()
    }

    /// How many comparisons and steps it has, those of the transactions in it included.
    #[must_use]
    pub fn operations(&self) -> usize {
        let inner = self.inner().map(Txn::operations).sum::<usize>();
        self.compare.len() + self.then.len() + self.otherwise.len() + inner
    }

    /// How deep transactions lie in each other: 1 if none lies in this one.
    #[must_use]
    pub fn depth(&self) -> usize {
        1 + self.inner().map(Txn::depth).max().unwrap_or(0)
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.then.iter().chain(&self.otherwise)
    }

    fn inner(&self) -> impl Iterator<Item = &Txn> {
        self.steps().filter_map(|step| match &step.action {
            Action::Txn(inner) => Some(&**inner),
            _ => None,
        })
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

impl Step {
    /// The step that does something to a key and does not tell what was there before.
    #[must_use]
    pub const fn new(key: Bytes, action: Action) -> Step {
        Step { key, action, previous: false }
    }

    /// The step that tells what is stored.
    #[must_use]
    pub const fn read(key: Bytes) -> Step {
        Step { key, action: Action::Read, previous: true }
    }
}

/// What a step does to its key. Times are decided by the log, never by a replica's own clock.
///
/// What builds on the present value keeps its expiry and its tag.
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
    /// Adds to the decimal integer that the value is; an absent one counts as zero. Refused if the
    /// value is no 64-bit integer or the sum is none.
    Add(i64),
    /// Adds this number, written in decimal, to the number that the value is; an absent one counts
    /// as zero. Refused if one of them is no number or the sum is too large.
    AddDecimal(Bytes),
    /// Appends to the value; an absent one counts as empty.
    Append(Bytes),
    /// Writes into the value from an offset on, after zeros if it is shorter. Nothing is written
    /// if `bytes` is empty.
    SetRange {
        /// The first byte that is written.
        offset: u64,
        /// What is written.
        bytes: Bytes,
    },
    /// Sets or clears a bit of the value, which grows by zeros if it is too short.
    SetBit {
        /// Which bit; the first one is the highest of the first byte.
        offset: u64,
        /// Whether it is set.
        on: bool,
    },
    /// Changes when the value stops being visible, and nothing else; at once if that has passed.
    Expire {
        /// When.
        expiry: Expiry,
        /// What must hold of the present expiry; nothing is changed if one does not.
        only: Vec<ExpiryIs>,
    },
    /// Takes over the value, the expiry and the tag of another key. Refused if it has none.
    Copy {
        /// The other key.
        from: Bytes,
    },
    /// Another transaction, with comparisons of its own. The key of the step is one of its keys.
    Txn(Box<Txn>),
}

/// What [`Action::Expire`] wants to be true of the expiry a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryIs {
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// It is earlier than the new one. None is later than any.
    Earlier,
    /// It is later than the new one. None is later than any.
    Later,
}

impl Action {
    /// Bytes of values.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Action::Put { value, .. }
            | Action::Append(value)
            | Action::AddDecimal(value)
            | Action::SetRange { bytes: value, .. } => value.len(),
            Action::Copy { from } => from.len(),
            Action::Txn(inner) => inner.weight(),
            Action::Read
            | Action::Delete
            | Action::Add(_)
            | Action::SetBit { .. }
            | Action::Expire { .. } => 0,
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
    /// A number: the sum of [`Action::Add`]; the new length after [`Action::Append`] and
    /// [`Action::SetRange`]; of [`Action::SetBit`] what the bit was; of [`Action::Expire`] 1 if it
    /// changed something, else 0.
    Integer(i64),
    /// The value after [`Action::AddDecimal`].
    Value(Bytes),
    /// The answer of [`Action::Txn`].
    Txn(Box<Answer>),
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
    /// The value is not a number.
    #[error("value is not a valid float")]
    NotANumber,
    /// The sum is not finite.
    #[error("increment would produce NaN or Infinity")]
    NotFinite,
    /// The key whose value is wanted has none.
    #[error("no such key")]
    NoSuchKey,
    /// What the transaction answers would be too large with what was stored before.
    #[error(
        "the values that one transaction answers are larger than {MAX_TXN_ANSWER} bytes together; \
         this one is not told and nothing was done to it"
    )]
    AnswerTooLong,
}
