//! The sending end of a stream between nodes: a queue of frames, counted in bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use kvorum_proto::kvorum::peer::v1::Frame;
use kvorum_proto::kvorum::peer::v1::frame::Content;
use tokio::sync::mpsc;
use tokio_stream::Stream;

/// A peer that leaves more bytes than this in the queue is given up. The shard stops sending long
/// before, so only a peer whose stream has stopped reaches it.
const QUEUED_BYTES: usize = 64 << 20;

/// Puts frames into a stream. Dropping it ends the stream.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    frames: mpsc::UnboundedSender<Frame>,
    queued: Arc<AtomicUsize>,
}

/// What the stream takes its frames from.
#[derive(Debug)]
pub(crate) struct OutgoingFrames {
    frames: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("the stream was closed")]
    Closed,
    #[error("the peer does not take the frames sent to it")]
    Full,
}

/// The two ends of a queue.
pub(crate) fn queue() -> (Outgoing, OutgoingFrames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&queued);
    (Outgoing { frames: sender, queued }, OutgoingFrames { frames: receiver, queued: counted })
}

impl Outgoing {
    /// Queues a frame of the shard.
    pub(crate) fn body(&self, body: Bytes) -> Result<(), Rejected> {
        let len = body.len();
        if self.queued.fetch_add(len, Ordering::Relaxed) > QUEUED_BYTES {
            self.queued.fetch_sub(len, Ordering::Relaxed);
            return Err(Rejected::Full);
        }
        self.send(Content::Body(body))
    }

    /// Queues anything else, which is small.
    pub(crate) fn send(&self, content: Content) -> Result<(), Rejected> {
        self.frames.send(Frame { content: Some(content) }).map_err(|_| Rejected::Closed)
    }

    /// Bytes that the stream has not taken yet.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

impl Stream for OutgoingFrames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let frame = std::task::ready!(self.frames.poll_recv(context));
        if let Some(Frame { content: Some(Content::Body(body)) }) = &frame {
            self.queued.fetch_sub(body.len(), Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_queue_counts_its_bytes_and_refuses_more_than_it_may_hold() {
        let (outgoing, mut frames) = queue();
        outgoing.body(Bytes::from(vec![0; QUEUED_BYTES])).unwrap();
        outgoing.body(Bytes::from_static(b"more")).unwrap();
        assert_eq!(outgoing.body(Bytes::from_static(b"too much")), Err(Rejected::Full));
        assert!(frames.next().await.is_some() && frames.next().await.is_some());
        assert_eq!(outgoing.queued(), 0);
        outgoing.body(Bytes::from_static(b"again")).unwrap();
        drop(frames);
        assert_eq!(outgoing.body(Bytes::from_static(b"late")), Err(Rejected::Closed));
    }
}
