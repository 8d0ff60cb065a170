//! The replica's side: storing records, and telling what is stored.

use bytes::Bytes;
use kvorum_core::{
    Cursor, Hlc, KeyspaceId, Lsn, NodeId, ReadError, Record, Refused, ScanLimit, Slot, Stored,
    Want, limits,
};

use super::Options;
use super::floor::Floor;
use super::quarantine::{self, Cause, Entry};
use crate::{
    Context, Event, Found, Message, OpId, PageItem, Report, ScannedPage, Status, WriteKind,
};

/// The most a page may hold, whatever a peer asks for; the first item always fits.
pub const PAGE: ScanLimit = ScanLimit { items: 1024, bytes: 256 << 10 };

/// A request for a page, as it came from a peer.
pub(super) struct PageRequest {
    pub(super) keyspace: KeyspaceId,
    pub(super) from: Cursor,
    pub(super) prefix: Bytes,
    pub(super) limit: ScanLimit,
    pub(super) want: Want,
}

/// The local replica while it handles one message of a coordinator.
pub(super) struct Server<'a, 'c> {
    pub(super) options: &'a Options,
    /// The local data is incomplete: nothing may be concluded from it.
    pub(super) rebuilding: bool,
    /// It is not known yet what is settled: nothing may be stored.
    pub(super) blind: bool,
    pub(super) floor: &'a Floor,
    pub(super) ctx: &'a mut Context<'c>,
}

impl Server<'_, '_> {
    /// Stores a record unless a newer one is stored, and tells the coordinator.
    pub(super) fn write(&mut self, from: NodeId, op: OpId, record: Record, kind: WriteKind) {
        let (status, after) = self.apply(record, kind);
        let status = match status {
            Status::Applied { .. } | Status::Superseded(_)
                if self.rebuilding && !self.options.acknowledges_while_rebuilding() =>
            {
                Status::Rebuilding
            }
            status => status,
        };
        if matches!(status, Status::Superseded(_)) {
            self.ctx.out.count(Event::Superseded);
        }
        if op != OpId::NONE {
            self.answer(from, Message::Written { op, status }, after);
        }
    }

    /// What becomes of a record, and the LSN that must be durable before anybody is told.
    pub(super) fn apply(&mut self, record: Record, kind: WriteKind) -> (Status, Option<Lsn>) {
        if !self.options.holds(record.keyspace, record.slot) {
            return (Status::NotReplica, None);
        }
        if self.blind {
            return (Status::Rebuilding, None);
        }
        let stored = self.ctx.store.header(record.keyspace, record.slot, &record.key);
        let was_live = stored.is_some_and(|s| s.header.live_at(self.ctx.now.wall_ms));
        if let Some(Stored { header, pending, corrupt }) = stored {
            if header.version > record.version {
                return (Status::Superseded(header.version), pending);
            }
            if header.version == record.version {
                let promise = self.floor.refused_to_clients();
                if kind == WriteKind::Client
                    && header.version.hlc <= promise
                    && !self.options.takes_late_writes()
                {
                    // A repair may have brought it after the promise: acknowledged now, it would lie
                    // below the floor without any comparison having seen it. A whole copy of one that
                    // is damaged comes as a repair.
                    return (Status::Late(promise), pending);
                }
                if !corrupt {
                    return (Status::Applied { was_live }, pending);
                }
            }
        }
        if let Some(late) = self.refuse_late(&record, kind, stored) {
            return (late, None);
        }
        let trusts = self.options.accepts_the_future();
        if kind == WriteKind::Client && !trusts && self.is_from_the_future(&record) {
            return (Status::ClockSkew, None);
        }
        let version = record.version;
        match self.ctx.store.put(record) {
            Ok(lsn) => {
                self.ctx.clock.observe(version.hlc);
                (Status::Applied { was_live }, Some(lsn))
            }
            Err(Refused::DiskFull | Refused::TooLarge) => (Status::DiskFull, None),
            Err(Refused::IndexFull) => (Status::IndexFull, None),
            Err(Refused::FrameFull) => (Status::Overloaded, None),
        }
    }

    /// A write that would change something although everything up to it is settled, or promised to
    /// be, changes nothing. A whole copy of a damaged record is no change.
    fn refuse_late(
        &mut self,
        record: &Record,
        kind: WriteKind,
        stored: Option<Stored>,
    ) -> Option<Status> {
        let hlc = record.version.hlc;
        let floor = match self.options.takes_what_is_settled() {
            true => Hlc::default(),
            false => self.floor.refused(),
        };
        let limit = match kind {
            WriteKind::Client if !self.options.takes_late_writes() => {
                floor.max(self.floor.refused_to_clients())
            }
            _ => floor,
        };
        if hlc > limit || stored.is_some_and(|stored| stored.header.version == record.version) {
            return None;
        }
        // What deletes nothing here would be removed at once.
        if hlc <= floor && (stored.is_some() || !record.header().may_be_purged(floor)) {
            self.set_aside(record, kind);
        }
        Some(Status::Late(limit))
    }

