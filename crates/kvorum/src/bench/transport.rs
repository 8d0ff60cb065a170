//! The two ways in which a client of the load generator reaches the cluster.

use bytes::Bytes;
use kvorum_client::Consistency;

use super::grpc::GrpcConnection;
use super::resp::RespConnection;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Write a key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Read several items.
    Scan {
        /// Their keys begin with this.
        prefix: Bytes,
        /// At most so many.
        limit: u32,
    },
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// It read a key that does not exist.
    Missing,
    /// It failed; the text begins with the code of the error.
    Failed(String),
}

/// The code at the beginning of the text of a failure.
#[must_use]
pub fn code_of(failure: &str) -> &str {
    failure.split(' ').next().unwrap_or_default()
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Which protocol.
    pub protocol: Protocol,
    /// `host:port`.
    pub address: String,
    /// The keyspace.
    pub keyspace: String,
    /// How many replicas must take part, if not as many as the keyspace says.
    pub consistency: Option<Consistency>,
    /// How long a request may take.
    pub timeout: std::time::Duration,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// The Redis protocol: pipelined commands on one connection.
    Resp,
    /// gRPC: with --pipeline, one Batch call for all of them.
    Grpc,
}

/// The connection of one client.
#[derive(Debug)]
pub enum Transport {
    /// Over the Redis protocol.
    Resp(RespConnection),
    /// Over gRPC.
    Grpc(GrpcConnection),
}

impl Transport {
    /// Connects.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn connect(connect: &Connect) -> anyhow::Result<Transport> {
        Ok(match connect.protocol {
            Protocol::Resp => Transport::Resp(RespConnection::connect(connect).await?),
            Protocol::Grpc => Transport::Grpc(GrpcConnection::connect(connect).await?),
        })
    }

    /// Runs requests together and reports each answer, with the index of its request, when it
    /// arrives.
    ///
    /// # Errors
    /// If the connection is lost. Requests not reported by then have no known outcome.
    pub async fn run(
        &mut self,
        commands: &[Command],
        report: impl FnMut(usize, Outcome) + Send,
    ) -> anyhow::Result<()> {
        match self {
            Transport::Resp(connection) => connection.run(commands, report).await,
            Transport::Grpc(connection) => connection.run(commands, report).await,
        }
    }
}
