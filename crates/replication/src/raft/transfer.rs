//! The lead on its way from one replica to another (Ongaro, "Consensus: Bridging Theory and
//! Practice", 2014, section 3.10).
//!
//! The leader proposes nothing more, waits until the other has everything, and tells it to ask for
//! votes at once. If that does not happen within an election timeout, it goes on as before.

use kvorum_core::NodeId;
use raft::{Progress, ProgressState};

use super::consensus::Consensus;
use super::id::ReplicaId;

/// How many entries a replica that is to lead may still lack: under load some are always under way.
const LACKING_ENTRIES: u64 = 16;

impl Consensus {
    /// Makes another replica lead, if this one leads and the other has almost everything. Tells
    /// whether that has begun.
    pub(super) fn hand_over(&mut self, to: NodeId) -> bool {
        if !self.takes_proposals() {
            return false;
        }
        let replicas = self.replicas_on(to);
        let voters = &self.log().state.conf.voters;
        let can_lead = |replica: &u64| voters.contains(replica) && self.almost_has_all(*replica);
        let Some(heir) = replicas.into_iter().find(can_lead) else { return false };
        self.library().transfer_leader(heir);
        true
    }

    /// Whether a replica has everything but a few entries that are under way. One whose connection
    /// was lost is asked for what it has only when there is something to send: it must have all.
    /// One that waits for a copy of the partition has the log, but cannot lead.
    fn almost_has_all(&self, replica: u64) -> bool {
        let last = self.log().last();
        let lacks_at_most = |progress: &Progress| match progress.state {
            _ if progress.pending_request_snapshot != 0 => None,
            ProgressState::Replicate => Some(LACKING_ENTRIES),
            ProgressState::Probe => Some(0),
            ProgressState::Snapshot => None,
        };
        let enough = |p: &Progress| lacks_at_most(p).is_some_and(|most| p.matched + most >= last);
        self.progress(replica).is_some_and(enough)
    }

    /// A node is lost: if it was to lead, nobody waits for that any more.
    pub(super) fn take_back(&mut self, from: NodeId) {
        let raft = &mut self.library().raft;
        let heir = raft.lead_transferee.and_then(ReplicaId::from_raft);
        if heir.is_some_and(|heir| heir.node() == from) {
            raft.abort_leader_transfer();
        }
    }
}
