//! What clients of a strong keyspace ask of an object: one or two keys of one slot.

use bytes::Bytes;
use kvorum_core::{
    Action, Answer, Compare, Condition, Done, Expiry, Item, Op, Outcome, Output, Reply, Step, Txn,
    Want,
};
use kvorum_replication::linearizability::Act;

use crate::history::{Seen, Written};
use crate::values;

/// How many keys an object has.
pub const KEYS: usize = 2;

/// What an object holds: of each key the number of its value.
pub type State = [Option<u64>; KEYS];

/// What a client asks of an object: if all keys that are compared hold what is said, one list of
/// steps, else the other. A read, a put or a deletion is a transaction of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How it is asked.
    pub form: Form,
    /// The keys that are compared, each with what it must hold.
    pub compare: Vec<(usize, Option<Written>)>,
    /// What is done if they hold it.
    pub then: Vec<Doing>,
    /// What is done if one does not.
    pub otherwise: Vec<Doing>,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An operation of its own for a put, a deletion or a read of one key; how much is wanted.
    Plain(Want),
    /// A transaction.
    Transaction,
}

/// A step of a transaction, and the key it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Reads the value.
    Read(usize),
    /// Stores a value that no other step of the run stores.
    Put(usize, Written),
    /// Removes the value.
    Delete(usize),
    /// Adds one to a number.
    Add(usize),
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether the comparisons held.
    pub held: bool,
    /// What each step found and did.
    pub steps: Vec<Saw>,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saw {
    /// There was a value before.
    pub existed: bool,
    /// The number of that, if it was asked for.
    pub before: Option<Option<u64>>,
    /// The sum, if one was told.
    pub sum: Option<u64>,
}

/// What happens to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A client asks, and is told something or not.
    Asked(Asked, Option<Told>),
    /// A value has lived as long as it was to.
    Expires(usize, u64),
}

impl Asked {
    /// An operation of its own.
    pub fn plain(doing: Doing, want: Want) -> Asked {
        Asked::transaction(Vec::new(), vec![doing], Vec::new()).asked_as(Form::Plain(want))
    }

    /// A transaction.
    pub const fn transaction(
        compare: Vec<(usize, Option<Written>)>,
        then: Vec<Doing>,
        otherwise: Vec<Doing>,
    ) -> Asked {
        Asked { form: Form::Transaction, compare, then, otherwise }
    }

    fn asked_as(self, form: Form) -> Asked {
        Asked { form, ..self }
    }

    /// All its steps.
    pub fn steps(&self) -> impl Iterator<Item = &Doing> {
        self.then.iter().chain(&self.otherwise)
    }

    /// The values it may store.
    pub fn values(&self) -> impl Iterator<Item = (usize, Written)> {
        self.steps().filter_map(|doing| match doing {
            Doing::Put(at, written) => Some((*at, *written)),
            _ => None,
        })
    }

    /// Whether it may change anything.
    pub fn is_write(&self) -> bool {
        self.steps().any(|doing| !matches!(doing, Doing::Read(_)))
    }

    /// The request, of an object with these keys.
    pub fn op(&self, key: impl Fn(usize) -> Bytes) -> Op {
        if let (Form::Plain(want), [doing]) = (self.form, self.then.as_slice()) {
            match *doing {
                Doing::Read(at) => return Op::Get { key: key(at), want },
                Doing::Put(at, written) => return values::put(key(at), written),
                Doing::Delete(at) => return Op::Delete { key: key(at) },
                Doing::Add(_) => {}
            }
        }
        let condition = |held: &Option<Written>| match held {
            Some(written) => Condition::Value(values::whole(*written)),
            None => Condition::Absent,
        };
        let compare = self.compare.iter();
        let compare =
            compare.map(|(at, held)| Compare { key: key(*at), condition: condition(held) });
        let steps = |doings: &[Doing]| doings.iter().map(|doing| step(*doing, &key)).collect();
        Op::Txn(Txn {
            compare: compare.collect(),
            then: steps(&self.then),
            otherwise: steps(&self.otherwise),
        })
    }

    /// What an answer tells; nothing if it makes no sense.
    pub fn told(&self, reply: &Reply) -> Option<Told> {
        let one = |saw| Some(Told { held: true, steps: vec![saw] });
        match (self.form, self.then.as_slice(), reply) {
            (Form::Plain(want), [Doing::Read(_)], Reply::Found(item)) => {
                one(Saw { existed: true, before: number(item, want).map(Some), sum: None })
            }
            (Form::Plain(_), [Doing::Read(_)], Reply::Missing(_)) => {
                one(Saw { existed: false, before: Some(None), sum: None })
            }
            (
                Form::Plain(_),
                [Doing::Put(..) | Doing::Delete(_)],
                Reply::Written { was_live, .. },
            ) => one(Saw { existed: *was_live, before: None, sum: None }),
            (Form::Transaction, _, Reply::Txn(Answer { held, steps })) => {
                let asked = if *held { &self.then } else { &self.otherwise };
                if asked.len() != steps.len() {
                    return None;
                }
                let told = asked.iter().zip(steps).map(|(doing, done)| saw(*doing, done));
                Some(Told { held: *held, steps: told.collect::<Option<_>>()? })
            }
            _ => None,
        }
    }
}

fn step(doing: Doing, key: impl Fn(usize) -> Bytes) -> Step {
    let (at, previous, action) = match doing {
        Doing::Read(at) => (at, true, Action::Read),
        Doing::Delete(at) => (at, true, Action::Delete),
        Doing::Add(at) => (at, false, Action::Add(1)),
        Doing::Put(at, written) => {
            let Written { number, .. } = written;
            let (value, tag) = (values::whole(written), values::tag(number));
            let expiry: Option<Expiry> = Some(values::expiry(written));
            (at, false, Action::Put { value, expiry, tag })
        }
    };
    Step { key: key(at), action, previous }
}

