//! The limits of what a client may send; every front end enforces the same ones.

use std::time::Duration;

use crate::Error;

/// The longest key, in bytes. The shortest is one byte.
pub const MAX_KEY: usize = 4096;
/// The longest value unless configured otherwise, in bytes.
pub const DEFAULT_MAX_VALUE: usize = 1 << 20;
/// The longest value that can be configured, in bytes.
pub const HARD_MAX_VALUE: usize = 16 << 20;
/// The most comparisons and steps a transaction has together.
pub const MAX_TXN_OPS: usize = 1024;
/// The most bytes of values that the answer to a transaction tells; one value is told whatever its
/// length.
pub const MAX_TXN_ANSWER: usize = 8 << 20;
/// The deadline of a request that names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest deadline a request may name.
pub const MAX_DEADLINE: Duration = Duration::from_secs(30);
/// The longest time to live, in milliseconds: about a hundred years.
pub const MAX_TTL_MS: u64 = 3_155_760_000_000;
/// How far ahead of a replica's clock a client write's version may be, in milliseconds.
pub const MAX_SKEW_MS: u64 = 500;

/// Checks the length of a key.
///
/// # Errors
/// [`Error::Invalid`] that names the limit.
pub fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::invalid("Key must not be empty")),
        1..=MAX_KEY => Ok(()),
        len => Err(Error::invalid(format!("key is {len} bytes long; the limit is {MAX_KEY}"))),
    }
}

/// Checks a time to live in milliseconds.
///
/// # Errors
/// [`Error::Invalid`] outside of 1..=[`MAX_TTL_MS`].
pub fn check_ttl(ms: u64) -> Result<Duration, Error> {
    if (1..=MAX_TTL_MS).contains(&ms) {
        Ok(Duration::from_millis(ms))
    } else {
        Err(Error::invalid(format!("ttl_ms is {ms}; it lies between 1 and {MAX_TTL_MS}")))
    }
}

/// Checks the length of a value against the configured limit.
///
/// # Errors
/// [`Error::Invalid`] that names the limit.
pub fn check_value(len: usize, limit: usize) -> Result<(), Error> {
    if len <= limit {
        Ok(())
    } else {
        Err(Error::invalid(format!("value is {len} bytes long; the limit is {limit}")))
    }
}
