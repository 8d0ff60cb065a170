//! The letters about floors.
//!
//! | kind | letter | fields |
//! |---|---|---|
//! | 1 | Propose | reading |
//! | 2 | Promised | life |
//! | 3 | Ask | |
//! | 4 | Clean | life, promise, members |
//! | 5 | Commit | floor, members |
//! | 6 | Compare | floor |
//! | 7 | Told | floor, promise |
//! | 8 | Declined | |
//!
//! A life is a version. *Members* are a count u8 and so many times `node u32` with a reading in Clean
//! and a life in Commit.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::NodeId;

use super::WireError;
use super::primitive::{get_hlc, get_version, put_hlc, put_version};
use crate::leaderless::FloorLetter;

mod kind {
    pub(super) const PROPOSE: u8 = 1;
    pub(super) const PROMISED: u8 = 2;
    pub(super) const ASK: u8 = 3;
    pub(super) const CLEAN: u8 = 4;
    pub(super) const COMMIT: u8 = 5;
    pub(super) const COMPARE: u8 = 6;
    pub(super) const TOLD: u8 = 7;
    pub(super) const DECLINED: u8 = 8;
}

/// Appends a letter.
pub(super) fn put_letter(out: &mut BytesMut, letter: &FloorLetter) {
    match letter {
        FloorLetter::Propose(at) => {
            out.put_u8(kind::PROPOSE);
            put_hlc(out, *at);
        }
        FloorLetter::Promised { life } => {
            out.put_u8(kind::PROMISED);
            put_version(out, *life);
        }
        FloorLetter::Ask => out.put_u8(kind::ASK),
        FloorLetter::Clean { life, promise, with } => {
            out.put_u8(kind::CLEAN);
            put_version(out, *life);
            put_hlc(out, *promise);
            put_members(out, with, |out, through| put_hlc(out, *through));
        }
        FloorLetter::Commit { floor, lives } => {
            out.put_u8(kind::COMMIT);
            put_hlc(out, *floor);
            put_members(out, lives, |out, life| put_version(out, *life));
        }
        FloorLetter::Compare(floor) => {
            out.put_u8(kind::COMPARE);
            put_hlc(out, *floor);
        }
        FloorLetter::Told { floor, promise } => {
            out.put_u8(kind::TOLD);
            put_hlc(out, *floor);
            put_hlc(out, *promise);
        }
        FloorLetter::Declined => out.put_u8(kind::DECLINED),
    }
}

/// Takes a letter.
///
/// # Errors
/// [`WireError`] if there is none.
pub(super) fn get_letter(input: &mut Bytes) -> Result<FloorLetter, WireError> {
    Ok(match input.try_get_u8()? {
        kind::PROPOSE => FloorLetter::Propose(get_hlc(input)?),
        kind::PROMISED => FloorLetter::Promised { life: get_version(input)? },
        kind::ASK => FloorLetter::Ask,
        kind::CLEAN => FloorLetter::Clean {
            life: get_version(input)?,
            promise: get_hlc(input)?,
            with: get_members(input, get_hlc)?,
        },
        kind::COMMIT => {
            FloorLetter::Commit { floor: get_hlc(input)?, lives: get_members(input, get_version)? }
        }
        kind::COMPARE => FloorLetter::Compare(get_hlc(input)?),
        kind::TOLD => FloorLetter::Told { floor: get_hlc(input)?, promise: get_hlc(input)? },
        kind::DECLINED => FloorLetter::Declined,
        _ => return Err(WireError("unknown letter about floors")),
    })
}

fn put_members<T>(out: &mut BytesMut, members: &[(NodeId, T)], put: impl Fn(&mut BytesMut, &T)) {
    // A partition has far fewer members than this.
    let count = u8::try_from(members.len()).unwrap_or(u8::MAX);
    out.put_u8(count);
    for (node, what) in members.iter().take(count.into()) {
        out.put_u32_le(node.get());
        put(out, what);
    }
}

fn get_members<T>(
    input: &mut Bytes,
    get: impl Fn(&mut Bytes) -> Result<T, WireError>,
) -> Result<Vec<(NodeId, T)>, WireError> {
    let count = input.try_get_u8()?;
    let mut members = Vec::new();
    for _ in 0..count {
        let node = NodeId::new(input.try_get_u32_le()?).ok_or(WireError("no such node"))?;
        members.push((node, get(input)?));
    }
    Ok(members)
}
