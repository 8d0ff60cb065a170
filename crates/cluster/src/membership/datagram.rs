//! The datagrams of gossip: who speaks to whom, in which cluster, and the seal over it.
//!
//! | offset | length | what |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | seal: 0 checksum, 1 HMAC |
//! | 2 | 1 | kind: 1 SWIM message, 2 echo, 3 answer to one |
//! | 3 | 8 | fingerprint of the cluster: its name and the nodes it was founded with |
//! | 11 | 4 | sender |
//! | 15 | 8 | incarnation of the sender: start number, renewals |
//! | 23 | 8 | random number of the sender's process |
//! | 31 | 4 | addressee |
//! | 35 | 8 | latest incarnation of the addressee that the sender knows; zeros for none |
//! | 43 | 8 | number of the datagram, counted by the process |
//! | 51 | | content |
//! | end | 4 or 16 | seal over all before: CRC-32C, or the first half of an HMAC-SHA-256 |
//!
//! All integers are little endian. An echo holds 8 bytes of the asker's choice; the answer repeats
//! them, and adds the wall clock in 8 bytes (milliseconds since 1970).
//!
//! With a secret the seal is an HMAC, which only who knows the secret can make; without one it is
//! a checksum, which keeps out what is damaged or meant for somebody else and no attacker.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use kvorum_core::NodeId;
use sha2::Sha256;
use xxhash_rust::xxh3::Xxh3;

use super::incarnation::Incarnation;
use crate::codec::{DecodeError, Reader, put_node};

/// The version of the format. A node drops what it does not know, so a new one takes two releases.
const FORMAT: u8 = 1;
/// The longest datagram: it fits into one packet on every usual network.
pub(super) const MOST_BYTES: usize = 1400;
/// The bytes in front of the content.
const HEADER_BYTES: usize = 51;
/// The seal with a secret: HMAC-SHA-256-128 (RFC 4868).
const MAC_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// The longest content.
pub(super) const MOST_CONTENT: usize = MOST_BYTES - HEADER_BYTES - MAC_BYTES;
/// What the key is made for, so that the same secret may serve other purposes as well.
const PURPOSE: &[u8] = b"kvorum gossip 1";

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message of the SWIM protocol.
    Swim,
    /// Asks for an answer at once.
    Echo,
    /// The answer, with the wall clock.
    EchoAnswer,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::Swim, Kind::Echo, Kind::EchoAnswer];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Swim => "swim",
            Kind::Echo => "echo",
            Kind::EchoAnswer => "echo_answer",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Kind::Swim => 1,
            Kind::Echo => 2,
            Kind::EchoAnswer => 3,
        }
    }
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It makes no sense: too short or long, of another format, damaged on its way.
    Malformed,
    /// Its seal was not made with this cluster's secret.
    Unauthentic,
    /// It belongs to another cluster.
    OtherCluster,
    /// It comes from somebody who is no member, or says to be from this node itself.
    Stranger,
    /// It is meant for another node.
    Misaddressed,
    /// It was taken before, or comes from a process that was replaced.
    Replayed,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 6] = [
        Refusal::Malformed,
        Refusal::Unauthentic,
        Refusal::OtherCluster,
        Refusal::Stranger,
        Refusal::Misaddressed,
        Refusal::Replayed,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Unauthentic => "unauthentic",
            Refusal::OtherCluster => "other_cluster",
            Refusal::Stranger => "stranger",
            Refusal::Misaddressed => "misaddressed",
            Refusal::Replayed => "replayed",
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(_: DecodeError) -> Refusal {
        Refusal::Malformed
    }
}

/// What all nodes of a cluster know and nobody else. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// The shortest secret, in bytes.
    pub const LEAST_BYTES: usize = 16;

    /// A secret of at least [`Secret::LEAST_BYTES`].
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<Secret> {
        (bytes.len() >= Secret::LEAST_BYTES).then_some(Secret(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which cluster a datagram belongs to: its name and the nodes it was founded with.
#[must_use]
pub fn fingerprint(cluster: &str, nodes: &[NodeId]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(cluster.as_bytes());
    for node in nodes {
        hash.update(&node.get().to_le_bytes());
    }
    hash.digest()
}

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) cluster: u64,
    pub(super) from: NodeId,
    pub(super) incarnation: Incarnation,
    /// Drawn at random by the sender's process.
    pub(super) process: u64,
    pub(super) to: NodeId,
    /// The latest incarnation of the addressee that the sender knows.
    pub(super) known: Incarnation,
    /// Counts the datagrams of a process.
    pub(super) number: u64,
}

/// Seals datagrams and checks seals.
#[derive(Clone)]
pub(super) struct Sealer {
    key: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("authentic", &self.key.is_some()).finish()
    }
}

impl Sealer {
    pub(super) fn new(secret: Option<&Secret>) -> Sealer {
        let key = |bytes: &[u8]| Hmac::<Sha256>::new_from_slice(bytes).ok();
        // A key of any length is accepted, so there is one wherever there is a secret.
        let key = secret.and_then(|secret| {
            let made = key(&secret.0)?.chain_update(PURPOSE).finalize().into_bytes();
            key(&made)
        });
        Sealer { key }
    }

