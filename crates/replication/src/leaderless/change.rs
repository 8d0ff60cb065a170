//! What a client wants stored, before it is stamped.

use bytes::Bytes;
use kvorum_core::{Consistency, Expiry, Hlc, KeyspaceId, Outcome, Record, Slot, Version};

use super::coordinator::{Client, Coordinator};
use super::write::Write;

/// What a client wants stored.
pub(super) struct Change {
    pub(super) keyspace: KeyspaceId,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) expiry: Expiry,
    pub(super) tag: u32,
}

impl Change {
    /// Stamps the write and sends it, if enough members can take it.
    pub(super) fn start(
        self,
        at: &mut Coordinator<'_, '_>,
        client: Client,
        consistency: Consistency,
    ) -> Outcome<Write> {
        let slot = at.options.slot_of(self.keyspace, &self.key)?;
        at.require(consistency.required(at.options.members.len()))?;
        let mut version = at.ctx.clock.tick(at.ctx.now.wall_ms);
        if at.options.stamps_with_wall_clock() {
            version.hlc = Hlc::from_wall_ms(at.ctx.now.wall_ms);
        }
        let mut write = Write::new(at.options, client, consistency, self.record(slot, version));
        write.send(at);
        Ok(write)
    }

    fn record(self, slot: Slot, version: Version) -> Record {
        let Change { keyspace, key, value, expiry, tag } = self;
        // Zero would mean never.
        let expire_ms = match expiry {
            Expiry::Never => 0,
            Expiry::At(wall_ms) => wall_ms.max(1),
            Expiry::After(span) => {
                let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                version.hlc.wall_ms().saturating_add(span)
            }
        };
        Record { keyspace, slot, key, version, tag, expire_ms, value }
    }
}
