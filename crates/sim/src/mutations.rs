//! The rules that can be left out, and which property each of them is good for.

use crate::checkers::Property;
use crate::settings::Settings;

/// A rule of the product that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// One of the store's.
    Storage(kvorum_storage::Mutation),
    /// One of the leaderless groups'.
    Leaderless(kvorum_replication::leaderless::Mutation),
    /// One of the Raft groups'.
    Raft(kvorum_replication::raft::Mutation),
}

impl Mutation {
    /// All mutations.
    pub fn all() -> impl Iterator<Item = Mutation> {
        let storage = kvorum_storage::Mutation::ALL.into_iter().map(Mutation::Storage);
        let leaderless = kvorum_replication::leaderless::Mutation::ALL.into_iter();
        let raft = kvorum_replication::raft::Mutation::ALL.into_iter().map(Mutation::Raft);
        storage.chain(leaderless.map(Mutation::Leaderless)).chain(raft)
    }

    /// The mutations that must show in whole clusters under faults, each with the properties that
    /// it must violate. The others are proven where they live: in the store's crash tests and in
    /// the groups' random histories.
    pub fn noticed_by_simulation() -> impl Iterator<Item = (Mutation, &'static [Property])> {
        use Property::{
            AnswersAreNotTooOld as S5, DeletesStayDeleted as E5, DurableIsRecovered as D1,
            FloorsHold as E8, HintsAreBounded as E9, IncrementsCountOnce as S3,
            LaterWritesWin as E7, NoAcknowledgedWriteLost as E1, NotExecutedNeverShows as S2,
            ReadsNeverGoBack as E4, ReadsReturnWhatWasWritten as E6,
            ReadsSeeAcknowledgedWrites as E3, RecoversAfterHealing as E10, ReplicasConverge as E2,
            StrongIsLinearizable as S1, StrongRecoversAfterHealing as S4,
        };
        use kvorum_replication::leaderless::Mutation as Group;
        use kvorum_replication::raft::Mutation as Raft;
        use kvorum_storage::Mutation as Log;
        let storage: [(Log, &[Property]); 10] = [
            (Log::SkipSync, &[D1, E1, E3, E10, S1, S3, S4]),
            (Log::SkipDirectorySync, &[D1, E3]),
            (Log::ConstantEpoch, &[D1]),
            (Log::TrustUnproved, &[D1]),
            (Log::RepeatStart, &[D1]),
            (Log::FreeBeforeCopies, &[D1]),
            (Log::FreeAboveCheckpoint, &[D1, E10]),
            (Log::DropCheckpointFirst, &[D1]),
            (Log::CopyDead, &[D1]),
            (Log::TrustValues, &[E6]),
        ];
        let groups: [(Group, &[Property]); 8] = [
            (Group::RevealBeforeDurable, &[E1, E3]),
            (Group::CountSupersededInFirstAttempt, &[E7]),
            (Group::NonBlockingRepair, &[E4]),
            (Group::StampWithWallClock, &[E6]),
            (Group::UnboundedHints, &[E9]),
            (Group::IgnoreDownInRound, &[E2, E5, E8]),
            (Group::OneSessionEnough, &[E2]),
            (Group::PurgeAboveFloor, &[E3, E4]),
        ];
        let raft: [(Raft, &[Property]); 10] = [
            (Raft::PromiseBeforeDurable, &[S1, S3]),
            (Raft::ReadWithoutRound, &[S1]),
            (Raft::ForgetApplied, &[S1, S3, S4]),
            (Raft::ExpireByOwnClock, &[S1]),
            (Raft::RefuseProposed, &[S2, S3]),
            (Raft::FollowerReadWithoutIndex, &[S1]),
            (Raft::NoWaitForLease, &[S1]),
            (Raft::LeaseByWallClock, &[S1]),
            (Raft::StaleWithoutBound, &[S5]),
            (Raft::ApplyTwice, &[S1, S3]),
        ];
        let storage = storage.into_iter().map(|(rule, seen)| (Mutation::Storage(rule), seen));
        let groups = groups.into_iter().map(|(rule, seen)| (Mutation::Leaderless(rule), seen));
        let raft = raft.into_iter().map(|(rule, seen)| (Mutation::Raft(rule), seen));
        storage.chain(groups).chain(raft)
    }

    /// The name of the mutation.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Mutation::Storage(mutation) => format!("{mutation:?}"),
            Mutation::Leaderless(mutation) => format!("{mutation:?}"),
            Mutation::Raft(mutation) => format!("{mutation:?}"),
        }
    }

    /// The mutation of a name.
    ///
    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Mutation, String> {
        Mutation::all().find(|mutation| mutation.name() == name).ok_or_else(|| {
            let names: Vec<String> = Mutation::all().map(Mutation::name).collect();
            format!("the mutations are {}", names.join(", "))
        })
    }
}

impl Settings {
    /// Leaves out a rule.
    pub fn leave_out(&mut self, mutation: Option<Mutation>) {
        match mutation {
            Some(Mutation::Storage(mutation)) => self.storage.mutation = Some(mutation),
            Some(Mutation::Leaderless(mutation)) => self.shard.mutation = Some(mutation),
            Some(Mutation::Raft(mutation)) => self.shard.raft_mutation = Some(mutation),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_is_expected_to_notice_something() {
        let noticed = |property| {
            Mutation::noticed_by_simulation().any(|(_, expected)| expected.contains(&property))
        };
        assert!(Property::ALL.into_iter().all(noticed));
    }
}
