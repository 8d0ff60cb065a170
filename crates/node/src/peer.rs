//! The streams to the other nodes.
//!
//! Between two nodes there is one *connection*: two bidirectional streams, one per class, each on
//! a TCP connection of its own so that a large value never holds up small messages. The node with
//! the lower id dials. The connection counts (`PeerUp`) once both handshakes are complete on both
//! sides, and ends as a whole: losing either stream is `PeerDown`.
//!
//! **Invariant:** a frame reaches the shard only between the `PeerUp` and the `PeerDown` of the
//! connection it came on.

mod accept;
mod dial;
mod handshake;
mod introduction;
mod keep;
mod link;
mod outgoing;

pub(crate) use accept::listen;
pub(crate) use handshake::LocalNode;
pub(crate) use introduction::Announcement;
pub use introduction::{IntroductionService, introduction_service};
pub(crate) use keep::Keeper;
pub(crate) use link::Links;

use std::time::Duration;

use kvorum_proto::kvorum::peer::v1::Frame;
use tonic::Streaming;
use tonic::transport::Channel;

use self::outgoing::Outgoing;

/// The longest message of a stream.
const MESSAGE_BYTES: usize = 32 << 20;
/// HTTP/2 windows: large enough never to be what limits a stream.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// How long each step of a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 pings notice a dead connection even while a long message is on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// One open stream.
#[derive(Debug)]
struct Half {
    incoming: Streaming<Frame>,
    outgoing: Outgoing,
    /// The dialling side owns the transport.
    channel: Option<Channel>,
}

/// The streams of one connection.
#[derive(Debug)]
struct Streams {
    data: Half,
    bulk: Half,
}

/// A random number, to tell connections and processes apart.
///
/// # Errors
/// The operating system has no randomness to give.
pub(crate) fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("cannot draw a random number: {error}"))
}
