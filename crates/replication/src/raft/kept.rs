//! What is kept of an answer, so that it can be given again.

use bytes::{Bytes, BytesMut};
use kvorum_core::{Error, Hlc, Outcome, Reply};

use super::machine::Apply;
use crate::wire::WireError;
use crate::wire::primitive::{get_bytes, put_bytes};
use crate::wire::txn::{get_answer, put_answer};

/// The longest answer that is kept. Of others it is kept that they were given.
pub(super) const LONGEST: usize = 1024;
/// The bits that tell kinds of answers apart.
pub(super) const KINDS: u8 = 3;

/// What an answer was.
mod kind {
    pub(super) const WROTE_NEW: u8 = 0;
    pub(super) const WROTE_OVER: u8 = 1;
    pub(super) const ANSWERED: u8 = 2;
    pub(super) const LOST: u8 = 3;
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    kind: u8,
    answer: Bytes,
}

impl Kept {
    /// What is kept of an answer in up to `most` bytes.
    pub(super) fn of(reply: &Reply, most: usize) -> Kept {
        let (mut answer, mut kind) = (BytesMut::new(), kind::LOST);
        match reply {
            Reply::Written { was_live: false, .. } => kind = kind::WROTE_NEW,
            Reply::Written { was_live: true, .. } => kind = kind::WROTE_OVER,
            Reply::Txn(told) => {
                put_answer(&mut answer, told);
                kind = kind::ANSWERED;
            }
            Reply::Found(_) | Reply::Missing(_) | Reply::Page(..) | Reply::Count(_) => {}
        }
        if answer.len() > most.min(LONGEST) {
            return Kept { kind: kind::LOST, answer: Bytes::new() };
        }
        Kept { kind, answer: answer.freeze() }
    }

    /// The answer to the command with this stamp and number.
    ///
    /// # Errors
    /// [`WireError`] if what is kept makes no sense.
    pub(super) fn outcome(
        &self,
        stamp: Hlc,
        ordinal: u32,
        majority: usize,
    ) -> Result<Outcome<Reply>, WireError> {
        let version = Apply::version(stamp, ordinal);
        let written = |was_live| Ok(Ok(Reply::Written { version, acked: majority, was_live }));
        match self.kind {
            kind::WROTE_NEW => written(false),
            kind::WROTE_OVER => written(true),
            kind::ANSWERED => Ok(Ok(Reply::Txn(get_answer(&mut self.answer.clone())?))),
            _ => Ok(Err(Error::SessionLost)),
        }
    }

    /// Bytes of the answer.
    pub(super) const fn len(&self) -> usize {
        self.answer.len()
    }

    /// Its kind, as [`Kept::get`] wants it.
    pub(super) const fn kind(&self) -> u8 {
        self.kind
    }

    /// Appends what goes behind the kind.
    pub(super) fn put(&self, out: &mut BytesMut) {
        if self.kind == kind::ANSWERED {
            put_bytes(out, &self.answer);
        }
    }

    /// Takes what [`Kept::put`] appended.
    ///
    /// # Errors
    /// [`WireError`] if it is none.
    pub(super) fn get(kind: u8, input: &mut Bytes) -> Result<Kept, WireError> {
        let answer = if kind == kind::ANSWERED { get_bytes(input)? } else { Bytes::new() };
        Ok(Kept { kind, answer })
    }
}
