//! kvorum's own gRPC client, for tests that do not run a runtime of their own, and one without any
//! help for what that one decides by itself.

use kvorum_client::{Client, Error, Found, NodeInfo, NodeStatus, Options, Written};
use kvorum_proto::kv;
use kvorum_proto::kv::key_value_client::KeyValueClient;
use kvorum_proto::kvorum::v1;
use tokio::runtime::{Builder, Runtime};
use tonic::{Request, Status};
use v1::kv_client::KvClient;

/// A gRPC client whose calls block.
#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    client: Client,
}

impl Rpc {
    /// A client of the node with this gRPC port, and of no other.
    ///
    /// # Panics
    /// The operating system gives no threads.
    #[must_use]
    pub fn new(port: u16) -> Rpc {
        Rpc::of(Options { retries_per_ten: 0, ..Options::new([format!("127.0.0.1:{port}")]) })
    }

    /// A client with these options.
    ///
    /// # Panics
    /// The operating system gives no threads, or the options make no sense.
    #[must_use]
    pub fn of(options: Options) -> Rpc {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let client = runtime.block_on(async { Client::new(options) });
        Rpc { runtime, client: client.expect("the options are valid") }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Those of the client.
    pub fn get(&self, key: &str) -> Result<Option<Found>, Error> {
        self.runtime.block_on(self.client.get(key.to_owned()))
    }

    /// Stores a value.
    ///
    /// # Errors
    /// Those of the client.
    pub fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<Written, Error> {
        self.runtime.block_on(self.client.put(key.to_owned(), value.into()))
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// Those of the client.
    pub fn delete(&self, key: &str) -> Result<Written, Error> {
        self.runtime.block_on(self.client.delete(key.to_owned()))
    }

    /// Adds to the number that the value of a key is.
    ///
    /// # Errors
    /// Those of the client.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, Error> {
        self.runtime.block_on(self.client.increment(key.to_owned(), by))
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// Those of the client.
    pub fn status(&self) -> Result<NodeStatus, Error> {
        self.runtime.block_on(self.client.status())
    }

    /// The nodes as the node sees them.
    ///
    /// # Errors
    /// Those of the client.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        self.runtime.block_on(self.client.nodes())
    }
}

/// The hash of one of the sixteen chunks of a3.store, as the node with this gRPC port tells it.
///
/// # Errors
/// Those of the call; `UNAVAILABLE` if nobody listens.
///
/// # Panics
/// The operating system gives no threads.
pub fn chunk_hash(port: u16, chunk_id: i32) -> Result<Vec<u8>, Status> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let client = KeyValueClient::connect(format!("http://127.0.0.1:{port}")).await;
        let mut client = client.map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = client.get_chunk_hash(kv::ChunkRequest { chunk_id }).await?;
        Ok(answer.into_inner().hash.to_vec())
    })
}

/// Adds one to a number of the keyspace `default` under an idempotency key, through the node with
/// this gRPC port. Nothing is repeated.
///
/// # Errors
/// Those of the call; `UNAVAILABLE` if nobody listens.
///
/// # Panics
/// The operating system gives no threads.
pub fn increment_named(port: u16, key: &str, name: &str) -> Result<v1::TxnResponse, Status> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let client = KvClient::connect(format!("http://127.0.0.1:{port}")).await;
        let mut client = client.map_err(|error| Status::unavailable(error.to_string()))?;
        let step = v1::IncrementRequest { key: key.to_owned().into(), by: 1 };
        let step = v1::Operation { kind: Some(v1::operation::Kind::Increment(step)) };
        let mut request =
            Request::new(v1::TxnRequest { success: vec![step], ..Default::default() });
        let name = name.parse().map_err(|_| Status::invalid_argument("the name is not ASCII"))?;
        request.metadata_mut().insert("idempotency-key", name);
        Ok(client.txn(request).await?.into_inner())
    })
}
