//! A strong keyspace on its own, for the tests of other crates: the real state machine and a store
//! in memory, without a log, peers or a leader. What it is asked happens at once.

use std::ops::RangeInclusive;

use kvorum_core::{Error, Hlc, Op, Outcome, Reply, Request, Slot};

use super::machine::{self, Apply, Overlay};
use super::options::Limits;
use super::serve::{NotYet, Reader};
use crate::memory_store::MemoryStore;

/// The keys of strong keyspaces.
#[derive(Debug, Default)]
pub struct Solo {
    store: MemoryStore,
    clock: Hlc,
}

impl Solo {
    /// Does what a request asks, at a time in milliseconds since 1970. A scan or a count is about
    /// the slots that are given.
    ///
    /// # Errors
    /// What the replicas of a partition would answer.
    pub fn run(
        &mut self,
        request: &Request,
        slots: &RangeInclusive<Slot>,
        wall_ms: u64,
    ) -> Outcome<Reply> {
        if let Op::Txn(txn) = &request.op {
            let mut keys = txn.keys().map(|key| Slot::of(key));
            let first = keys.next().ok_or(Error::invalid("the transaction is empty"))?;
            if keys.any(|slot| slot != first) {
                return Err(Error::CrossSlot);
            }
        }
        if !request.op.is_write() {
            let store = &mut self.store;
            let mut reader = Reader { store, slots, time_ms: wall_ms, wall_ms };
            return match reader.answer(request) {
                Ok(outcome) => outcome,
                Err(NotYet::TimeMustPass | NotYet::Damaged(_)) => {
                    Err(Error::invalid("the store in memory is damaged"))
                }
            };
        }
        let command = machine::command(request.keyspace, None, None, request.op.clone())
            .ok_or(Error::invalid("this is no write"))?;
        self.clock = self.clock.next().max(Hlc::from_wall_ms(wall_ms));
        let mut overlay = Overlay::default();
        let mut apply = Apply {
            store: &mut self.store,
            overlay: &mut overlay,
            version: Apply::version(self.clock, 0),
            time_ms: wall_ms,
            max_bytes: Limits::SERVER.max_write_bytes,
        };
        let done = apply.run(&command, 2).map_err(|_| Error::invalid("the store is damaged"));
        overlay.commit(Vec::new(), &mut self.store);
        self.store.sync();
        done
    }
}
