//! What has been taken out of the inbox and waits for room in the log's open frame.

use std::collections::VecDeque;

use bytes::Bytes;
use kvorum_core::{Mono, NodeId, Request};

use super::callers::Caller;
use super::inbox;

/// About how many bytes of log a record takes besides its key and value.
const RECORD_OVERHEAD: usize = 96;

/// A frame of a peer.
pub(super) struct ReceivedFrame {
    pub(super) from: NodeId,
    /// The number of the connection it was read from.
    pub(super) epoch: u64,
    pub(super) body: Bytes,
    /// Not later than it was read.
    pub(super) arrived: Mono,
}

/// What a turn takes on next.
pub(super) enum Next {
    Frame(ReceivedFrame),
    Request(Caller, Request),
}

/// Frames and requests in the order of their arrival; frames first, since others wait for what
/// they bring.
pub(super) struct Backlog {
    frames: VecDeque<ReceivedFrame>,
    requests: VecDeque<(Caller, Request)>,
    /// About how many bytes of the open frame of the log are filled.
    filled: usize,
    /// How many may be.
    room: usize,
}

impl Backlog {
    pub(super) const fn new(room: usize) -> Backlog {
        Backlog { frames: VecDeque::new(), requests: VecDeque::new(), filled: 0, room }
    }

    pub(super) fn push_frame(&mut self, frame: ReceivedFrame) {
        self.frames.push_back(frame);
    }

    pub(super) fn push_request(&mut self, caller: Caller, request: Request) {
        self.requests.push_back((caller, request));
    }

    /// Whether no request waits.
    pub(super) fn has_no_requests(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether something waits for the open frame of the log to be sealed.
    pub(super) fn waits(&self) -> bool {
        !self.frames.is_empty() || !self.requests.is_empty()
    }

    /// Whether something waits that the open frame of the log has room for.
    pub(super) fn next_fits(&self) -> bool {
        let frame = self.frames.front().map(|frame| frame_cost(&frame.body));
        let request = self.requests.front().map(|(_, request)| request_cost(request));
        let next = frame.or(request);
        next.is_some_and(|cost| self.filled == 0 || self.filled + cost <= self.room)
    }

    /// Takes what is next, if it fits, and how much the inbox counts for it.
    pub(super) fn next(&mut self) -> Option<(Next, usize)> {
        if !self.next_fits() {
            return None;
        }
        if let Some(frame) = self.frames.pop_front() {
            self.filled += frame_cost(&frame.body);
            let weight = frame.body.len();
            return Some((Next::Frame(frame), weight));
        }
        let (caller, request) = self.requests.pop_front()?;
        self.filled += request_cost(&request);
        let weight = inbox::weight(&request);
        Some((Next::Request(caller, request), weight))
    }

    /// The open frame of the log is empty again.
    pub(super) const fn sealed(&mut self) {
        self.filled = 0;
    }
}

/// About how many bytes of log a request takes.
fn request_cost(request: &Request) -> usize {
    if request.op.is_write() { request.op.weight() + RECORD_OVERHEAD } else { 0 }
}

/// How many bytes of log the records of a peer's frame take at most: in the log they are a little
/// longer than on the wire.
fn frame_cost(body: &Bytes) -> usize {
    body.len() + body.len() / 2
}

#[cfg(test)]
mod tests {
    use kvorum_core::{Identity, KeyspaceId, Op};

    use super::*;
    use crate::CallId;

    fn request(op: Op) -> Request {
        Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId::DEFAULT,
            op,
            consistency: None,
            min_version: None,
            key: None,
            deadline: Mono(0),
        }
    }

    fn put(bytes: usize) -> Request {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![0; bytes]));
        request(Op::Put { key, value, expiry: kvorum_core::Expiry::Never, tag: 0 })
    }

    fn caller() -> Caller {
        Caller::Session { connection: 1, call: CallId(1) }
    }

    fn frame(bytes: usize) -> ReceivedFrame {
        let from = NodeId::new(2).unwrap();
        ReceivedFrame { from, epoch: 1, body: Bytes::from(vec![0; bytes]), arrived: Mono(0) }
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next_frame_of_the_log() {
        let mut backlog = Backlog::new(1000);
        backlog.push_request(caller(), put(5000));
        backlog.push_request(caller(), put(10));
        backlog.push_request(caller(), request(Op::Delete { key: Bytes::from_static(b"k") }));
        assert!(backlog.next().is_some(), "one that is too large for any frame goes alone");
        assert!(backlog.next().is_none());
        backlog.sealed();
        assert!(backlog.next().is_some() && backlog.next().is_some());
        assert!(backlog.has_no_requests());
    }

    #[test]
    fn frames_of_peers_come_before_requests() {
        let mut backlog = Backlog::new(1000);
        backlog.push_request(caller(), put(10));
        backlog.push_frame(frame(400));
        backlog.push_frame(frame(400));
        assert!(matches!(backlog.next(), Some((Next::Frame(_), 400))));
        assert!(backlog.next().is_none(), "a request does not overtake a frame");
        backlog.sealed();
        assert!(matches!(backlog.next(), Some((Next::Frame(_), 400))));
        assert!(matches!(backlog.next(), Some((Next::Request(..), _))));
    }
}
