//! Keys as the index holds them: short ones in place, long ones on the heap.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// The longest key that needs no allocation, in bytes.
const INLINE: usize = 22;
/// What the allocator takes beside the bytes of a long key.
const HEAP_OVERHEAD: usize = 16;

/// A key of 24 bytes in place; it compares as its bytes do.
#[derive(Clone, Debug)]
pub(crate) enum IndexKey {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl IndexKey {
    pub(crate) fn new(key: &[u8]) -> IndexKey {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(key);
                IndexKey::Inline { len, bytes }
            }
            _ => IndexKey::Heap(key.into()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            IndexKey::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            IndexKey::Heap(bytes) => bytes,
        }
    }

    /// Bytes on the heap that a key of this length takes.
    pub(crate) const fn heap_bytes(len: usize) -> usize {
        if len <= INLINE { 0 } else { len + HEAP_OVERHEAD }
    }
}

impl Borrow<[u8]> for IndexKey {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for IndexKey {
    fn eq(&self, other: &IndexKey) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for IndexKey {}

impl PartialOrd for IndexKey {
    fn partial_cmp(&self, other: &IndexKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IndexKey {
    fn cmp(&self, other: &IndexKey) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_keep_their_bytes_and_order() {
        assert_eq!(size_of::<IndexKey>(), 24);
        for len in [0, 1, 21, 22, 23, 4096] {
            let bytes = vec![7; len];
            assert_eq!(IndexKey::new(&bytes).as_slice(), bytes);
        }
        assert!(IndexKey::new(&[1; 22]) < IndexKey::new(&[1; 23]));
        assert!(IndexKey::new(&[2; 22]) > IndexKey::new(&[1; 23]));
    }
}
