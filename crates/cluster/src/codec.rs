//! The compact encoding of what is persisted and of introductions; little endian throughout.
//!
//! Texts and lists are preceded by their length. Decoding never panics and allocates no more than
//! the input justifies.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::layout::Placement;
use kvorum_core::{Consistency, Keyspace, KeyspaceId, Layout, Mode, NodeId, PartitionId};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed data: {0}")]
pub struct DecodeError(pub(crate) &'static str);

pub(crate) const TRUNCATED: DecodeError = DecodeError("cut short");

/// Takes values off the front of a byte string.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| TRUNCATED)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.0.try_get_u16_le().map_err(|_| TRUNCATED)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.0.try_get_u32_le().map_err(|_| TRUNCATED)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64_le().map_err(|_| TRUNCATED)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, DecodeError> {
        self.0.try_get_u128_le().map_err(|_| TRUNCATED)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, DecodeError> {
        NodeId::new(self.u32()?).ok_or(DecodeError("a node id is out of range"))
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let len = usize::from(self.u16()?);
        if len > self.0.len() {
            return Err(TRUNCATED);
        }
        let bytes = self.0.split_to(len).to_vec();
        String::from_utf8(bytes).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    /// A list of at most 65535 elements.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut list = Vec::new();
        for _ in 0..self.u16()? {
            list.push(element(self)?);
        }
        Ok(list)
    }

    pub(crate) fn optional<T>(
        &mut self,
        value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag()? { value(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn layout(&mut self) -> Result<Layout, DecodeError> {
        const INVALID: DecodeError = DecodeError("the layout contradicts itself");
        let version = self.u64()?;
        let nodes = self.list(Reader::node)?;
        let keyspaces = self.list(|reader| {
            Ok(Keyspace {
                id: KeyspaceId(reader.u32()?),
                name: reader.text()?,
                mode: reader.mode()?,
                placement: reader.u16()?,
                read: reader.consistency()?,
                write: reader.consistency()?,
            })
        })?;
        let placements = self.list(|reader| {
            let replicas = reader.list(|reader| reader.list(Reader::node))?;
            Placement::new(replicas).map_err(|_| INVALID)
        })?;
        Layout::new(version, nodes, keyspaces, placements).map_err(|_| INVALID)
    }

    fn mode(&mut self) -> Result<Mode, DecodeError> {
        match self.u8()? {
            1 => Ok(Mode::Eventual),
            2 => Ok(Mode::Strong),
            _ => Err(DecodeError("unknown keyspace mode")),
        }
    }

    fn consistency(&mut self) -> Result<Consistency, DecodeError> {
        match self.u8()? {
            1 => Ok(Consistency::One),
            2 => Ok(Consistency::Quorum),
            3 => Ok(Consistency::All),
            4 => Ok(Consistency::Lease),
            5 => Ok(Consistency::Safe),
            6 => Ok(Consistency::Follower),
            7 => Ok(Consistency::Stale { max_ms: self.u32()? }),
            _ => Err(DecodeError("unknown consistency level")),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError("there are bytes behind the end")) }
    }
}

pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16_le(len);
    out.put_slice(bytes.get(..usize::from(len)).unwrap_or_default());
}

pub(crate) fn put_list<T>(
    out: &mut BytesMut,
    list: &[T],
    mut element: impl FnMut(&mut BytesMut, &T),
) {
    let len = u16::try_from(list.len()).unwrap_or(u16::MAX);
    out.put_u16_le(len);
    for item in list.iter().take(usize::from(len)) {
        element(out, item);
    }
}

pub(crate) fn put_optional<T>(
    out: &mut BytesMut,
    value: Option<&T>,
    put: impl FnOnce(&mut BytesMut, &T),
) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(crate) fn put_node(out: &mut BytesMut, node: NodeId) {
    out.put_u32_le(node.get());
}

pub(crate) fn put_layout(out: &mut BytesMut, layout: &Layout) {
    out.put_u64_le(layout.version());
    put_list(out, layout.nodes(), |out, node| put_node(out, *node));
    put_list(out, layout.keyspaces(), |out, keyspace| {
        out.put_u32_le(keyspace.id.0);
        put_text(out, &keyspace.name);
        out.put_u8(match keyspace.mode {
            Mode::Eventual => 1,
            Mode::Strong => 2,
        });
        out.put_u16_le(keyspace.placement);
        put_consistency(out, keyspace.read);
        put_consistency(out, keyspace.write);
    });
    let placements = layout.keyspaces().iter().map(|keyspace| keyspace.placement + 1).max();
    let placements: Vec<u16> = (0..placements.unwrap_or(0)).collect();
    put_list(out, &placements, |out, &placement| {
        let replicas = |number| layout.replicas(PartitionId { placement, number });
        let lists: Vec<&[NodeId]> =
            (0..=u16::MAX).map(replicas).take_while(|list| !list.is_empty()).collect();
        put_list(out, &lists, |out, list| {
            put_list(out, list, |out, node| put_node(out, *node));
        });
    });
}

fn put_consistency(out: &mut BytesMut, level: Consistency) {
    out.put_u8(match level {
        Consistency::One => 1,
        Consistency::Quorum => 2,
        Consistency::All => 3,
        Consistency::Lease => 4,
        Consistency::Safe => 5,
        Consistency::Follower => 6,
        Consistency::Stale { .. } => 7,
    });
    if let Consistency::Stale { max_ms } = level {
        out.put_u32_le(max_ms);
    }
}
