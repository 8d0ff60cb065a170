//! Deliberate faults: each breaks one rule, and a test proves that somebody notices.
//!
//! Without the feature `mutations` the type has no values, every question here answers no, and
//! the compiler removes both.

use super::Options;
use crate::OpId;
use crate::questions::questions;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Answer reads and writes before the record is durable.
    #[cfg(any(test, feature = "mutations"))]
    RevealBeforeDurable,
    /// Count "I hold a newer version" as an acknowledgement of the first attempt.
    #[cfg(any(test, feature = "mutations"))]
    CountSupersededInFirstAttempt,
    /// Count acknowledgements of the first attempt for the second.
    #[cfg(any(test, feature = "mutations"))]
    CountLateAcks,
    /// Answer a quorum read before a majority holds what it shows.
    #[cfg(any(test, feature = "mutations"))]
    NonBlockingRepair,
    /// Let a rebuilding replica count in write quorums.
    #[cfg(any(test, feature = "mutations"))]
    AckWhileRebuilding,
    /// Count what a member answered before it was lost, and with it perhaps its disk.
    #[cfg(any(test, feature = "mutations"))]
    CountLostMembers,
    /// Store versions that lie far in the future.
    #[cfg(any(test, feature = "mutations"))]
    AcceptTheFuture,
    /// Do work that nobody waits for any more.
    #[cfg(any(test, feature = "mutations"))]
    ServeTooLate,
    /// Stamp with the wall clock alone: two writes of one millisecond share a version.
    #[cfg(any(test, feature = "mutations"))]
    StampWithWallClock,
    /// Forget a hint when it is sent, and not when it is answered.
    #[cfg(any(test, feature = "mutations"))]
    DropHintWhenSent,
    /// Remember hints only for members that were not sent the write at all.
    #[cfg(any(test, feature = "mutations"))]
    HintOnlyWhoWasNotSent,
    /// Remember any number of hints.
    #[cfg(any(test, feature = "mutations"))]
    UnboundedHints,
    /// Forget in a crash which slots are dirty.
    #[cfg(any(test, feature = "mutations"))]
    ForgetDirtySlots,
    /// Let a session replace newer records of the other replica by older ones.
    #[cfg(any(test, feature = "mutations"))]
    SendOlder,
    /// Repair writes that are still under way.
    #[cfg(any(test, feature = "mutations"))]
    SkipSettle,
    /// Call two replicas clean before what one of them has shown is durable.
    #[cfg(any(test, feature = "mutations"))]
    CleanBeforeDurable,
    /// Compare records that cannot be read as if they could.
    #[cfg(any(test, feature = "mutations"))]
    IgnoreCorrupt,
    /// Take clients' writes below the promise.
    #[cfg(any(test, feature = "mutations"))]
    NoPromiseRefusal,
    /// Take repair writes below the floor.
    #[cfg(any(test, feature = "mutations"))]
    NoFloorRefusal,
    /// Raise the floor without the members that are down.
    #[cfg(any(test, feature = "mutations"))]
    IgnoreDownInRound,
    /// Raise the floor when one pair of members is clean.
    #[cfg(any(test, feature = "mutations"))]
    OneSessionEnough,
    /// Count comparisons whose snapshots were taken before the promises.
    #[cfg(any(test, feature = "mutations"))]
    CleanBeforePromise,
    /// Raise the floor of a replica that has lost what it held when it promised.
    #[cfg(any(test, feature = "mutations"))]
    CommitIgnoresLife,
    /// Rebuild without asking what is settled.
    #[cfg(any(test, feature = "mutations"))]
    RebuildWithoutFloor,
    /// Keep what only a replica that is rebuilt still holds.
    #[cfg(any(test, feature = "mutations"))]
    KeepLeftovers,
    /// Remove tombstones as soon as they are there.
    #[cfg(any(test, feature = "mutations"))]
    PurgeAboveFloor,
}

#[cfg(any(test, feature = "mutations"))]
impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 26] = [
        Mutation::RevealBeforeDurable,
        Mutation::CountSupersededInFirstAttempt,
        Mutation::CountLateAcks,
        Mutation::NonBlockingRepair,
        Mutation::AckWhileRebuilding,
        Mutation::CountLostMembers,
        Mutation::AcceptTheFuture,
        Mutation::ServeTooLate,
        Mutation::StampWithWallClock,
        Mutation::DropHintWhenSent,
        Mutation::HintOnlyWhoWasNotSent,
        Mutation::UnboundedHints,
        Mutation::ForgetDirtySlots,
        Mutation::SendOlder,
        Mutation::SkipSettle,
        Mutation::CleanBeforeDurable,
        Mutation::IgnoreCorrupt,
        Mutation::NoPromiseRefusal,
        Mutation::NoFloorRefusal,
        Mutation::IgnoreDownInRound,
        Mutation::OneSessionEnough,
        Mutation::CleanBeforePromise,
        Mutation::CommitIgnoresLife,
        Mutation::RebuildWithoutFloor,
        Mutation::KeepLeftovers,
        Mutation::PurgeAboveFloor,
    ];
}

questions! {
    reveals_before_durable asks RevealBeforeDurable;
    counts_superseded_at_once asks CountSupersededInFirstAttempt;
    repairs_without_waiting asks NonBlockingRepair;
    acknowledges_while_rebuilding asks AckWhileRebuilding;
    counts_the_lost asks CountLostMembers;
    accepts_the_future asks AcceptTheFuture;
    serves_too_late asks ServeTooLate;
    stamps_with_wall_clock asks StampWithWallClock;
    drops_hints_when_sent asks DropHintWhenSent;
    hints_only_who_was_not_sent asks HintOnlyWhoWasNotSent;
    keeps_hints_without_bounds asks UnboundedHints;
    forgets_dirty_slots asks ForgetDirtySlots;
    sends_older asks SendOlder;
    repairs_the_young asks SkipSettle;
    cleans_before_durable asks CleanBeforeDurable;
    shows_corrupt asks IgnoreCorrupt;
    takes_late_writes asks NoPromiseRefusal;
    takes_what_is_settled asks NoFloorRefusal;
    ignores_the_down asks IgnoreDownInRound;
    commits_after_one_session asks OneSessionEnough;
    counts_early_clean asks CleanBeforePromise;
    ignores_lives asks CommitIgnoresLife;
    rebuilds_without_floor asks RebuildWithoutFloor;
    keeps_leftovers asks KeepLeftovers;
    purges_too_early asks PurgeAboveFloor;
}

/// The ids a write had before it was sent again; known only to count the answers to them by
/// mistake.
#[derive(Debug, Default)]
pub(super) struct DeadIds {
    #[cfg(any(test, feature = "mutations"))]
    successors: std::collections::BTreeMap<OpId, OpId>,
}

impl DeadIds {
    #[cfg(any(test, feature = "mutations"))]
    pub(super) fn bury(&mut self, options: &Options, dead: OpId, successor: OpId) {
        if options.mutation == Some(Mutation::CountLateAcks) {
            self.successors.insert(dead, successor);
        }
    }

    #[cfg(any(test, feature = "mutations"))]
    pub(super) fn resolve(&self, op: OpId) -> OpId {
        self.successors.get(&op).copied().unwrap_or(op)
    }

    #[cfg(not(any(test, feature = "mutations")))]
    pub(super) const fn bury(&mut self, _: &Options, _: OpId, _: OpId) {}

    #[cfg(not(any(test, feature = "mutations")))]
    pub(super) const fn resolve(&self, op: OpId) -> OpId {
        op
    }
}
