//! Deliberate faults: each breaks one rule, and a test proves that somebody notices.
//!
//! Without the feature `mutations` the type has no values, every question here answers no, and
//! the compiler removes both.

use super::Options;
use crate::questions::questions;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Send votes and acknowledgements, and count the own, before what they promise is durable.
    #[cfg(any(test, feature = "mutations"))]
    PromiseBeforeDurable,
    /// Answer a read as soon as it arrives at whoever believes to lead.
    #[cfg(any(test, feature = "mutations"))]
    ReadWithoutRound,
    /// Commit what commands change without how far the log is applied.
    #[cfg(any(test, feature = "mutations"))]
    ForgetApplied,
    /// Let a replica that lost what it had promised go on under its old identity.
    #[cfg(any(test, feature = "mutations"))]
    KeepIdentity,
    /// Let each leader's own clock decide what has expired.
    #[cfg(any(test, feature = "mutations"))]
    ExpireByOwnClock,
    /// Say that what was proposed is not executed, as soon as another leads.
    #[cfg(any(test, feature = "mutations"))]
    RefuseProposed,
    /// Measure the age of a lease with the wall clock only.
    #[cfg(any(test, feature = "mutations"))]
    LeaseByWallClock,
    /// Go on with a lease after another replica was told that it is over.
    #[cfg(any(test, feature = "mutations"))]
    LeaseAfterTransfer,
    /// Let a new leader answer before the leases of earlier ones are over.
    #[cfg(any(test, feature = "mutations"))]
    NoWaitForLease,
    /// Let what a follower reads for one leader go on under the next one.
    #[cfg(any(test, feature = "mutations"))]
    FollowerReadSurvivesTerm,
    /// Let a follower answer without the leader's word.
    #[cfg(any(test, feature = "mutations"))]
    FollowerReadWithoutIndex,
    /// Take whatever is known for new enough for a read that may be old.
    #[cfg(any(test, feature = "mutations"))]
    StaleWithoutBound,
    /// Commit an entry of an older term as soon as a majority has it.
    #[cfg(any(test, feature = "mutations"))]
    CommitOlderByCount,
    /// Do a write again that is sent again.
    #[cfg(any(test, feature = "mutations"))]
    ApplyTwice,
    /// Forget at a start what the last entries answered.
    #[cfg(any(test, feature = "mutations"))]
    ForgetSessions,
    /// Leave what they answered out of copies of the partition.
    #[cfg(any(test, feature = "mutations"))]
    LoseSessionsInCopy,
}

#[cfg(any(test, feature = "mutations"))]
impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 16] = [
        Mutation::PromiseBeforeDurable,
        Mutation::ReadWithoutRound,
        Mutation::ForgetApplied,
        Mutation::KeepIdentity,
        Mutation::ExpireByOwnClock,
        Mutation::RefuseProposed,
        Mutation::LeaseByWallClock,
        Mutation::LeaseAfterTransfer,
        Mutation::NoWaitForLease,
        Mutation::FollowerReadSurvivesTerm,
        Mutation::FollowerReadWithoutIndex,
        Mutation::StaleWithoutBound,
        Mutation::CommitOlderByCount,
        Mutation::ApplyTwice,
        Mutation::ForgetSessions,
        Mutation::LoseSessionsInCopy,
    ];
}

questions! {
    promises_before_durable asks PromiseBeforeDurable;
    reads_without_round asks ReadWithoutRound;
    forgets_applied asks ForgetApplied;
    keeps_identity asks KeepIdentity;
    expires_by_own_clock asks ExpireByOwnClock;
    refuses_proposed asks RefuseProposed;
    leases_by_wall_clock asks LeaseByWallClock;
    keeps_released_lease asks LeaseAfterTransfer;
    does_not_wait_for_leases asks NoWaitForLease;
    keeps_reads_of_followers asks FollowerReadSurvivesTerm;
    follows_without_asking asks FollowerReadWithoutIndex;
    forgets_how_old asks StaleWithoutBound;
    commits_by_count asks CommitOlderByCount;
    applies_twice asks ApplyTwice;
    forgets_sessions asks ForgetSessions;
    loses_sessions_in_copy asks LoseSessionsInCopy;
}
