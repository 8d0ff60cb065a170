//! What each node tells all others about itself, spread from node to node.
//!
//! | length | what |
//! |---|---|
//! | 1 | format version, 1 |
//! | 4, 8 | node, and its incarnation (start number, renewals) |
//! | 8 | number of the report, counted by the process |
//! | 2 + n, 2 + n | name and host, each behind its length |
//! | 5 × 2 | ports: RESP, gRPC, HTTP, peer, gossip |
//! | 4, 1, 4 | operations per second; disk in use, in percent; wait of requests, in microseconds |
//! | 8 | layout version |
//! | 1, or 5 | whether it knows how far the clocks of a majority are ahead, and that in milliseconds |
//! | 2 | flags: bit 0 serving, 1 rebuilding, 2 disk full, 3 disk slow |
//! | 2 + n × 4 | the nodes it votes down, behind their number |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::NodeId;

use super::incarnation::Incarnation;
use crate::codec::{DecodeError, Reader, put_list, put_node, put_optional, put_text};

/// The version of the format.
const FORMAT: u8 = 1;
/// The longest name or host that is told, in bytes.
const MOST_TEXT: usize = 253;
/// How many nodes a report can vote down. Of more than these the rest stay suspect.
pub(super) const MOST_VOTES: usize = 64;

/// Where a node can be reached, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The name of the node.
    pub name: String,
    /// The host, as others name it.
    pub host: String,
    /// The ports of RESP, gRPC, HTTP, the streams between nodes, and gossip, in this order.
    pub ports: [u16; 5],
}

/// How a node is, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Client operations per second.
    pub operations: u32,
    /// How much of its disk space is used, in percent.
    pub disk_percent: u8,
    /// How long requests wait for their turn, in microseconds.
    pub queue_delay_us: u32,
    /// The version of its layout.
    pub layout: u64,
    /// How far a majority's clocks are ahead of its own, in milliseconds, if it knows.
    pub clock_ahead_ms: Option<i32>,
    /// Whether it serves requests.
    pub serving: bool,
    /// Whether it copies partitions from other nodes.
    pub rebuilding: bool,
    /// Whether its disk is full.
    pub disk_full: bool,
    /// Whether its disk is too slow for a leader.
    pub disk_slow: bool,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    /// Counts the reports of a process.
    pub(super) number: u64,
    pub(super) addresses: Addresses,
    pub(super) pulse: Pulse,
    /// The nodes that it votes down: it has asked them in vain. Sorted.
    pub(super) down: Vec<NodeId>,
}

impl Report {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        put_node(&mut out, self.node);
        out.put_u32_le(self.incarnation.start);
        out.put_u32_le(self.incarnation.renewal);
        out.put_u64_le(self.number);
        put_text(&mut out, &self.addresses.name);
        put_text(&mut out, &self.addresses.host);
        for port in self.addresses.ports {
            out.put_u16_le(port);
        }
        let pulse = &self.pulse;
        out.put_u32_le(pulse.operations);
        out.put_u8(pulse.disk_percent);
        out.put_u32_le(pulse.queue_delay_us);
        out.put_u64_le(pulse.layout);
        put_optional(&mut out, pulse.clock_ahead_ms.as_ref(), |out, ahead| out.put_i32_le(*ahead));
        let flags = [pulse.serving, pulse.rebuilding, pulse.disk_full, pulse.disk_slow];
        let bits = flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u16::from(flag));
        out.put_u16_le(bits);
        put_list(&mut out, &self.down, |out, node| put_node(out, *node));
        out.freeze()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Report, DecodeError> {
        let mut reader = Reader(Bytes::copy_from_slice(bytes));
        if reader.u8()? != FORMAT {
            return Err(DecodeError("unknown format version"));
        }
        let node = reader.node()?;
        let incarnation = Incarnation { start: reader.u32()?, renewal: reader.u32()? };
        let number = reader.u64()?;
        let addresses = Addresses {
            name: text(&mut reader)?,
            host: text(&mut reader)?,
            ports: [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?],
        };
        let mut pulse = Pulse {
            operations: reader.u32()?,
            disk_percent: reader.u8()?,
            queue_delay_us: reader.u32()?,
            layout: reader.u64()?,
            clock_ahead_ms: reader.optional(|reader| Ok(reader.u32()?.cast_signed()))?,
            ..Pulse::default()
        };
        // Flags of a later release mean nothing here.
        let bits = reader.u16()?;
        let flags =
            [&mut pulse.serving, &mut pulse.rebuilding, &mut pulse.disk_full, &mut pulse.disk_slow];
        for (at, flag) in flags.into_iter().enumerate() {
            *flag = bits >> at & 1 == 1;
        }
        let down = reader.list(Reader::node)?;
        reader.end()?;
        if down.len() > MOST_VOTES {
            return Err(DecodeError("a report votes too many nodes down"));
        }
        Ok(Report { node, incarnation, number, addresses, pulse, down })
    }
}

