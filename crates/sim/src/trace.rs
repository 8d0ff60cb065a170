//! The course of a run: a digest of everything that happened, and its text when wanted.

use std::fmt::Write as _;
use std::io::Write;

use bytes::Bytes;
use kvorum_core::{Action, Condition, Item, Mono, Op, Outcome, Reply, Request, Step};

/// Digests what happens, so that two runs of a seed can be compared.
pub struct Trace {
    digest: u64,
    line: String,
    text: Option<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { digest: 0xcbf2_9ce4_8422_2325, line: String::new(), text: None }
    }
}

impl Trace {
    /// A trace that also writes every line.
    #[must_use]
    pub fn printed(text: Box<dyn Write + Send>) -> Trace {
        Trace { text: Some(text), ..Trace::default() }
    }

    /// Notes an event. The digest is FNV-1a over the lines.
    pub fn note(&mut self, at: Mono, event: impl FnOnce() -> String) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{:>12} {}", at.0, event());
        for byte in self.line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(text) = &mut self.text {
            // The reader of a trace may go away; the run does not depend on it.
            let _ = writeln!(text, "{}", self.line);
        }
    }

    /// What identifies the run so far.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }
}

/// A request without the bytes of its value, which its tag and its length stand for.
#[must_use]
pub fn request(request: &Request) -> String {
    let Request { consistency, min_version, .. } = request;
    let op = match &request.op {
        Op::Put { key, value, expiry, tag } => {
            format!("Put {key:?}, {} bytes tagged {tag}, expiry {expiry:?}", value.len())
        }
        Op::Txn(txn) => {
            let compare = txn.compare.iter().map(|compare| match &compare.condition {
                Condition::Value(value) => format!("{:?} holds {}", compare.key, brief(value)),
                condition => format!("{:?} is {condition:?}", compare.key),
            });
            let steps = |steps: &[Step]| steps.iter().map(step).collect::<Vec<_>>().join(", ");
            let compare = compare.collect::<Vec<_>>().join(", ");
            format!("Txn if [{compare}] [{}] else [{}]", steps(&txn.then), steps(&txn.otherwise))
        }
        op => format!("{op:?}"),
    };
    format!("{op} at {consistency:?} from {min_version:?}")
}

fn step(step: &Step) -> String {
    match &step.action {
        Action::Put { value, expiry, tag } => {
            format!("Put {:?} {} tagged {tag}, expiry {expiry:?}", step.key, brief(value))
        }
        action => format!("{action:?} {:?}", step.key),
    }
}

/// The number that a value begins with, and its length.
fn brief(value: &Bytes) -> String {
    let number = value.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
    format!("{number} of {} bytes", value.len())
}

/// An answer without the bytes of values.
#[must_use]
pub fn outcome(outcome: &Outcome<Reply>) -> String {
    let bare = |item: &Item| Item { value: Bytes::new(), ..item.clone() };
    match outcome {
        Ok(Reply::Found(item)) => format!("found {:?}", bare(item)),
        Ok(Reply::Page(items, next)) => {
            let items: Vec<Item> = items.iter().map(bare).collect();
            format!("page {items:?}, next {next:?}")
        }
        Ok(Reply::Txn(answer)) => {
            let steps = answer.steps.iter().map(|done| {
                let previous = done.previous.as_ref().map(|item| brief(&item.value));
                (done.existed, previous, done.version, done.output.clone())
            });
            format!("held {}: {:?}", answer.held, steps.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}