    /// Keeps what was refused although somebody may have meant it.
    fn set_aside(&mut self, record: &Record, kind: WriteKind) {
        let Record { keyspace, slot, version, .. } = *record;
        let cause = match kind {
            WriteKind::Client => Cause::Client,
            WriteKind::Repair => Cause::Repair,
        };
        let key = record.key.clone();
        self.ctx.out.report(Report::LateRefused { keyspace, slot, key, version, kind });
        let (since_ms, header) = (self.ctx.now.wall_ms, record.header());
        let (key, value) = (record.key.clone(), record.value.clone());
        let entry = Entry { cause, since_ms, keyspace, slot, key, header, value };
        let most = self.options.limits.quarantine_bytes;
        if quarantine::keep(self.ctx, most, entry, Vec::new()).is_err() {
            self.ctx.out.count(Event::QuarantineDropped);
        }
    }

    /// Nothing far ahead of time is ever stored: it would win over everything written until then.
    fn is_from_the_future(&self, record: &Record) -> bool {
        let own = self.ctx.now.wall_ms.max(self.ctx.clock.latest().wall_ms());
        record.version.hlc.wall_ms() > own.saturating_add(limits::MAX_SKEW_MS)
    }

    /// Tells a coordinator what is stored for a key.
    pub(super) fn read(
        &mut self,
        from: NodeId,
        op: OpId,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
        want: Want,
    ) {
        let (found, after) = if !self.options.holds(keyspace, slot) {
            (Found::NotReplica, None)
        } else if self.rebuilding {
            (Found::Rebuilding, None)
        } else {
            match want {
                Want::Header => self.header(keyspace, slot, key),
                Want::Value => self.value(keyspace, slot, key),
            }
        };
        self.answer(from, Message::Held { op, found }, after);
    }

    fn header(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> (Found, Option<Lsn>) {
        match self.ctx.store.header(keyspace, slot, key) {
            None => (self.absent(), None),
            Some(stored) if stored.corrupt => (Found::Corrupt(stored.header), stored.pending),
            Some(stored) => (Found::Header(stored.header), stored.pending),
        }
    }

    fn value(&mut self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> (Found, Option<Lsn>) {
        match self.ctx.store.value(keyspace, slot, key) {
            Ok(None) => (self.absent(), None),
            Ok(Some((stored, value))) => (Found::Record(stored.header, value), stored.pending),
            Err(ReadError::Corrupt(header)) => {
                self.ctx.out.count(Event::Corrupt);
                (Found::Corrupt(header), None)
            }
        }
    }

    /// Nothing is stored, and the floor tells since when that is settled.
    const fn absent(&self) -> Found {
        Found::Absent { floor: self.floor.floor() }
    }

    /// Sends a coordinator one page of what is stored.
    pub(super) fn page(&mut self, from: NodeId, op: OpId, request: &PageRequest) {
        let held = self.options.holds(request.keyspace, request.from.slot);
        if !held || self.rebuilding {
            self.answer(from, Message::Scanned { op, page: None }, None);
            return;
        }
        let limit = ScanLimit {
            items: request.limit.items.clamp(1, PAGE.items),
            bytes: request.limit.bytes.min(PAGE.bytes),
        };
        let last = *self.options.slots.end();
        let PageRequest { keyspace, from: start, prefix, want, .. } = request;
        let page = self.ctx.store.page(*keyspace, start, last, prefix, limit, *want);
        let after = page.items.iter().filter_map(|(_, stored)| stored.pending).max();
        let damaged = page.items.iter().filter(|(_, stored)| stored.corrupt).count();
        for _ in 0..damaged {
            self.ctx.out.count(Event::Corrupt);
        }
        let items = page.items.into_iter().map(|(record, stored)| page_item(record, stored, *want));
        let (floor, promise) = (self.floor.floor(), self.floor.promise());
        let page = Some(ScannedPage { items: items.collect(), next: page.next, floor, promise });
        self.answer(from, Message::Scanned { op, page }, after);
    }

    fn answer(&mut self, to: NodeId, message: Message, after: Option<Lsn>) {
        let after = after.filter(|_| !self.options.reveals_before_durable());
        self.ctx.out.send_after(after, to, message);
    }
}

fn page_item(record: Record, stored: Stored, want: Want) -> PageItem {
    let value = match want {
        Want::Value if stored.header.tombstone => Some(Bytes::new()),
        Want::Value if !stored.corrupt => Some(record.value.unwrap_or_default()),
        _ => None,
    };
    PageItem { slot: record.slot, key: record.key, header: stored.header, value }
}