fn text(reader: &mut Reader) -> Result<String, DecodeError> {
    let text = reader.text()?;
    if text.len() <= MOST_TEXT { Ok(text) } else { Err(DecodeError("a name is too long")) }
}

/// The latest report of every other node.
#[derive(Debug, Default)]
pub(super) struct Board {
    reports: BTreeMap<NodeId, Report>,
    /// The nodes whose addresses were told for the first time, or anew.
    moved: Vec<NodeId>,
}

impl Board {
    pub(super) fn get(&self, node: NodeId) -> Option<&Report> {
        self.reports.get(&node)
    }

    pub(super) fn take_moved(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.moved)
    }

    /// Takes a report; whether it is news.
    fn take(&mut self, report: Report) -> bool {
        let old = self.reports.get(&report.node);
        let at = |report: &Report| (report.incarnation.start, report.number);
        if old.is_some_and(|old| at(old) >= at(&report)) {
            return false;
        }
        if old.is_none_or(|old| old.addresses != report.addresses) {
            self.moved.push(report.node);
        }
        self.reports.insert(report.node, report);
        true
    }
}

/// Takes reports out of the SWIM library's messages and into the board.
#[derive(Debug)]
pub(super) struct Clerk {
    pub(super) me: NodeId,
    /// Sorted.
    pub(super) nodes: Vec<NodeId>,
    pub(super) board: Rc<RefCell<Board>>,
}

/// The node a report is of. A report replaces an earlier one that is still being spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Author(NodeId);

impl foca::Invalidates for Author {
    fn invalidates(&self, other: &Author) -> bool {
        self == other
    }
}

impl<T> foca::BroadcastHandler<T> for Clerk {
    type Key = Author;
    type Error = DecodeError;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&T>,
    ) -> Result<Option<Author>, DecodeError> {
        let report = Report::decode(data)?;
        let author = Author(report.node);
        if sender.is_none() {
            return Ok(Some(author));
        }
        if self.nodes.binary_search(&report.node).is_err() {
            return Err(DecodeError("a report of a node that is no member"));
        }
        let news = report.node != self.me && self.board.borrow_mut().take(report);
        Ok(news.then_some(author))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64) -> Report {
        Report {
            node: NodeId::new(2).unwrap(),
            incarnation: Incarnation { start: 4, renewal: 1 },
            number,
            addresses: Addresses {
                name: "node-2".to_owned(),
                host: "::1".to_owned(),
                ports: [1, 2, 3, 4, 65535],
            },
            pulse: Pulse {
                operations: 70_000,
                disk_percent: 55,
                queue_delay_us: 900,
                layout: 3,
                clock_ahead_ms: Some(-7),
                rebuilding: true,
                disk_slow: true,
                ..Pulse::default()
            },
            down: vec![NodeId::new(1).unwrap(), NodeId::new(3).unwrap()],
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for report in [report(9), Report { pulse: Pulse::default(), down: Vec::new(), ..report(1) }]
        {
            let bytes = report.encode();
            assert_eq!(Report::decode(&bytes), Ok(report));
            for len in 0..bytes.len() {
                assert!(Report::decode(&bytes[..len]).is_err());
            }
            assert!(Report::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn the_longest_report_fits_beside_a_header() {
        let longest = Report {
            addresses: Addresses { name: "n".repeat(63), host: "h".repeat(253), ports: [1; 5] },
            down: (1..=64).map(|n| NodeId::new(n).unwrap()).collect(),
            ..report(1)
        };
        assert!(longest.encode().len() <= 800, "{}", longest.encode().len());
    }

    #[test]
    fn the_latest_report_counts() {
        let mut board = Board::default();
        assert!(board.take(report(2)) && !board.take(report(2)) && !board.take(report(1)));
        assert_eq!(board.take_moved(), [NodeId::new(2).unwrap()]);
        assert!(board.take(report(3)) && board.take_moved().is_empty());
        let restarted = Report { incarnation: Incarnation::of_start(5), ..report(1) };
        assert!(board.take(restarted) && !board.take(report(4)));
    }
}
