//! The gRPC services of the reference systems, package `kv`: text keys and values in the
//! keyspace that was configured for them.

mod key_value;
mod kv_store;
mod replicator;

use bytes::Bytes;
use kvorum_core::{Error, Expiry, Item, Op, Outcome, Want};
use tonic::{Request, Status};

use super::caller::{Caller, Gate};
use super::status::refuse;
use crate::data::{Call, Lookup, Written};

pub use key_value::KeyValueService;
pub use kv_store::KvStoreService;
pub use replicator::ReplicatorService;

impl Gate {
    async fn get_text(&self, caller: &Caller, key: String) -> Outcome<Option<(Item, String)>> {
        let op = Op::Get { key: Bytes::from(key), want: Want::Value };
        match self.run_compat(caller, op).await?.try_into()? {
            Lookup::Missing(_) => Ok(None),
            Lookup::Found(item) => {
                let text = String::from_utf8(item.value.to_vec()).map_err(|_| not_text())?;
                Ok(Some((item, text)))
            }
        }
    }

    async fn put_text(&self, caller: &Caller, key: String, value: String) -> Outcome<Written> {
        let (key, value) = (Bytes::from(key), Bytes::from(value));
        let op = Op::Put { key, value, expiry: Expiry::Never, tag: 0 };
        self.run_compat(caller, op).await?.try_into()
    }

    async fn delete_text(&self, caller: &Caller, key: String) -> Outcome<Written> {
        self.run_compat(caller, Op::Delete { key: Bytes::from(key) }).await?.try_into()
    }

    async fn run_compat(&self, caller: &Caller, op: Op) -> Outcome<kvorum_core::Reply> {
        let timeout = caller.timeout(0);
        let call = Call { timeout, ..Call::new(self.data.compat_keyspace(), op) };
        self.data.run(&caller.identity, call).await
    }
}

fn open<T>(gate: &Gate, request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = gate.caller(request.metadata()).map_err(refuse)?;
    Ok((caller, request.into_inner()))
}

/// Another interface may have stored bytes that are no text.
fn not_text() -> Error {
    Error::invalid("the value of this key is not UTF-8; read it with kvorum.v1.Kv/Get")
}

#[cfg(test)]
mod tests;
