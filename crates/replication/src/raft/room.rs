//! What a replica takes on, so that it can always do what it has promised.
//!
//! What is committed must be applied, and a store refuses a commit only if it is too large. So a
//! write is refused by the leader if what it could become does not fit into one commit, or if the
//! disk is full; and a follower with a full disk refuses entries before it logs them, as if they
//! had been lost on the way: the leader sends them again.

use kvorum_core::{Action, Change, Error, Intent, Op, Store};
use raft::eraftpb::{Message, MessageType};

use super::options::{Limits, Options};
use super::running::Running;

/// Of what a commit may hold, commands that are applied together take at most one part in so many;
/// three parts in four are left for the largest one behind them.
const SHARE: usize = 8;

/// How many bytes of commands gather in one entry, or are applied in one commit, before another one
/// is begun.
pub(super) fn entry_bytes(limits: &Limits, store: &dyn Store) -> usize {
    limits.entry_bytes.min(store.max_commit_bytes() / SHARE)
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
        let most = store.max_commit_bytes() / 4 * 3;
        if weight > limit || becomes > most {
            let weight = weight.max(becomes.min(limit));
            let limit = limit.min(most);
            let text = format!("the operation holds {weight} bytes; the limit is {limit}");
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
        if message.get_msg_type() != MessageType::MsgAppend || message.entries.is_empty() {
            return true;
        }
        let weights = message.entries.iter().map(|entry| entry.data.len() + 2 * Change::OVERHEAD);
        let fits = weights.clone().all(|weight| weight <= store.max_commit_bytes());
        let commits = 2 * message.entries.len() + 1;
        let promised = weights.sum::<usize>() + self.applying.bytes();
        fits && store.room_for(Intent::Append, commits, 2 * promised).is_ok()
    }
}

/// How many bytes of the log what an operation writes takes at most, as an entry or as changes.
fn largest(op: &Op, limit: usize) -> usize {
    match op {
        Op::Put { key, value, .. } => Change::OVERHEAD + 2 * key.len() + value.len(),
        Op::Delete { key } => Change::OVERHEAD + 2 * key.len() + 1,
        Op::Txn(txn) => {
            let steps = || txn.then.iter().chain(&txn.otherwise);
            let keys = txn.keys().map(|key| Change::OVERHEAD + 2 * key.len() + 1);
            let values = steps().map(|step| step.action.weight() + 32).sum::<usize>();
            let appends = steps().any(|step| matches!(step.action, Action::Append(_)));
            keys.sum::<usize>() + if appends { values.max(limit) } else { values }
        }
        Op::Get { .. } | Op::Scan { .. } | Op::Count { .. } => 0,
    }
}
