//! How a replica that lost something is replaced.
//!
//! A replica whose disk was damaged, wiped or set back may have promised what it cannot keep any
//! more: a vote, an entry. It must never vote again. So it forgets everything and begins as
//! another replica of the same node, which the leader takes in: first as a learner in exchange for
//! the former one, and as a voter when it has a copy of the partition. In between the group has
//! one voter less, as if the node were down, and the replica does not lead.

use kvorum_core::NodeId;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType};

use super::consensus::Consensus;
use super::id::ReplicaId;
use super::letter::Letter;
use super::log::Damaged;
use super::options::Options;
use super::running::Running;
use crate::{Context, Message};

/// How many ticks a replica waits until it says again that it wants to be a member.
const JOIN_TICKS: u64 = 4;

/// A replica wants to be a member in place of the one that its node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) generation: u32,
    /// It has a copy of the partition.
    pub(super) complete: bool,
}

impl Running {
    /// Says now and then that this replica wants to be a member, as long as it is none.
    pub(super) fn join(&self, options: &Options, ctx: &mut Context<'_>) {
        if self.is_member || !self.ticks.is_multiple_of(JOIN_TICKS) {
            return;
        }
        let complete = !self.consensus.log().state.incomplete;
        let join = Letter::Join(Join { generation: self.me.generation(), complete });
        let letter = join.encode();
        for &node in options.members.iter().filter(|&&node| node != ctx.me) {
            // The replica must not be known to others before it is to itself.
            ctx.out.send_after(self.written, node, Message::Raft(letter.clone()));
        }
    }

    /// Reports when this replica has become a member with all that members hold.
    pub(super) fn check_membership(&mut self, ctx: &mut Context<'_>) {
        let state = &self.consensus.log().state;
        let votes = state.conf.voters.contains(&self.me.raft());
        if votes && !self.is_member && !state.incomplete {
            self.is_member = true;
            ctx.out.rebuilt(self.written);
        } else if !votes {
            // The others have given it up, though it has lost nothing: it may come back as it is.
            self.is_member = false;
        }
    }
}

impl Consensus {
    /// A replica wants to be a member: takes the next step to that, if this replica leads and no
    /// other change of members is under way.
    pub(super) fn admit(&mut self, node: NodeId, join: Join) {
        let id = ReplicaId::new(node, join.generation).raft();
        let conf = &self.log().state.conf;
        let settled = conf.voters_outgoing.is_empty();
        if !self.takes_proposals() || !settled || conf.voters.contains(&id) {
            return;
        }
        let mut changes = Vec::new();
        if conf.learners.contains(&id) {
            if !join.complete || !self.has_all(id) {
                return;
            }
            changes.push(single(ConfChangeType::AddNode, id));
        } else {
            let former = conf.voters.iter().chain(&conf.learners).copied();
            let same = |id: &u64| ReplicaId::from_raft(*id).is_some_and(|id| id.node() == node);
            let former: Vec<u64> = former.filter(same).collect();
            let progress = self.library().raft.prs();
            let answers = |id: &u64| progress.get(*id).is_some_and(|p| p.recent_active);
            if former.is_empty() || former.iter().any(answers) {
                // The node is no member of the group at all; or the replica it has now is there,
                // or was just now, and this wish is an old one.
                return;
            }
            let remove = |id: u64| single(ConfChangeType::RemoveNode, id);
            changes.extend(former.into_iter().map(remove));
            changes.push(single(ConfChangeType::AddLearnerNode, id));
        }
        let mut change = ConfChangeV2::default();
        change.set_changes(changes.into());
        // It is refused while another change is under way; the replica will say it again.
        let _ = self.library().propose_conf_change(Vec::new(), change);
    }

    /// Whether a replica has everything that is committed.
    fn has_all(&mut self, id: u64) -> bool {
        let raft = &self.library().raft;
        let committed = raft.raft_log.committed;
        raft.prs().get(id).is_some_and(|progress| progress.matched >= committed)
    }

    /// Applies an entry that changes the members.
    ///
    /// # Errors
    /// [`Damaged`] if it makes no sense.
    pub(super) fn change_members(&mut self, entry: &Entry) -> Result<(), Damaged> {
        let mut change = ConfChangeV2::default();
        let known = entry.get_entry_type() == EntryType::EntryConfChangeV2;
        if !known || change.merge_from_bytes(&entry.data).is_err() {
            return Err(Damaged("a change of members cannot be read"));
        }
        let conf = self.library().apply_conf_change(&change);
        let conf = conf.map_err(|_| Damaged("a change of members is impossible"))?;
        self.log_mut().state.conf = conf;
        Ok(())
    }
}

fn single(kind: ConfChangeType, id: u64) -> ConfChangeSingle {
    let mut change = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
    change.set_change_type(kind);
    change
}