    pub(super) fn seal(&self, header: &Header, content: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + content.len() + MAC_BYTES);
        out.put_u8(FORMAT);
        out.put_u8(u8::from(self.key.is_some()));
        out.put_u8(header.kind.code());
        out.put_u64_le(header.cluster);
        put_node(&mut out, header.from);
        put_incarnation(&mut out, header.incarnation);
        out.put_u64_le(header.process);
        put_node(&mut out, header.to);
        put_incarnation(&mut out, header.known);
        out.put_u64_le(header.number);
        out.put_slice(content);
        match &self.key {
            Some(key) => {
                let mac = key.clone().chain_update(&out).finalize().into_bytes();
                out.put_slice(mac.get(..MAC_BYTES).unwrap_or_default());
            }
            None => {
                let checksum = crc32c::crc32c(&out);
                out.put_u32_le(checksum);
            }
        }
        out.freeze()
    }

    /// Checks a datagram's seal and reads its header.
    pub(super) fn open(&self, datagram: &[u8]) -> Result<(Header, Bytes), Refusal> {
        if datagram.len() > MOST_BYTES {
            return Err(Refusal::Malformed);
        }
        let [format, sealed, ..] = *datagram else { return Err(Refusal::Malformed) };
        if format != FORMAT || sealed > 1 {
            return Err(Refusal::Malformed);
        }
        let body = match &self.key {
            Some(key) => {
                if sealed == 0 {
                    return Err(Refusal::Unauthentic);
                }
                let at = datagram.len().checked_sub(MAC_BYTES).ok_or(Refusal::Malformed)?;
                let (body, seal) = datagram.split_at(at);
                let mac = key.clone().chain_update(body);
                mac.verify_truncated_left(seal).map_err(|_| Refusal::Unauthentic)?;
                body
            }
            None => {
                if sealed == 1 {
                    return Err(Refusal::Unauthentic);
                }
                let (body, seal) =
                    datagram.split_last_chunk::<CRC_BYTES>().ok_or(Refusal::Malformed)?;
                if crc32c::crc32c(body) != u32::from_le_bytes(*seal) {
                    return Err(Refusal::Malformed);
                }
                body
            }
        };
        let mut reader = Reader(Bytes::copy_from_slice(body));
        let header = take_header(&mut reader)?;
        Ok((header, reader.0))
    }
}

fn put_incarnation(out: &mut BytesMut, incarnation: Incarnation) {
    out.put_u32_le(incarnation.start);
    out.put_u32_le(incarnation.renewal);
}

fn take_incarnation(reader: &mut Reader) -> Result<Incarnation, DecodeError> {
    Ok(Incarnation { start: reader.u32()?, renewal: reader.u32()? })
}

fn take_header(reader: &mut Reader) -> Result<Header, DecodeError> {
    let _format_and_seal = reader.u16()?;
    let code = reader.u8()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
    Ok(Header {
        kind: kind.ok_or(DecodeError("an unknown kind of datagram"))?,
        cluster: reader.u64()?,
        from: reader.node()?,
        incarnation: take_incarnation(reader)?,
        process: reader.u64()?,
        to: reader.node()?,
        known: take_incarnation(reader)?,
        number: reader.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Echo,
            cluster: 7,
            from: NodeId::new(1).unwrap(),
            incarnation: Incarnation { start: 2, renewal: 3 },
            process: 99,
            to: NodeId::new(2).unwrap(),
            known: Incarnation::of_start(8),
            number: 12,
        }
    }

    fn secret(text: &'static str) -> Secret {
        Secret::new(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_datagram_is_read_as_it_was_sealed() {
        let ours = secret("correct horse battery staple");
        for sealer in [Sealer::new(None), Sealer::new(Some(&ours))] {
            let datagram = sealer.seal(&header(), b"content");
            assert_eq!(sealer.open(&datagram), Ok((header(), Bytes::from_static(b"content"))));
            let most = sealer.seal(&header(), &[1; MOST_CONTENT]);
            assert!(most.len() <= MOST_BYTES);
            assert!(sealer.open(&most).is_ok());
            assert_eq!(sealer.open(&[0; MOST_BYTES + 1]), Err(Refusal::Malformed));
        }
        let sealed = Sealer::new(None).seal(&header(), b"");
        assert_eq!(sealed.len(), HEADER_BYTES + CRC_BYTES);
    }

    #[test]
    fn no_bit_of_a_datagram_may_change() {
        let ours = secret("correct horse battery staple");
        for sealer in [Sealer::new(None), Sealer::new(Some(&ours))] {
            let datagram = sealer.seal(&header(), b"content");
            for at in 0..datagram.len() * 8 {
                let mut bad = datagram.to_vec();
                bad[at / 8] ^= 1 << (at % 8);
                assert!(sealer.open(&bad).is_err(), "bit {at}");
            }
            for len in 0..datagram.len() {
                assert!(sealer.open(&datagram[..len]).is_err());
            }
        }
    }

    #[test]
    fn only_the_same_secret_opens_a_seal() {
        let ours = Sealer::new(Some(&secret("correct horse battery staple")));
        let theirs = Sealer::new(Some(&secret("correct horse battery stable")));
        let open = Sealer::new(None);
        for (from, to) in [(&ours, &theirs), (&ours, &open), (&open, &ours)] {
            let datagram = from.seal(&header(), b"content");
            assert_eq!(to.open(&datagram), Err(Refusal::Unauthentic));
        }
    }

    #[test]
    fn a_secret_has_a_length_and_is_not_shown() {
        assert_eq!(Secret::new(Bytes::from_static(b"fifteen letters")), None);
        assert_eq!(format!("{:?}", secret("sixteen letters!")), "Secret(..)");
        let sealer = format!("{:?}", Sealer::new(Some(&secret("sixteen letters!"))));
        assert_eq!(sealer, "Sealer { authentic: true }");
    }
}
