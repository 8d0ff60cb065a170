//! What nodes say when they introduce themselves, and how it is encoded.

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{Hlc, Lsn, NodeId};

use super::membership::Founded;
use crate::codec::{DecodeError, Reader, put_list, put_node, put_optional, put_text};

/// The version of introductions and frames; nodes of another one are refused.
pub const PROTOCOL: u16 = 1;

/// What is known of a node's log: which log it is and how far it has been durable. Whoever comes
/// back with less has lost something it may have acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Identifies the log; new when a disk is blank or its log was damaged.
    pub log_id: u128,
    /// Identifies the process: random, new at every start.
    pub nonce: u64,
    /// The start number of the log in that process.
    pub start: u32,
    /// The log was durable up to here.
    pub durable: Lsn,
}

/// A loss that a rebuild has made, or is making, good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The log that lost something, or was lost.
    pub log_id: u128,
    /// The process in which it was last known to be whole.
    pub nonce: u64,
}

/// What a node says of itself, to one other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name of its cluster.
    pub cluster: String,
    /// Its id.
    pub node: NodeId,
    /// Which log it has, and how far that is durable now.
    pub mark: Watermark,
    /// How far its log was durable when this process began.
    pub recovered: Lsn,
    /// The reading of its hybrid clock.
    pub clock: Hlc,
    /// The fingerprint of its list of peers.
    pub peers: u64,
    /// The replication factor it has, or would found a cluster with.
    pub replication: u8,
    /// The fingerprint of the layout it has, or would found a cluster with.
    pub layout: u64,
    /// The cluster it belongs to, durably.
    pub founded: Option<Founded>,
    /// Its data is incomplete; it is copying it from the others.
    pub rebuilding: bool,
    /// The losses a rebuild has made, or is making, good.
    pub settled: Vec<Settled>,
    /// What it remembers of the receiver.
    pub known: Option<Watermark>,
}

/// Why a node will not work with another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The kind of reason.
    pub kind: RefusalKind,
    /// The reason, as one sentence for an operator.
    pub reason: String,
}

/// Kinds of reasons to refuse a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It belongs to another cluster.
    OtherCluster,
    /// It has another list of peers.
    OtherPeers,
    /// It would found the cluster with other settings.
    OtherSettings,
    /// Its id is not in the list of peers, or its data belongs to another id.
    OtherNode,
    /// It speaks another version of the protocol.
    OtherProtocol,
    /// Another process runs under its id.
    Duplicate,
    /// Another process seems to run under its id, or did until a moment ago.
    Busy,
    /// It is the node that refuses.
    Myself,
}

impl RefusalKind {
    /// Whether trying again is useless until an operator changes something: a process that is not
    /// serving yet ends with exit code 78.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        match self {
            RefusalKind::OtherCluster
            | RefusalKind::OtherPeers
            | RefusalKind::OtherSettings
            | RefusalKind::OtherNode
            | RefusalKind::Duplicate => true,
            RefusalKind::OtherProtocol | RefusalKind::Busy | RefusalKind::Myself => false,
        }
    }

    const ALL: [RefusalKind; 8] = [
        RefusalKind::OtherCluster,
        RefusalKind::OtherPeers,
        RefusalKind::OtherSettings,
        RefusalKind::OtherNode,
        RefusalKind::OtherProtocol,
        RefusalKind::Duplicate,
        RefusalKind::Busy,
        RefusalKind::Myself,
    ];
}

/// Who a node is: enough to find the ids of a list of peers that does not name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name of its cluster.
    pub cluster: String,
    /// Its id.
    pub node: NodeId,
    /// A random number, new at every start.
    pub nonce: u64,
}

/// What nodes say to each other outside the streams of frames, and first in each stream. A request
/// is a name or a hello; the answer to it is the same or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Who a node is, said by one that does not know yet who all the others are.
    Name(Name),
    /// What a node is.
    Hello(Box<Hello>),
    /// A node will not work with this one.
    Refused(Refusal),
}

/// Bytes that are no greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The sender speaks another version of the protocol.
    #[error("the other node speaks version {0} of the protocol, this one version {PROTOCOL}")]
    Protocol(u16),
    /// The bytes make no sense.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl From<HelloError> for Refusal {
    fn from(error: HelloError) -> Refusal {
        Refusal { kind: RefusalKind::OtherProtocol, reason: error.to_string() }
    }
}

