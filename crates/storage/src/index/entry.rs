//! What the index knows of a key: where its newest record lies, and all of it but key and value.

use kvorum_core::{Header, Hlc, Version, Writer};

use crate::log::RECORD_HEADER;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// Zero for nowhere: the record is lost.
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Address {
    pub(crate) const NOWHERE: Address = Address { segment: 0, offset: 0 };
}

/// What the index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    hlc: u64,
    expire_ms: u64,
    writer: u32,
    tag: u32,
    value_len: u32,
    address: Address,
    flags: u8,
}

impl Entry {
    const TOMBSTONE: u8 = 1;
    const CORRUPT: u8 = 2;
    const LOST: u8 = 4;
    const COPIED: u8 = 8;
    /// The flags that a checkpoint keeps.
    const KEPT: u8 = Entry::TOMBSTONE | Entry::CORRUPT | Entry::LOST;

    pub(crate) const fn new(header: &Header, address: Address) -> Entry {
        Entry {
            hlc: header.version.hlc.0,
            expire_ms: header.expire_ms,
            writer: header.version.writer.0,
            tag: header.tag,
            value_len: header.value_len,
            address,
            flags: if header.tombstone { Entry::TOMBSTONE } else { 0 },
        }
    }

    pub(crate) const fn header(&self) -> Header {
        Header {
            version: self.version(),
            tombstone: self.tombstone(),
            tag: self.tag,
            expire_ms: self.expire_ms,
            value_len: self.value_len,
        }
    }

    pub(crate) const fn version(&self) -> Version {
        Version { hlc: Hlc(self.hlc), writer: Writer(self.writer) }
    }

    pub(crate) const fn address(&self) -> Address {
        self.address
    }

    pub(crate) const fn tombstone(&self) -> bool {
        self.flags & Entry::TOMBSTONE != 0
    }

    /// Something that may be purged some day: a tombstone, or a record that expires.
    pub(crate) const fn mortal(&self) -> bool {
        self.tombstone() || self.expire_ms != 0
    }

    /// The record fails its checksum or is lost.
    pub(crate) const fn corrupt(&self) -> bool {
        self.flags & Entry::CORRUPT != 0
    }

    /// The address is that of a record that says so, or nowhere.
    pub(crate) const fn lost(&self) -> bool {
        self.flags & Entry::LOST != 0
    }

    /// The record was durable elsewhere before compaction copied it here.
    pub(crate) const fn copied(&self) -> bool {
        self.flags & Entry::COPIED != 0
    }

    pub(crate) const fn mark_corrupt(&mut self) {
        self.flags |= Entry::CORRUPT;
    }

    pub(crate) const fn mark_copied(&mut self) {
        self.flags |= Entry::COPIED;
    }

    /// The bytes of the record are gone; what is known of it lies at `address`, if anywhere.
    pub(crate) const fn lose(&mut self, address: Address) {
        self.flags |= Entry::CORRUPT | Entry::LOST;
        self.address = address;
    }

    /// A verified copy of the record lies at `address`.
    pub(crate) const fn move_to(&mut self, address: Address) {
        self.address = address;
        self.flags &= !(Entry::CORRUPT | Entry::LOST);
    }

    /// Length of the record at the address, in bytes.
    pub(crate) const fn stored_len(&self, key_len: usize) -> usize {
        RECORD_HEADER + key_len + if self.lost() { 0 } else { self.value_len as usize }
    }

    /// The flags that a checkpoint keeps.
    pub(crate) const fn kept_flags(&self) -> u8 {
        self.flags & Entry::KEPT
    }

    /// An entry with flags read from a checkpoint; nothing if they mean nothing.
    pub(crate) fn with_flags(mut self, flags: u8) -> Option<Entry> {
        self.flags = flags;
        (flags & !Entry::KEPT == 0).then_some(self)
    }
}
