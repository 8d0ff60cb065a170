//! How far a replica is, and who is a member: what it must know again after a start.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::Hlc;
use raft::eraftpb::ConfState;

use super::id::ReplicaId;
use crate::wire::WireError;
use crate::wire::primitive::{get_flag, get_size, get_varint, put_flag, put_size, put_varint};

const FORMAT: u8 = 1;

/// How far the log is applied, and where it begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// All commands up to this index are applied.
    pub(super) applied: u64,
    /// And so are this many commands of the entry behind it.
    pub(super) ordinal: u32,
    /// What the commands of the last entry were stamped with. It never goes back.
    pub(super) clock: Hlc,
    /// The entries up to this index have been dropped.
    pub(super) dropped: u64,
    /// The term of the last entry that has been dropped.
    pub(super) dropped_term: u64,
    /// Who votes.
    pub(super) conf: ConfState,
    /// What the partition held has been dropped, and a copy has not arrived as a whole.
    pub(super) incomplete: bool,
    /// Which of this node's replicas of the group this is.
    pub(super) generation: u32,
}

impl State {
    /// The time of the log, in milliseconds since 1970.
    pub(super) const fn time_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Begins an entry that was proposed at this time: its stamp is above all before it, and not
    /// below the time.
    pub(super) fn begin_entry(&mut self, time_ms: u64) {
        self.clock = self.clock.next().max(Hlc::from_wall_ms(time_ms));
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        put_varint(&mut out, self.applied);
        put_varint(&mut out, self.ordinal.into());
        put_varint(&mut out, self.clock.0);
        put_varint(&mut out, self.dropped);
        put_varint(&mut out, self.dropped_term);
        put_flag(&mut out, self.incomplete);
        put_varint(&mut out, self.generation.into());
        put_members(&mut out, &self.conf);
        out.freeze()
    }

    /// # Errors
    /// [`WireError`] if the input is no state.
    pub(super) fn decode(input: &mut Bytes) -> Result<State, WireError> {
        if input.try_get_u8()? != FORMAT {
            return Err(WireError("unknown format of a replica's state"));
        }
        Ok(State {
            applied: get_varint(input)?,
            ordinal: get_ordinal(input)?,
            clock: Hlc(get_varint(input)?),
            dropped: get_varint(input)?,
            dropped_term: get_varint(input)?,
            incomplete: get_flag(input)?,
            generation: u32::try_from(get_varint(input)?)
                .map_err(|_| WireError("no such generation"))?,
            conf: get_members(input)?,
        })
    }
}

/// Takes the number of a command in its entry.
///
/// # Errors
/// [`WireError`] if there is none, or no entry has so many.
pub(super) fn get_ordinal(input: &mut Bytes) -> Result<u32, WireError> {
    u32::try_from(get_varint(input)?).map_err(|_| WireError("too many commands"))
}

/// Appends who is a member: four lists of Raft's names, and whether a change of members completes
/// itself.
pub(super) fn put_members(out: &mut BytesMut, conf: &ConfState) {
    let lists = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
    for members in lists {
        put_size(out, members.len());
        for member in members {
            put_varint(out, *member);
        }
    }
    put_flag(out, conf.auto_leave);
}

/// Takes who is a member.
///
/// # Errors
/// [`WireError`] if the input does not say.
pub(super) fn get_members(input: &mut Bytes) -> Result<ConfState, WireError> {
    let mut conf = ConfState::default();
    let ConfState { voters, learners, voters_outgoing, learners_next, .. } = &mut conf;
    for members in [voters, learners, voters_outgoing, learners_next] {
        for _ in 0..get_size(input)? {
            members.push(get_varint(input)?);
        }
    }
    conf.auto_leave = get_flag(input)?;
    Ok(conf)
}

/// Whether the library takes this for the members of a group: somebody votes; nobody is named twice
/// in a list, or votes and learns at once; and lists that belong to a change of members are there
/// only while one is under way.
pub(super) fn are_members(conf: &ConfState) -> bool {
    let ConfState { voters, learners, voters_outgoing, learners_next, .. } = conf;
    let lists = [voters, learners, voters_outgoing, learners_next];
    let distinct = |list: &&Vec<u64>| list.iter().collect::<BTreeSet<_>>().len() == list.len();
    let named = |list: &&Vec<u64>| list.iter().all(|id| ReplicaId::from_raft(*id).is_some());
    let joint = !voters_outgoing.is_empty();
    let votes = |id: &u64| voters.contains(id) || voters_outgoing.contains(id);
    let becomes = |id: &u64| voters_outgoing.contains(id) && !voters.contains(id);
    !voters.is_empty()
        && lists.iter().all(distinct)
        && lists.iter().all(named)
        && !learners.iter().any(votes)
        && !learners_next.iter().any(|id| learners.contains(id))
        && learners_next.iter().all(becomes)
        && (joint || !conf.auto_leave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_entries_share_a_stamp_whatever_the_time_and_none_is_before_its_time() {
        const TIME_MS: u64 = 1_700_000_000_000;
        let mut state = State::default();
        let mut stamp = |time_ms| {
            state.begin_entry(time_ms);
            state.clock
        };
        let stamps = [TIME_MS, TIME_MS, TIME_MS - 5000, 0, TIME_MS + 1].map(&mut stamp);
        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
        assert_eq!(stamps.map(Hlc::wall_ms), [TIME_MS, TIME_MS, TIME_MS, TIME_MS, TIME_MS + 1]);
    }
}