impl Hello {
    fn put(&self, out: &mut BytesMut) {
        put_text(out, &self.cluster);
        put_node(out, self.node);
        put_watermark(out, &self.mark);
        out.put_u64_le(self.recovered.0);
        out.put_u64_le(self.clock.0);
        out.put_u64_le(self.peers);
        out.put_u8(self.replication);
        out.put_u64_le(self.layout);
        put_optional(out, self.founded.as_ref(), |out, founded| founded.put(out));
        out.put_u8(u8::from(self.rebuilding));
        put_settled(out, &self.settled);
        put_optional(out, self.known.as_ref(), put_watermark);
    }

    fn take(reader: &mut Reader) -> Result<Hello, DecodeError> {
        Ok(Hello {
            cluster: reader.text()?,
            node: reader.node()?,
            mark: take_watermark(reader)?,
            recovered: Lsn(reader.u64()?),
            clock: Hlc(reader.u64()?),
            peers: reader.u64()?,
            replication: reader.u8()?,
            layout: reader.u64()?,
            founded: reader.optional(Founded::take)?,
            rebuilding: reader.flag()?,
            settled: take_settled(reader)?,
            known: reader.optional(take_watermark)?,
        })
    }
}

impl Greeting {
    /// The bytes of the greeting.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u16_le(PROTOCOL);
        match self {
            Greeting::Name(name) => {
                out.put_u8(0);
                put_text(&mut out, &name.cluster);
                put_node(&mut out, name.node);
                out.put_u64_le(name.nonce);
            }
            Greeting::Hello(hello) => {
                out.put_u8(1);
                hello.put(&mut out);
            }
            Greeting::Refused(refusal) => {
                out.put_u8(2);
                let kind = RefusalKind::ALL.iter().position(|kind| *kind == refusal.kind);
                out.put_u8(u8::try_from(kind.unwrap_or_default()).unwrap_or_default());
                put_text(&mut out, &refusal.reason);
            }
        }
        out.freeze()
    }

    /// Reads [`Greeting::encode`].
    ///
    /// # Errors
    /// [`HelloError`] if the bytes are not a greeting of this version of the protocol.
    pub fn decode(bytes: Bytes) -> Result<Greeting, HelloError> {
        let mut reader = Reader(bytes);
        let protocol = reader.u16()?;
        if protocol != PROTOCOL {
            return Err(HelloError::Protocol(protocol));
        }
        let greeting = match reader.u8()? {
            0 => Greeting::Name(Name {
                cluster: reader.text()?,
                node: reader.node()?,
                nonce: reader.u64()?,
            }),
            1 => Greeting::Hello(Box::new(Hello::take(&mut reader)?)),
            2 => {
                let kind = RefusalKind::ALL.get(usize::from(reader.u8()?)).copied();
                let kind = kind.ok_or(DecodeError("unknown kind of refusal"))?;
                Greeting::Refused(Refusal { kind, reason: reader.text()? })
            }
            _ => return Err(DecodeError("unknown kind of greeting").into()),
        };
        reader.end()?;
        Ok(greeting)
    }
}

pub(super) fn put_watermark(out: &mut BytesMut, mark: &Watermark) {
    out.put_u128_le(mark.log_id);
    out.put_u64_le(mark.nonce);
    out.put_u32_le(mark.start);
    out.put_u64_le(mark.durable.0);
}

pub(super) fn take_watermark(reader: &mut Reader) -> Result<Watermark, DecodeError> {
    Ok(Watermark {
        log_id: reader.u128()?,
        nonce: reader.u64()?,
        start: reader.u32()?,
        durable: Lsn(reader.u64()?),
    })
}

pub(super) fn put_settled(out: &mut BytesMut, settled: &[Settled]) {
    put_list(out, settled, |out, settled| {
        out.put_u128_le(settled.log_id);
        out.put_u64_le(settled.nonce);
    });
}

pub(super) fn take_settled(reader: &mut Reader) -> Result<Vec<Settled>, DecodeError> {
    reader.list(|reader| Ok(Settled { log_id: reader.u128()?, nonce: reader.u64()? }))
}
