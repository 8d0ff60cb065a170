//! The sixteen chunks in which a3.store compares its nodes: a view of the texts of a keyspace, which
//! says nothing about where kvorum keeps them.
//!
//! A chunk is read in two steps, so that memory is bounded whatever the values: the keyspace is
//! scanned without values, and the keys of the chunk are kept and sorted; then their values are
//! read in that order, some at a time. Both go through the same coordinators as every read, so
//! all nodes tell the same of a chunk to which nobody writes meanwhile. Keys and values that are
//! not UTF-8 cannot be told in these messages and are left out.

use bytes::Bytes;
use kvorum_core::{Error, Identity, Item, Op, Outcome, Want};

use super::{Call, Data, Lookup, Scan};

/// How many chunks there are.
const CHUNKS: u8 = 16;
/// How many items a page of the first step has at most.
const PAGE_ITEMS: usize = 1000;
/// How many keys are read at once at most.
const READ_KEYS: usize = 128;
/// Bytes of values after which no more are read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes of the keys of a chunk, beyond which it is not read.
const MAX_KEY_BYTES: usize = 64 << 20;
/// Bytes that a key takes in memory beside its own.
const KEY_OVERHEAD: usize = 64;

/// One of the sixteen chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk(u8);

impl Chunk {
    /// The chunk with a number.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is 0 to 15.
    pub fn new(id: i32) -> Outcome<Chunk> {
        let chunk = u8::try_from(id).ok().filter(|id| *id < CHUNKS).map(Chunk);
        chunk.ok_or_else(|| Error::invalid(format!("chunk_id is {id}; chunks are 0 to 15")))
    }

    /// The chunk of a key: its CRC-32 (ISO-HDLC, as in zlib) modulo sixteen.
    #[must_use]
    pub fn of(key: &[u8]) -> Chunk {
        Chunk(crc32(key) as u8 % CHUNKS)
    }
}

/// A text with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// When it was stored, in milliseconds since 1970, as its version tells.
    pub modified_at: i64,
}

/// The keys of a chunk, to be read in their order.
#[derive(Debug)]
pub struct ChunkReader {
    data: Data,
    identity: Identity,
    keys: std::vec::IntoIter<Place>,
}

/// A key and the length of its value, as it was when the keys were gathered.
#[derive(Debug)]
struct Place {
    key: String,
    value_len: usize,
}

impl Data {
    /// Gathers the keys of a chunk of the keyspace of the reference systems.
    ///
    /// # Errors
    /// Those of a scan; [`Error::Invalid`] if the keys of the chunk take more than 64 MiB.
    pub async fn chunk(&self, identity: &Identity, chunk: Chunk) -> Outcome<ChunkReader> {
        let mut scan = Scan {
            keyspace: self.compat_keyspace().to_owned(),
            prefix: Bytes::new(),
            from: None,
            limit: PAGE_ITEMS,
            want: Want::Header,
            consistency: None,
            timeout: None,
        };
        let (mut keys, mut bytes) = (Vec::new(), 0);
        loop {
            let page = self.scan(identity, &scan).await?;
            for place in page.items.iter().filter_map(|item| place_in(chunk, item)) {
                bytes += place.key.len() + KEY_OVERHEAD;
                keys.push(place);
            }
            if bytes > MAX_KEY_BYTES {
                return Err(TOO_LONG);
            }
            scan.from = page.next;
            if scan.from.is_none() {
                break;
            }
        }
        keys.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(ChunkReader { data: self.clone(), identity: identity.clone(), keys: keys.into_iter() })
    }
}

/// The refusal of a chunk whose keys take too much memory.
const TOO_LONG: Error = Error::Invalid(std::borrow::Cow::Borrowed(
    "the keys of this chunk take more than 64 MiB; read the keyspace with kvorum.v1.Kv/Scan",
));

impl ChunkReader {
    /// The next pairs, sorted by key; nothing at the end. Keys that were deleted or got a value
    /// that is no text meanwhile are left out.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn next(&mut self) -> Outcome<Option<Vec<Pair>>> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        while keys.len() < READ_KEYS && bytes < READ_BYTES {
            let Some(Place { key, value_len }) = self.keys.next() else { break };
            bytes += value_len;
            keys.push(key);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let keyspace = self.data.compat_keyspace();
        let get = |key: &String| {
            let op = Op::Get { key: Bytes::copy_from_slice(key.as_bytes()), want: Want::Value };
            Ok(Call::new(keyspace, op))
        };
        let replies = self.data.run_all(&self.identity, keys.iter().map(get).collect()).await?;
        let mut pairs = Vec::with_capacity(keys.len());
        for (key, reply) in keys.into_iter().zip(replies) {
            if let Lookup::Found(item) = Lookup::try_from(reply?)? {
                pairs.extend(pair(key, item));
            }
        }
        Ok(Some(pairs))
    }
}

/// The place of an item if its key is a text of this chunk.
fn place_in(chunk: Chunk, item: &Item) -> Option<Place> {
    if Chunk::of(&item.key) != chunk {
        return None;
    }
    // A text of its own: the key of the item keeps a whole page in memory.
    let key = std::str::from_utf8(&item.key).ok()?.to_owned();
    let value_len = usize::try_from(item.header.value_len).unwrap_or(usize::MAX);
    Some(Place { key, value_len })
}

fn pair(key: String, item: Item) -> Option<Pair> {
    let modified_at = i64::try_from(item.header.version.hlc.wall_ms()).unwrap_or(i64::MAX);
    let value = String::from_utf8(item.value.into()).ok()?;
    Some(Pair { key, value, modified_at })
}

const CRC32_TABLE: [u32; 256] = crc32_table();

// Constant evaluation: an index out of range would not compile.
#[allow(clippy::indexing_slicing)]
const fn crc32_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

// The index is one byte and the table has 256 entries.
#[allow(clippy::indexing_slicing)]
fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc: u32, &byte| (crc >> 8) ^ CRC32_TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// As `zlib.crc32(key) % 16` of Python says.
    #[test]
    fn chunks_are_those_of_the_reference_system() {
        let chunks = ["", "k", "key-1", "user:42", "größe"].map(|key| Chunk::of(key.as_bytes()).0);
        assert_eq!(chunks, [0, 13, 10, 6, 9]);
    }

    #[test]
    fn a_number_that_no_chunk_has_is_refused() {
        assert_eq!(Chunk::new(15), Ok(Chunk(15)));
        for id in [-1, 16, i32::MIN, i32::MAX] {
            assert!(Chunk::new(id).unwrap_err().to_string().contains("0 to 15"));
        }
    }
}
