//! Slots: the only hash of a key.

/// How many slots there are, as in Redis Cluster.
pub const SLOTS: u16 = 16384;

/// A slot: CRC16 (XMODEM) of the key, or of its hash tag, modulo [`SLOTS`]
/// (Redis Cluster specification, "Key distribution model" and "Hash tags").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot `n`, if it is below [`SLOTS`].
    #[must_use]
    pub const fn new(n: u16) -> Option<Slot> {
        if n < SLOTS { Some(Slot(n)) } else { None }
    }

    /// The slot of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(hash_tag(key)) % SLOTS)
    }

    /// The number of the slot, below [`SLOTS`].
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The part of a key that is hashed: what stands between the first `{` and the first `}` behind
/// it, if that is not empty; otherwise the whole key.
fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = key.iter().position(|&b| b == b'{')?;
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|&b| b == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    tag().unwrap_or(key)
}

const CRC16_TABLE: [u16; 256] = crc16_table();

// Constant evaluation: an index out of range would not compile.
#[allow(clippy::indexing_slicing)]
const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

// The index is one byte and the table has 256 entries.
#[allow(clippy::indexing_slicing)]
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &b| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ b)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn hash_tags_follow_the_cluster_specification() {
        assert_eq!(hash_tag(b"{user1000}.following"), b"user1000");
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
    }

    #[test]
    fn slots_match_redis() {
        assert_eq!(Slot::of(b"foo").get(), 12182);
        assert_eq!(Slot::of(b"bar").get(), 5061);
        assert_eq!(Slot::of(b"").get(), 0);
    }
}
