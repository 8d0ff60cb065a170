//! What must always be true of the floor, and what must happen at least once.

use super::state::{Duty, Fault, MEMBERS, MOST_WRITES, Member, PAIRS, State, Version, just};

pub(super) const DELETED_STAYS_DELETED: &str =
    "no quorum read shows a value older than an acknowledged delete";
pub(super) const ACKNOWLEDGED_IS_KEPT: &str = "no acknowledged write is lost";
pub(super) const NOTHING_BELOW_THE_FLOOR: &str =
    "a whole member takes nothing at or below its floor";
pub(super) const FLOOR_BELOW_PROMISE: &str = "no floor is above a promise";
pub(super) const NEVER_BACK: &str = "floor and promise never go down while the disk is kept";

/// What a quorum read of any two whole members shows, and what each of the two has purged up to.
fn reads(state: &State) -> impl Iterator<Item = (Version, Version)> + '_ {
    let whole = |&(one, other): &(usize, usize)| state.is_whole(one) && state.is_whole(other);
    PAIRS.into_iter().filter(whole).map(|(one, other)| {
        let (one, other) = (&state.members[one], &state.members[other]);
        // Nothing is revealed before it is durable.
        (one.synced.max(other.synced), one.floor.max(other.floor))
    })
}

/// The newest write that a majority acknowledged.
fn newest_acked(state: &State) -> Version {
    (1..=MOST_WRITES).rev().find(|&version| state.acked(version)).unwrap_or(0)
}

pub(super) fn deleted_stays_deleted(state: &State) -> bool {
    let newest = newest_acked(state);
    !state.is_delete(newest)
        || reads(state).all(|(shown, _)| shown >= newest || shown == 0 || state.is_delete(shown))
}

pub(super) fn acknowledged_is_kept(state: &State) -> bool {
    let newest = newest_acked(state);
    if newest == 0 || state.is_delete(newest) {
        return true;
    }
    // Nothing is right if a later delete was here and is purged.
    let deleted =
        |floor| (newest + 1..=floor).any(|later| state.is_delete(later) && existed(state, later));
    reads(state).all(|(shown, floor)| shown >= newest || shown == 0 && deleted(floor))
}

fn existed(state: &State, version: Version) -> bool {
    state.existed & just(version) != 0
}

pub(super) fn nothing_below_the_floor(state: &State) -> bool {
    state.fault != Fault::StoredBelowFloor
}

pub(super) fn never_back(state: &State) -> bool {
    state.fault != Fault::WentBack
}

/// Its own, and with it that of any other member that is whole: a promise below the floor of another is how
/// a member finds out that it has lost one.
pub(super) fn floor_below_promise(state: &State) -> bool {
    let members = &state.members;
    members.iter().all(|member| member.floor <= member.promise)
        && PAIRS.into_iter().all(|(one, other)| {
            let whole = state.is_whole(one) && state.is_whole(other);
            let (one, other) = (&members[one], &members[other]);
            !whole || one.floor <= other.promise && other.floor <= one.promise
        })
}

/// An acknowledged delete is gone from all members, tombstone and all.
pub(super) fn delete_is_purged(state: &State) -> bool {
    let newest = newest_acked(state);
    let gone = |member: &Member| {
        member.duty == Duty::Whole && member.stored == 0 && member.floor >= newest
    };
    state.is_delete(newest) && state.members.iter().all(gone)
}

/// A client's write that has not arrived yet will be refused as late.
pub(super) fn write_is_late(state: &State) -> bool {
    state.members.iter().any(|member| {
        let Member { stored, floor, promise, .. } = *member;
        member.duty == Duty::Whole && stored < promise && floor < promise
    })
}

/// A repair that is still under way will be refused.
pub(super) fn repair_is_below_the_floor(state: &State) -> bool {
    state.members.iter().any(|member| {
        let late = |version| existed(state, version) && version > member.stored;
        member.duty == Duty::Whole && (1..=member.floor).any(late)
    })
}

/// A member that lost its disk counts again.
pub(super) fn member_is_rebuilt(state: &State) -> bool {
    state.losses > 0 && (0..MEMBERS).all(|member| state.is_whole(member))
}

/// What a member came back with is not to be kept.
pub(super) fn leftover_is_found(state: &State) -> bool {
    state.members.iter().any(|member| {
        let gone = |source: &Member| {
            source.duty == Duty::Whole && source.stored == 0 && source.floor >= member.stored
        };
        matches!(member.duty, Duty::Copying(_))
            && member.stored > 0
            && state.members.iter().any(gone)
    })
}
