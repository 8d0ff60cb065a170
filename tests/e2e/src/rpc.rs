//! kvorum's own gRPC client, for tests that do not run a runtime of their own.

use kvorum_client::{Client, Error, Found, NodeInfo, NodeStatus, Options, Written};
use tokio::runtime::{Builder, Runtime};

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
        let options = Options { retries_per_ten: 0, ..Options::new([format!("127.0.0.1:{port}")]) };
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
