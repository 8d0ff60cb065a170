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
}

#[cfg(any(test, feature = "mutations"))]
impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 6] = [
        Mutation::PromiseBeforeDurable,
        Mutation::ReadWithoutRound,
        Mutation::ForgetApplied,
        Mutation::KeepIdentity,
        Mutation::ExpireByOwnClock,
        Mutation::RefuseProposed,
    ];
}

questions! {
    promises_before_durable asks PromiseBeforeDurable;
    reads_without_round asks ReadWithoutRound;
    forgets_applied asks ForgetApplied;
    keeps_identity asks KeepIdentity;
    expires_by_own_clock asks ExpireByOwnClock;
    refuses_proposed asks RefuseProposed;
}
