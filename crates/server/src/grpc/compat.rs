//! The gRPC services of the reference systems, package `kv`: text keys and values in the
//! keyspace that was configured for them.

mod key_value;
mod kv_store;
mod ration;
mod replicator;

use kvorum_core::{Error, Header};
use tonic::{Request, Status};

use super::caller::{Caller, Gate};
use super::status::refuse;
use crate::data::Text;

pub use key_value::KeyValueService;
pub use kv_store::KvStoreService;
pub use replicator::ReplicatorService;

impl Gate {
    async fn get_text(
        &self,
        caller: &Caller,
        key: String,
    ) -> Result<Option<(Header, String)>, Status> {
        let found = self.data.get_text(&caller.identity, key.into(), caller.timeout(0)).await;
        match found.map_err(refuse)? {
            Text::Found(header, text) => Ok(Some((header, text))),
            Text::Missing => Ok(None),
            Text::Bytes => Err(refuse(Error::invalid(
                "the value of this key is not UTF-8; read it with kvorum.v1.Kv/Get",
            ))),
        }
    }

    async fn put_text(&self, caller: &Caller, key: String, value: String) -> Result<(), Status> {
        let timeout = caller.timeout(0);
        let done = self.data.put_text(&caller.identity, key.into(), value, 0, timeout).await;
        done.map(drop).map_err(refuse)
    }
}

fn open<T>(gate: &Gate, request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = gate.caller(request.metadata()).map_err(refuse)?;
    Ok((caller, request.into_inner()))
}

#[cfg(test)]
mod tests;