/// The number of a value: that of the write it is from, or the one that a counter stands at, which
/// is text. (No value of a write begins with eight digits.) Nothing if only the header was wanted.
fn number(item: &Item, want: Want) -> Option<u64> {
    let text = std::str::from_utf8(&item.value).ok();
    let count = text.and_then(|text| text.parse().ok());
    count.or_else(|| values::seen(item, want).number)
}

/// What a step's answer says; nothing if it makes no sense.
fn saw(doing: Doing, done: &Done) -> Option<Saw> {
    let shown = done.previous.as_ref().map(|item| number(item, Want::Value));
    let saw = Saw { existed: done.existed, before: None, sum: None };
    match (doing, &done.output) {
        (Doing::Read(_) | Doing::Delete(_), Output::Done) => {
            Some(Saw { before: Some(shown.flatten()), ..saw })
        }
        (Doing::Put(..), Output::Done) => Some(saw),
        (Doing::Add(_), Output::Integer(sum)) => {
            Some(Saw { sum: Some(u64::try_from(*sum).unwrap_or(Seen::GARBLED)), ..saw })
        }
        _ => None,
    }
}

impl Told {
    /// What an outcome tells of what was asked.
    ///
    /// # Errors
    /// Whether it may have been executed, if the outcome tells nothing; and the answer, if it makes
    /// no sense.
    pub fn of(asked: &Asked, outcome: &Outcome<Reply>) -> Result<Told, Untold> {
        match outcome {
            Ok(reply) => {
                asked.told(reply).ok_or_else(|| Untold::Nonsense(format!("{asked:?}: {reply:?}")))
            }
            Err(error) => Err(Untold::Failed(error.executed())),
        }
    }
}

/// Why an outcome tells nothing.
#[derive(Debug)]
pub enum Untold {
    /// The request failed.
    Failed(kvorum_core::Executed),
    /// The answer is one to another question.
    Nonsense(String),
}

impl Act for Happening {
    type State = State;

    fn act(&self, before: &State) -> Option<State> {
        let mut state = *before;
        match self {
            Happening::Expires(at, number) => {
                if let Some(value) = state.get_mut(*at) {
                    value.take_if(|value| value == number);
                }
            }
            Happening::Asked(asked, told) => {
                let holds = |(at, held): &(usize, Option<Written>)| {
                    value(&state, *at) == held.map(|written| written.number)
                };
                let held = asked.compare.iter().all(holds);
                let steps = if held { &asked.then } else { &asked.otherwise };
                if told.as_ref().is_some_and(|told| told.held != held) {
                    return None;
                }
                for (number, doing) in steps.iter().enumerate() {
                    let saw = done(&mut state, *doing);
                    let told = told.as_ref().and_then(|told| told.steps.get(number));
                    if told.is_some_and(|told| !saw.explains(told)) {
                        return None;
                    }
                }
            }
        }
        Some(state)
    }

    fn only_reads(&self) -> bool {
        matches!(self, Happening::Asked(asked, _) if !asked.is_write())
    }
}

fn value(state: &State, at: usize) -> Option<u64> {
    state.get(at).copied().flatten()
}

/// Does a step. Tells everything that it could have been asked to tell.
fn done(state: &mut State, doing: Doing) -> Saw {
    let (Doing::Read(at) | Doing::Put(at, _) | Doing::Delete(at) | Doing::Add(at)) = doing;
    let before = value(state, at);
    let sum = before.unwrap_or(0).saturating_add(1);
    let after = match doing {
        Doing::Read(_) => before,
        Doing::Put(_, written) => Some(written.number),
        Doing::Delete(_) => None,
        Doing::Add(_) => Some(sum),
    };
    if let Some(value) = state.get_mut(at) {
        *value = after;
    }
    Saw { existed: before.is_some(), before: Some(before), sum: Some(sum) }
}

impl Saw {
    /// Whether what was told is a part of this.
    fn explains(&self, told: &Saw) -> bool {
        let same = |told: Option<u64>| told.is_none() || told == self.sum;
        told.existed == self.existed
            && (told.before.is_none() || told.before == self.before)
            && same(told.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn written(number: u64) -> Written {
        Written { number, len: 20, ttl_ms: 0 }
    }

    #[test]
    fn a_transaction_does_what_it_was_asked_or_was_told_otherwise() {
        let swap = Asked::transaction(
            vec![(0, Some(written(7)))],
            vec![Doing::Put(0, written(8)), Doing::Delete(1)],
            vec![Doing::Read(1)],
        );
        let swapped = Happening::Asked(swap.clone(), None);
        assert_eq!(swapped.act(&[Some(7), Some(1)]), Some([Some(8), None]));
        assert_eq!(swapped.act(&[None, Some(1)]), Some([None, Some(1)]));
        let told = |held, existed| {
            let saw = Saw { existed, before: None, sum: None };
            let steps = vec![saw; if held { 2 } else { 1 }];
            Happening::Asked(swap.clone(), Some(Told { held, steps }))
        };
        assert_eq!(told(true, true).act(&[Some(7), Some(1)]), Some([Some(8), None]));
        assert_eq!(told(true, true).act(&[Some(7), None]), None);
        assert_eq!(told(false, true).act(&[Some(7), Some(1)]), None);
    }

    #[test]
    fn only_the_value_that_is_over_expires() {
        assert_eq!(Happening::Expires(1, 7).act(&[Some(7), Some(7)]), Some([Some(7), None]));
        assert_eq!(Happening::Expires(1, 7).act(&[Some(7), Some(8)]), Some([Some(7), Some(8)]));
    }
}
