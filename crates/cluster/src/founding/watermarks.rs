//! What a node remembers of the other nodes' logs.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{Lsn, Mono, NodeId};

use super::hello::{Hello, Settled, Watermark, put_watermark, take_watermark};
use crate::codec::{DecodeError, Reader, put_list, put_node};

const FORMAT: u8 = 1;
/// How often changed watermarks are persisted, unless a log was replaced.
const PERSIST_EVERY: Duration = Duration::from_secs(1);

/// What a node claims about its log when it introduces itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) log_id: u128,
    pub(super) nonce: u64,
    pub(super) start: u32,
    pub(super) recovered: Lsn,
    pub(super) settled: &'a [Settled],
}

/// How a claim falls short of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The log is another one.
    OtherLog,
    /// The log ends before what it once held durably.
    Shorter,
    /// The log has been started at least as often before: it is an older image.
    OlderImage,
}

impl Loss {
    /// The reason for a rebuild, in words: what node `by` knows of this one, which has recovered
    /// its log up to `recovered`.
    pub(super) fn reason(self, by: NodeId, known: &Watermark, recovered: Lsn) -> String {
        match self {
            Loss::OtherLog => format!("node {by} knows this node by another log"),
            Loss::Shorter => format!(
                "node {by} knows that this node's log was durable up to record {}, but only {} \
                 were recovered",
                known.durable.0, recovered.0
            ),
            Loss::OlderImage => format!("node {by} has seen a later start of this node's log"),
        }
    }
}

impl Claim<'_> {
    /// What the claimant has lost, judged by what somebody remembers of it. Claimant and rememberer
    /// judge by the same facts, so they agree.
    pub(super) fn loss(&self, known: &Watermark) -> Option<Loss> {
        if known.nonce == self.nonce || self.is_settled(known) {
            None
        } else if known.log_id != self.log_id {
            Some(Loss::OtherLog)
        } else if known.durable > self.recovered {
            Some(Loss::Shorter)
        } else if known.start >= self.start {
            Some(Loss::OlderImage)
        } else {
            None
        }
    }

    /// Another log was replaced as a whole; of the same log only what one process held was lost.
    fn is_settled(&self, known: &Watermark) -> bool {
        self.settled.iter().any(|settled| {
            settled.log_id == known.log_id
                && (known.log_id != self.log_id || settled.nonce == known.nonce)
        })
    }
}

impl Hello {
    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            log_id: self.mark.log_id,
            nonce: self.mark.nonce,
            start: self.mark.start,
            recovered: self.recovered,
            settled: &self.settled,
        }
    }
}

/// What a node remembers of the other nodes' logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watermarks {
    marks: BTreeMap<NodeId, Watermark>,
    dirty: bool,
    urgent: bool,
    persisted_at: Option<Mono>,
}

impl Watermarks {
    pub(super) fn get(&self, node: NodeId) -> Option<Watermark> {
        self.marks.get(&node).copied()
    }

    /// Remembers the log a node had when the cluster was founded, unless more is known.
    pub(super) fn begin(&mut self, node: NodeId, log_id: u128) {
        let mark = Watermark { log_id, nonce: 0, start: 0, durable: Lsn(0) };
        self.marks.entry(node).or_insert(mark);
        (self.dirty, self.urgent) = (true, true);
    }

    /// Takes note of an introduction. What is remembered of a node that has lost something is kept
    /// until the node has made the loss good.
    pub(super) fn introduced(&mut self, hello: &Hello) {
        let Some(known) = self.marks.get_mut(&hello.node) else { return };
        if hello.rebuilding || hello.claim().loss(known).is_some() {
            return;
        }
        if known.nonce == hello.mark.nonce {
            let nonce = known.nonce;
            self.reported(hello.node, nonce, hello.mark.durable);
            return;
        }
        self.urgent |= known.log_id != hello.mark.log_id;
        self.dirty = true;
        *known = hello.mark;
    }

