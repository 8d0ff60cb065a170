//! Versions: the total order of all mutations of a key.
//!
//! A version is a hybrid logical clock reading (Kulkarni et al., "Logical Physical Clocks", 2014)
//! and the writer that stamped it. Two mutations never share a version, because a writer stamps
//! strictly increasing readings and its start number is new (and durable) at every start.

use std::fmt;
use std::str::FromStr;

use crate::NodeId;

/// Milliseconds from 1970-01-01 to 2020-01-01 UTC, the epoch of [`Hlc`].
const EPOCH_MS: u64 = 1_577_836_800_000;
const COUNTER_BITS: u32 = 16;

/// A hybrid logical clock reading: 48 bits of milliseconds since 2020-01-01 UTC, then a 16-bit
/// counter that carries into the milliseconds when it overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first reading of the wall-clock millisecond `wall_ms` (since 1970).
    #[must_use]
    pub const fn from_wall_ms(wall_ms: u64) -> Hlc {
        Hlc(wall_ms.saturating_sub(EPOCH_MS) << COUNTER_BITS)
    }

    /// The wall-clock millisecond (since 1970) this reading lies in.
    #[must_use]
    pub const fn wall_ms(self) -> u64 {
        (self.0 >> COUNTER_BITS) + EPOCH_MS
    }

    /// The next reading.
    #[must_use]
    pub const fn next(self) -> Hlc {
        Hlc(self.0.saturating_add(1))
    }
}

/// Who stamped a version: a node's short id (20 bits) and its start number (12 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(pub u32);

impl Writer {
    /// The number of start numbers; after the last the count begins again at zero.
    pub const STARTS: u32 = 1 << 12;

    /// The writer for node `node` in its start number `start` (taken modulo [`Writer::STARTS`]).
    #[must_use]
    pub const fn new(node: NodeId, start: u32) -> Writer {
        Writer((node.get() << 12) | (start % Self::STARTS))
    }

    /// The start number, below [`Writer::STARTS`].
    #[must_use]
    pub const fn start(self) -> u32 {
        self.0 % Self::STARTS
    }
}

/// The version of a record; larger wins, everywhere and for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When, by the writer's hybrid clock.
    pub hlc: Hlc,
    /// By whom.
    pub writer: Writer,
}

impl Version {
    /// Encoded length in bytes.
    pub const LEN: usize = 12;
}

/// Sixteen and eight hexadecimal digits with a dash between: sorts like the version itself.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}", self.hlc.0, self.writer.0)
    }
}

/// Reads what [`Display`](fmt::Display) wrote.
impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Version, InvalidVersion> {
        let (hlc, writer) = text.split_once('-').ok_or(InvalidVersion)?;
        if hlc.len() != 16 || writer.len() != 8 {
            return Err(InvalidVersion);
        }
        let hlc = u64::from_str_radix(hlc, 16).map_err(|_| InvalidVersion)?;
        let writer = u32::from_str_radix(writer, 16).map_err(|_| InvalidVersion)?;
        Ok(Version { hlc: Hlc(hlc), writer: Writer(writer) })
    }
}

/// A text that is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 16 hexadecimal digits, a dash and 8 hexadecimal digits")]
pub struct InvalidVersion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_sorts_like_the_version() {
        let older = Version { hlc: Hlc::from_wall_ms(1_700_000_000_000), writer: Writer(7) };
        let newer = Version { hlc: older.hlc.next(), writer: Writer(1) };
        assert!(older < newer);
        assert!(older.to_string() < newer.to_string());
        assert_eq!(newer.to_string().parse(), Ok(newer));
        assert_eq!("+00000000000001-00000000".parse::<Version>(), Err(InvalidVersion));
    }

    #[test]
    fn a_reading_keeps_its_millisecond() {
        assert_eq!(Hlc::from_wall_ms(1_700_000_000_123).wall_ms(), 1_700_000_000_123);
    }
}
