//! Deliberate faults of the shard: each breaks one rule, and a test proves that it is noticed.
//! (Those of the groups are [`leaderless::Mutation`](kvorum_replication::leaderless::Mutation).)
//!
//! Without the feature `mutations` the type has no values, every question here answers no, and
//! the compiler removes both.

use crate::Options;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Stamp writes although this node's clock is far from the others'.
    #[cfg(any(test, feature = "mutations"))]
    TrustSuspectClock,
    /// Put more envelopes into a frame than its header can count.
    #[cfg(any(test, feature = "mutations"))]
    OverfillFrames,
    /// Forget how long a frame has waited here before its turn.
    #[cfg(any(test, feature = "mutations"))]
    IgnoreWaiting,
    /// Send a write of a strong keyspace again that may have been executed, as if it were new.
    #[cfg(any(test, feature = "mutations"))]
    ResendAsNew,
}

#[cfg(any(test, feature = "mutations"))]
impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 4] = [
        Mutation::TrustSuspectClock,
        Mutation::OverfillFrames,
        Mutation::IgnoreWaiting,
        Mutation::ResendAsNew,
    ];
}

macro_rules! questions {
    ($($question:ident asks $mutation:ident;)*) => {
        impl Options {$(
            pub(crate) const fn $question(&self) -> bool {
                #[cfg(any(test, feature = "mutations"))]
                return matches!(self.shard_mutation, Some(Mutation::$mutation));
                #[cfg(not(any(test, feature = "mutations")))]
                return false;
            }
        )*}
    };
}

questions! {
    trusts_suspect_clock asks TrustSuspectClock;
    overfills_frames asks OverfillFrames;
    ignores_waiting asks IgnoreWaiting;
    resends_as_new asks ResendAsNew;
}
