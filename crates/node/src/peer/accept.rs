//! The listening side of the streams between nodes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kvorum_core::{Mono, NodeId};
use kvorum_proto::kvorum::peer::v1::Frame;
use kvorum_proto::kvorum::peer::v1::frame::Content;
use kvorum_proto::kvorum::peer::v1::peer_server::{Peer, PeerServer};
use kvorum_shard::Class;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::incoming::Incoming;

use super::handshake::Handshake;
use super::outgoing::{OutgoingFrames, queue};
use super::{
    CONNECTION_WINDOW, HANDSHAKE_TIMEOUT, Half, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, Links,
    MESSAGE_BYTES, STREAM_WINDOW, Streams,
};

/// How many streams may be between their opening and their handshake.
const GREETING: usize = 64;
/// How long the first stream of a connection waits for the second.
const PAIR_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the peer port until the shard thread ends.
pub(crate) async fn listen(incoming: Incoming, links: Rc<Links>) {
    let (sender, mut opened) = mpsc::channel(GREETING);
    let service = PeerServer::new(Service { opened: sender })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_service(service)
        .serve_with_incoming(incoming);
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the peer listener ended");
        }
    });
    let waiting = Rc::new(RefCell::new(Waiting::default()));
    while let Some(half) = opened.recv().await {
        let (links, waiting) = (Rc::clone(&links), Rc::clone(&waiting));
        tokio::task::spawn_local(async move {
            if let Err(reason) = welcome(half, &links, &waiting).await {
                tracing::warn!("[GOSSIP] a stream was refused: {reason}");
            }
        });
    }
}

/// Hands every opened stream to the shard thread's own tasks.
struct Service {
    opened: mpsc::Sender<Half>,
}

#[tonic::async_trait]
impl Peer for Service {
    type FramesStream =
        tokio_stream::adapters::Map<OutgoingFrames, fn(Frame) -> Result<Frame, Status>>;

    async fn frames(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::FramesStream>, Status> {
        let (outgoing, frames) = queue();
        let half = Half { incoming: request.into_inner(), outgoing, channel: None };
        let busy = |_| Status::resource_exhausted("too many streams wait for their handshakes");
        self.opened.try_send(half).map_err(busy)?;
        Ok(Response::new(frames.map(Ok as fn(Frame) -> Result<Frame, Status>)))
    }
}

/// Reads the handshake of a stream, and completes its connection if it is the second one.
async fn welcome(
    mut half: Half,
    links: &Rc<Links>,
    waiting: &RefCell<Waiting>,
) -> Result<(), String> {
    let first = tokio::time::timeout(HANDSHAKE_TIMEOUT, half.incoming.message()).await;
    let first = first.map_err(|_| "no handshake came".to_owned())?;
    let first = first.map_err(|status| status.message().to_owned())?;
    let Some(Frame { content: Some(Content::Handshake(said)) }) = first else {
        return Err("the first frame is not a handshake".to_owned());
    };
    let admitted = links.node().check(&said).and_then(|heard| {
        links.admit(&heard)?;
        Ok(heard)
    });
    let heard = match admitted {
        Ok(heard) => heard,
        Err(reason) => {
            // The other side may be gone already; the reason is logged here in any case.
            let _ = half.outgoing.send(Content::Refusal(reason.clone()));
            return Err(reason);
        }
    };
    let pair = waiting.borrow_mut().join(heard, half, links.mono());
    let Some(streams) = pair else { return Ok(()) };
    for (class, half) in [(Class::Data, &streams.data), (Class::Bulk, &streams.bulk)] {
        let answer = links.node().speak(heard.from, class, heard.connection);
        half.outgoing.send(Content::Handshake(answer)).map_err(|error| error.to_string())?;
    }
    links.install(&heard, streams);
    Ok(())
}

/// Streams whose handshake is complete and whose sister is missing.
#[derive(Default)]
struct Waiting {
    halves: BTreeMap<(NodeId, u64), (Class, Half, Mono)>,
}

impl Waiting {
    fn join(&mut self, heard: Handshake, half: Half, now: Mono) -> Option<Streams> {
        self.halves.retain(|_, (_, _, since)| now.since(*since) < PAIR_TIMEOUT);
        let key = (heard.from, heard.connection);
        match (self.halves.remove(&key), heard.class) {
            (Some((Class::Data, data, _)), Class::Bulk) => Some(Streams { data, bulk: half }),
            (Some((Class::Bulk, bulk, _)), Class::Data) => Some(Streams { data: half, bulk }),
            (_, class) => {
                self.halves.insert(key, (class, half, now));
                None
            }
        }
    }
}