    /// A process of a node has reported how far its log is durable.
    pub(super) fn reported(&mut self, node: NodeId, nonce: u64, durable: Lsn) {
        let Some(known) = self.marks.get_mut(&node) else { return };
        if known.nonce == nonce && known.durable < durable {
            known.durable = durable;
            self.dirty = true;
        }
    }

    /// The bytes to persist, if it is time to.
    pub(super) fn due(&mut self, now: Mono) -> Option<Bytes> {
        let recent = self.persisted_at.is_some_and(|at| now < at + PERSIST_EVERY);
        if !self.dirty || (recent && !self.urgent) {
            return None;
        }
        (self.dirty, self.urgent, self.persisted_at) = (false, false, Some(now));
        Some(self.encode())
    }

    /// When [`Watermarks::due`] may have something.
    pub(super) fn next_due(&self) -> Option<Mono> {
        let at = self.persisted_at.map_or(Mono(0), |at| at + PERSIST_EVERY);
        self.dirty.then_some(if self.urgent { Mono(0) } else { at })
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        let marks: Vec<_> = self.marks.iter().collect();
        put_list(&mut out, &marks, |out, (node, mark)| {
            put_node(out, **node);
            put_watermark(out, mark);
        });
        out.freeze()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Watermarks, DecodeError> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return Err(DecodeError("unknown format version"));
        }
        let marks = reader.list(|reader| Ok((reader.node()?, take_watermark(reader)?)))?;
        reader.end()?;
        Ok(Watermarks { marks: marks.into_iter().collect(), ..Watermarks::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Watermark = Watermark { log_id: 7, nonce: 70, start: 5, durable: Lsn(100) };

    fn loss(log_id: u128, start: u32, recovered: u64, settled: &[Settled]) -> Option<Loss> {
        let recovered = Lsn(recovered);
        Claim { log_id, nonce: 71, start, recovered, settled }.loss(&KNOWN)
    }

    #[test]
    fn whoever_comes_back_with_less_has_lost_something() {
        assert_eq!(loss(7, 6, 100, &[]), None);
        assert_eq!(loss(8, 6, 100, &[]), Some(Loss::OtherLog));
        assert_eq!(loss(7, 6, 99, &[]), Some(Loss::Shorter));
        assert_eq!(loss(7, 5, 100, &[]), Some(Loss::OlderImage));
        assert_eq!(loss(7, 4, 200, &[]), Some(Loss::OlderImage));
        let same = Claim { log_id: 7, nonce: 70, start: 5, recovered: Lsn(3), settled: &[] };
        assert_eq!(same.loss(&KNOWN), None, "it is the same process");
    }

    #[test]
    fn a_settled_loss_is_forgiven_and_only_that_one() {
        let settled = |log_id, nonce| [Settled { log_id, nonce }];
        assert_eq!(loss(8, 6, 0, &settled(7, 1)), None, "the log was replaced as a whole");
        assert_eq!(loss(7, 6, 0, &settled(7, 70)), None);
        assert_eq!(loss(7, 6, 0, &settled(7, 1)), Some(Loss::Shorter), "another process of it");
        assert_eq!(loss(8, 6, 0, &settled(9, 70)), Some(Loss::OtherLog));
    }

    #[test]
    fn only_the_process_that_is_known_moves_its_watermark() {
        let node = NodeId::new(2).unwrap();
        let mut marks = Watermarks::default();
        marks.marks.insert(node, KNOWN);
        marks.reported(node, 71, Lsn(500));
        marks.reported(node, 70, Lsn(50));
        assert_eq!(marks.get(node), Some(KNOWN));
        assert_eq!(marks.next_due(), None);
        marks.reported(node, 70, Lsn(101));
        assert_eq!(marks.get(node).unwrap().durable, Lsn(101));
        assert_eq!(Watermarks::decode(marks.encode()).unwrap().get(node), marks.get(node));
    }
}
