//! What each action makes of the value of a key: functions of the value, the action, and the place
//! and time of the command in the log, and of nothing else.

use bytes::Bytes;
use kvorum_core::{Action, Expiry, ExpiryIs, Header, Output, Refusal, Version};

use super::decimal;

/// A value and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
}

/// What an action leaves, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct After {
    pub(super) write: Write,
    pub(super) output: Output,
}

/// What becomes of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Write {
    Nothing,
    Remove,
    Put(Value),
}

/// The command that an action is part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The version of what it writes.
    pub(super) version: Version,
    /// When it happens, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Bytes of values that it may still write.
    pub(super) room: usize,
}

impl Moment {
    /// What an action makes of a value. [`Action::Copy`] and [`Action::Txn`] are about more than
    /// one key and change nothing here.
    ///
    /// # Errors
    /// [`Refusal`] if the value does not allow it, or there is no room for the result.
    pub(super) fn outcome(self, action: &Action, old: Option<&Value>) -> Result<After, Refusal> {
        let bytes = old.map(|old| &old.bytes[..]);
        let (write, output) = match action {
            Action::Read | Action::Copy { .. } | Action::Txn(_) => (Write::Nothing, Output::Done),
            Action::Delete => (Write::Remove, Output::Done),
            Action::Put { value, expiry, tag } => {
                let kept = old.map_or(0, |old| old.header.expire_ms);
                let expire_ms = expiry.map_or(kept, |expiry| self.expire_ms(expiry));
                (self.put(value.clone(), *tag, expire_ms), Output::Done)
            }
            Action::Add(by) => {
                let sum = bytes.map_or(Ok(0), integer)?;
                let sum = sum.checked_add(*by).ok_or(Refusal::Overflow)?;
                (self.replace(old, sum.to_string().into()), Output::Integer(sum))
            }
            Action::AddDecimal(by) => {
                let sum = decimal::add(bytes, by)?;
                (self.replace(old, sum.clone()), Output::Value(sum))
            }
            Action::Append(tail) => {
                let mut whole = self.grown(bytes, bytes.map_or(0, <[u8]>::len) + tail.len())?;
                whole.truncate(bytes.map_or(0, <[u8]>::len));
                whole.extend_from_slice(tail);
                let len = length(whole.len());
                (self.replace(old, whole.into()), len)
            }
            Action::SetRange { offset, bytes: new } => self.set_range(old, *offset, new)?,
            Action::SetBit { offset, on } => self.set_bit(old, *offset, *on)?,
            Action::Expire { expiry, only } => self.expire(old, *expiry, only),
        };
        match &write {
            Write::Put(value) if value.bytes.len() > self.room => Err(Refusal::TooLong),
            _ => Ok(After { write, output }),
        }
    }

    fn set_range(
        self,
        old: Option<&Value>,
        offset: u64,
        new: &[u8],
    ) -> Result<(Write, Output), Refusal> {
        let bytes = old.map(|old| &old.bytes[..]);
        if new.is_empty() {
            return Ok((Write::Nothing, length(bytes.map_or(0, <[u8]>::len))));
        }
        let from = usize::try_from(offset).map_err(|_| Refusal::TooLong)?;
        let end = from.checked_add(new.len()).ok_or(Refusal::TooLong)?;
        let mut whole = self.grown(bytes, end)?;
        if let Some(place) = whole.get_mut(from..end) {
            place.copy_from_slice(new);
        }
        let len = length(whole.len());
        Ok((self.replace(old, whole.into()), len))
    }

    fn set_bit(
        self,
        old: Option<&Value>,
        offset: u64,
        on: bool,
    ) -> Result<(Write, Output), Refusal> {
        let at = usize::try_from(offset / 8).map_err(|_| Refusal::TooLong)?;
        let mut whole = self.grown(old.map(|old| &old.bytes[..]), at.saturating_add(1))?;
        let mask = 0x80_u8 >> (offset % 8);
        let mut was = false;
        if let Some(byte) = whole.get_mut(at) {
            was = *byte & mask != 0;
            *byte = if on { *byte | mask } else { *byte & !mask };
        }
        Ok((self.replace(old, whole.into()), Output::Integer(i64::from(was))))
    }

    fn expire(self, old: Option<&Value>, expiry: Expiry, only: &[ExpiryIs]) -> (Write, Output) {
        let after = |at: u64| if at == 0 { u64::MAX } else { at };
        let expire_ms = self.expire_ms(expiry);
        let wanted = |old: &&Value| {
            let present = old.header.expire_ms;
            only.iter().all(|is| match is {
                ExpiryIs::Absent => present == 0,
                ExpiryIs::Present => present != 0,
                ExpiryIs::Earlier => after(present) < after(expire_ms),
                ExpiryIs::Later => after(present) > after(expire_ms),
            })
        };
        match old.filter(wanted) {
            Some(old) => {
                let write = self.put(old.bytes.clone(), old.header.tag, expire_ms);
                (write, Output::Integer(1))
            }
            None => (Write::Nothing, Output::Integer(0)),
        }
    }

    /// A copy of the bytes with zeros behind them, so that they are at least so many.
    fn grown(self, bytes: Option<&[u8]>, len: usize) -> Result<Vec<u8>, Refusal> {
        let bytes = bytes.unwrap_or_default();
        let len = len.max(bytes.len());
        if len > self.room {
            return Err(Refusal::TooLong);
        }
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(bytes);
        whole.resize(len, 0);
        Ok(whole)
    }

    /// Other bytes, with the tag and the expiry of the old ones.
    fn replace(self, old: Option<&Value>, bytes: Bytes) -> Write {
        let (tag, expire_ms) = old.map_or((0, 0), |old| (old.header.tag, old.header.expire_ms));
        Write::Put(self.value(bytes, tag, expire_ms))
    }

    /// A value; nothing is stored if it has expired already.
    pub(super) fn put(self, bytes: Bytes, tag: u32, expire_ms: u64) -> Write {
        if expire_ms != 0 && expire_ms <= self.time_ms {
            return Write::Remove;
        }
        Write::Put(self.value(bytes, tag, expire_ms))
    }

    fn value(self, bytes: Bytes, tag: u32, expire_ms: u64) -> Value {
        let value_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let version = self.version;
        Value { header: Header { version, tombstone: false, tag, expire_ms, value_len }, bytes }
    }

    fn expire_ms(self, expiry: Expiry) -> u64 {
        match expiry {
            Expiry::Never => 0,
            Expiry::At(wall_ms) => wall_ms.max(1),
            Expiry::After(span) => {
                let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                self.time_ms.saturating_add(span)
            }
        }
    }
}

/// Whether an action needs the value of its key, and not only what is known of it.
pub(super) const fn builds_on_value(action: &Action) -> bool {
    match action {
        Action::Add(_)
        | Action::AddDecimal(_)
        | Action::Append(_)
        | Action::SetRange { .. }
        | Action::SetBit { .. }
        | Action::Expire { .. } => true,
        Action::Read
        | Action::Delete
        | Action::Put { .. }
        | Action::Copy { .. }
        | Action::Txn(_) => false,
    }
}

fn length(len: usize) -> Output {
    Output::Integer(i64::try_from(len).unwrap_or(i64::MAX))
}

/// A decimal integer exactly as it would be written: redis-server reads no others.
fn integer(bytes: &[u8]) -> Result<i64, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotAnInteger)?;
    let number: i64 = text.parse().map_err(|_| Refusal::NotAnInteger)?;
    if number.to_string() == text { Ok(number) } else { Err(Refusal::NotAnInteger) }
}

#[cfg(test)]
mod tests;
