//! What a replica takes on, so that it can always do what it has promised.
//!
//! What is committed must be applied, and a store refuses a commit only if it is too large. So a
//! write is refused by the leader if what it could become does not fit into one commit, or if the
//! disk is full; and a follower with a full disk refuses entries before it logs them, as if they
//! had been lost on the way: the leader sends them again.

use kvorum_core::{Action, Change, Error, Intent, Op, Store, Txn};
use raft::eraftpb::{Message, MessageType};

use super::options::{Limits, Options};
use super::payload;
use super::running::Running;

/// Of what a commit may hold, commands that are applied together take at most one part in so many;
/// one is left for what is remembered of an entry, the others for the largest one behind them.
const PARTS: usize = 8;
/// What the state of the replica takes of each commit, at most: it names its members.
const STATE: usize = 1024;

/// How many bytes of commands gather in one entry, or are applied in one commit, before another one
/// is begun.
pub(super) fn entry_bytes(limits: &Limits, store: &dyn Store) -> usize {
    limits.entry_bytes.min(store.max_commit_bytes() / PARTS)
}

/// How many bytes of answers are remembered of one entry, at most: with the names of its commands
/// they must fit into one part of a commit. A function of what is the same on all nodes.
pub(super) fn remembered_bytes(limits: &Limits) -> usize {
    (limits.max_write_bytes / 4).min(64 << 10)
}

impl Running {
    /// Whether a write may be proposed.
    ///
    /// # Errors
    /// Why not; it is not executed.
    pub(super) fn admit_write(
        &self,
        options: &Options,
        store: &dyn Store,
        op: &Op,
    ) -> Result<(), Error> {
        let limit = options.limits.max_write_bytes;
        let (weight, becomes) = (op.weight(), largest(op, limit));
        let most = (store.max_commit_bytes() / PARTS * (PARTS - 2)).saturating_sub(STATE);
        if weight > limit {
            let text = format!("the operation holds {weight} bytes; the limit is {limit}");
            return Err(Error::invalid(text));
        }
        if becomes > most {
            let text = format!(
                "the operation may write {becomes} bytes at once; this node's segment_size has room \
                 for {most}"
            );
            return Err(Error::invalid(text));
        }
        let intent = if matches!(op, Op::Delete { .. }) { Intent::Delete } else { Intent::NewKey };
        // Each entry under way is written twice: as it is, and as what it does.
        let commits = 2 * (self.proposals.entries() + 1);
        let promised = self.proposals.bytes() + becomes;
        store.room_for(intent, commits, 2 * promised).map_err(Error::no_room)
    }

    /// Whether there is room for the entries of a message, if it has any.
    pub(super) fn has_room_for(&self, message: &Message, store: &dyn Store) -> bool {
        let says_nothing = message.entries.iter().all(|entry| entry.data.is_empty());
        if message.get_msg_type() != MessageType::MsgAppend || says_nothing {
            // By an entry without data a new leader learns what it may answer.
            return true;
        }
        let weights = message.entries.iter().map(|entry| entry.data.len() + 2 * Change::OVERHEAD);
        let fits = weights.clone().all(|weight| weight <= store.max_commit_bytes());
        let commits = 2 * message.entries.len() + 1;
        let promised = weights.sum::<usize>() + self.applying.bytes();
        fits && store.room_for(Intent::Append, commits, 2 * promised).is_ok()
    }
}

/// What a write takes of an entry or of a commit beside its values, at most.
pub(super) fn overhead(op: &Op) -> usize {
    // The names of a write take a few dozen bytes, which is counted for its keys.
    match op {
        Op::Put { key, .. } | Op::Delete { key } => payload::overhead(std::iter::once(key)),
        Op::Txn(txn) => payload::overhead(txn.keys()),
        Op::Get { .. } | Op::Scan { .. } | Op::Count { .. } => 0,
    }
}

/// How many bytes what a write says or leaves takes at most.
fn largest(op: &Op, limit: usize) -> usize {
    let grows = matches!(op, Op::Txn(txn) if grows(txn));
    overhead(op) + if grows { op.weight().max(limit) } else { op.weight() }
}

/// Whether a transaction may leave longer values than it holds.
fn grows(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).any(|step| match &step.action {
        // A number is shorter than what is counted for its key.
        Action::Read | Action::Put { .. } | Action::Delete | Action::Add(_) => false,
        Action::AddDecimal(_)
        | Action::Append(_)
        | Action::SetRange { .. }
        | Action::SetBit { .. }
        | Action::Expire { .. }
        | Action::Copy { .. } => true,
        Action::Txn(inner) => grows(inner),
    })
}
