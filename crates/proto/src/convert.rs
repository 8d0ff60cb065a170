//! Conversions between the messages of `kvorum.v1` and the types of `kvorum-core`.
//!
//! What a client sends is checked here for meaning (a consistency that does not exist, a version
//! that is none); lengths of keys and values are the business of the front end.

use kvorum_core::{Consistency, Error, Expiry, Item, Op, Version, Want, limits};

use crate::kvorum::v1;
use v1::put_request::Expiry as WireExpiry;

/// The consistency a request names; nothing when it leaves the choice to the keyspace. How old an
/// answer may be means something for a stale read only.
///
/// # Errors
/// [`Error::Invalid`] for a number without meaning.
pub fn consistency(number: i32, max_stale_ms: u32) -> Result<Option<Consistency>, Error> {
    match v1::Consistency::try_from(number) {
        Ok(v1::Consistency::Unspecified) => Ok(None),
        Ok(v1::Consistency::One) => Ok(Some(Consistency::One)),
        Ok(v1::Consistency::Quorum) => Ok(Some(Consistency::Quorum)),
        Ok(v1::Consistency::All) => Ok(Some(Consistency::All)),
        Ok(v1::Consistency::Lease) => Ok(Some(Consistency::Lease)),
        Ok(v1::Consistency::Safe) => Ok(Some(Consistency::Safe)),
        Ok(v1::Consistency::Follower) => Ok(Some(Consistency::Follower)),
        Ok(v1::Consistency::Stale) => Ok(Some(Consistency::Stale { max_ms: max_stale_ms })),
        Err(_) => Err(Error::invalid(format!(
            "there is no consistency {number}; they are 0 (default), 1 (one), 2 (quorum), 3 (all), \
             4 (lease), 5 (safe), 6 (follower), 7 (stale)"
        ))),
    }
}

/// The message form of a consistency, and how old an answer may be in milliseconds; nothing stands
/// for the keyspace's default.
#[must_use]
pub const fn wire_consistency(level: Option<Consistency>) -> (v1::Consistency, u32) {
    let level = match level {
        None => v1::Consistency::Unspecified,
        Some(Consistency::One) => v1::Consistency::One,
        Some(Consistency::Quorum) => v1::Consistency::Quorum,
        Some(Consistency::All) => v1::Consistency::All,
        Some(Consistency::Lease) => v1::Consistency::Lease,
        Some(Consistency::Safe) => v1::Consistency::Safe,
        Some(Consistency::Follower) => v1::Consistency::Follower,
        Some(Consistency::Stale { max_ms }) => return (v1::Consistency::Stale, max_ms),
    };
    (level, 0)
}

/// The version a text names; nothing when it is empty.
///
/// # Errors
/// [`Error::Invalid`] that shows the form.
pub fn version(text: &str) -> Result<Option<Version>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Error::invalid(format!("{text:?}: {error}")))
}

/// The message form of a version that may not exist.
#[must_use]
pub fn wire_version(version: Option<Version>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

/// What a read needs, from the flag of the request.
#[must_use]
pub const fn want(header_only: bool) -> Want {
    if header_only { Want::Header } else { Want::Value }
}

impl From<&mut v1::GetRequest> for Op {
    fn from(request: &mut v1::GetRequest) -> Op {
        Op::Get { key: std::mem::take(&mut request.key), want: want(request.header_only) }
    }
}

impl TryFrom<&mut v1::PutRequest> for Op {
    type Error = Error;

    fn try_from(request: &mut v1::PutRequest) -> Result<Op, Error> {
        let expiry = match request.expiry {
            None => Expiry::Never,
            Some(WireExpiry::TtlMs(ms)) => Expiry::After(limits::check_ttl(ms)?),
            Some(WireExpiry::ExpiresAtMs(0)) => {
                return Err(Error::invalid("expires_at_ms is 0; leave it out for never"));
            }
            Some(WireExpiry::ExpiresAtMs(ms)) => Expiry::At(ms),
        };
        Ok(Op::Put {
            key: std::mem::take(&mut request.key),
            value: std::mem::take(&mut request.value),
            expiry,
            tag: request.tag,
        })
    }
}

impl From<&mut v1::DeleteRequest> for Op {
    fn from(request: &mut v1::DeleteRequest) -> Op {
        Op::Delete { key: std::mem::take(&mut request.key) }
    }
}

impl From<Item> for v1::GetResponse {
    fn from(item: Item) -> v1::GetResponse {
        v1::GetResponse {
            found: true,
            value: item.value,
            version: item.header.version.to_string(),
            expires_at_ms: item.header.expire_ms,
            value_length: item.header.value_len,
            tag: item.header.tag,
        }
    }
}

impl From<Item> for v1::Item {
    fn from(item: Item) -> v1::Item {
        v1::Item {
            key: item.key,
            value: item.value,
            version: item.header.version.to_string(),
            expires_at_ms: item.header.expire_ms,
            value_length: item.header.value_len,
            tag: item.header.tag,
        }
    }
}

impl From<Error> for v1::Failure {
    fn from(error: Error) -> v1::Failure {
        v1::Failure {
            code: error.code().to_owned(),
            executed: error.executed().to_string(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
