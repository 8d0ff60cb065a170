//! The list of peers an operator writes: `1=host:port,2=host:port`, or `host:port,host:port`
//! where the nodes tell their ids themselves.

use std::fmt;

use kvorum_core::NodeId;
use xxhash_rust::xxh3::xxh3_64;

/// One entry of the list: a node's address for introductions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node's id, if the list names it.
    pub id: Option<NodeId>,
    /// Host name or IP address, an IPv6 one without brackets.
    pub host: String,
    /// The port, not zero.
    pub port: u16,
}

/// Writes the entry as [`parse`] reads it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.id {
            write!(f, "{id}=")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with a list of peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// The list has no entries.
    #[error("the list of peers is empty")]
    Empty,
    /// An entry is not `host:port` or `id=host:port`.
    #[error("{0:?} in the list of peers is neither host:port nor id=host:port")]
    Shape(String),
    /// An id is not a number in range.
    #[error("the id of {0:?} in the list of peers is not a number from 1 to {max}", max = NodeId::MAX)]
    Id(String),
    /// A port is not a number in range.
    #[error("the port of {0:?} in the list of peers is not a number from 1 to 65535")]
    Port(String),
    /// Two entries have the same id.
    #[error("the id {0} is twice in the list of peers")]
    SameId(NodeId),
    /// Two entries have the same address.
    #[error("the address {0} is twice in the list of peers")]
    SameAddress(String),
    /// Some entries have ids and others have none.
    #[error("either all entries of the list of peers have an id or none has")]
    Mixed,
    /// This node is not in the list.
    #[error("this node has the id {0}, which is not in the list of peers")]
    NotListed(NodeId),
}

/// Reads a list of peers; blanks around entries do not matter.
///
/// # Errors
/// [`PeersError`] names the entry that is wrong.
pub fn parse(text: &str) -> Result<Vec<Peer>, PeersError> {
    if text.trim().is_empty() {
        return Err(PeersError::Empty);
    }
    let peers: Vec<Peer> =
        text.split(',').map(|entry| parse_entry(entry.trim())).collect::<Result<_, _>>()?;
    let with_id = peers.iter().filter(|peer| peer.id.is_some()).count();
    if with_id != 0 && with_id != peers.len() {
        return Err(PeersError::Mixed);
    }
    for (at, peer) in peers.iter().enumerate() {
        let mut others = peers.iter().take(at);
        if let Some(id) = peer.id.filter(|_| others.clone().any(|other| other.id == peer.id)) {
            return Err(PeersError::SameId(id));
        }
        if others.any(|other| (&other.host, other.port) == (&peer.host, peer.port)) {
            return Err(PeersError::SameAddress(format!("{}:{}", peer.host, peer.port)));
        }
    }
    Ok(peers)
}

fn parse_entry(entry: &str) -> Result<Peer, PeersError> {
    let (id, address) = match entry.split_once('=') {
        Some((id, address)) => {
            let number = id.trim().parse().ok().and_then(NodeId::new);
            (Some(number.ok_or_else(|| PeersError::Id(entry.to_owned()))?), address.trim())
        }
        None => (None, entry),
    };
    let shape = || PeersError::Shape(entry.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let plain = !host.contains([':', '[', ']', '/', '=', ' ']);
    let host = bracketed.or(plain.then_some(host)).filter(|host| !host.is_empty());
    let host = host.ok_or_else(shape)?.to_ascii_lowercase();
    match port.parse() {
        Ok(port) if port > 0 => Ok(Peer { id, host, port }),
        _ => Err(PeersError::Port(entry.to_owned())),
    }
}

/// The ids of a list whose entries have them, sorted; nothing if they have none.
///
/// # Errors
/// [`PeersError::NotListed`] if the entries have ids and `me` is not among them.
pub fn ids(peers: &[Peer], me: NodeId) -> Result<Option<Vec<NodeId>>, PeersError> {
    let ids: Option<Vec<NodeId>> = peers.iter().map(|peer| peer.id).collect();
    let Some(mut ids) = ids else { return Ok(None) };
    ids.sort_unstable();
    if ids.contains(&me) { Ok(Some(ids)) } else { Err(PeersError::NotListed(me)) }
}

/// A fingerprint of the nodes of a list, in any order. It covers the ids and not the addresses:
/// those may differ from where one looks, and change, without changing who the nodes are.
#[must_use]
pub fn fingerprint(ids: &[NodeId]) -> u64 {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let bytes: Vec<u8> = sorted.iter().flat_map(|id| id.get().to_le_bytes()).collect();
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    #[test]
    fn both_forms_are_read_and_written_alike() {
        for text in ["1=a:7000,2=b.example:7001", "a:7000,[::1]:7001", "10.0.0.1:1"] {
            let written: Vec<String> =
                parse(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(written.join(","), text);
        }
        let peers = parse(" 2 = B:1 , 1=a:2 ").unwrap();
        assert_eq!(
            peers,
            [
                Peer { id: Some(id(2)), host: "b".to_owned(), port: 1 },
                Peer { id: Some(id(1)), host: "a".to_owned(), port: 2 },
            ]
        );
        assert_eq!(ids(&peers, id(1)), Ok(Some(vec![id(1), id(2)])));
        assert_eq!(ids(&peers, id(3)), Err(PeersError::NotListed(id(3))));
        assert_eq!(ids(&parse("a:1,b:2").unwrap(), id(3)), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        let shape = |text: &str| Err(PeersError::Shape(text.to_owned()));
        assert_eq!(parse("  "), Err(PeersError::Empty));
        assert_eq!(parse("a:1,"), shape(""));
        assert_eq!(parse("a"), shape("a"));
        assert_eq!(parse(":80"), shape(":80"));
        assert_eq!(parse("http://a:80"), shape("http://a:80"));
        assert_eq!(parse("::1:80"), shape("::1:80"));
        assert_eq!(parse("0=a:1"), Err(PeersError::Id("0=a:1".to_owned())));
        assert_eq!(parse("x=a:1"), Err(PeersError::Id("x=a:1".to_owned())));
        assert_eq!(parse("1048576=a:1"), Err(PeersError::Id("1048576=a:1".to_owned())));
        assert_eq!(parse("a:0"), Err(PeersError::Port("a:0".to_owned())));
        assert_eq!(parse("a:65536"), Err(PeersError::Port("a:65536".to_owned())));
        assert_eq!(parse("1=a:1,1=b:1"), Err(PeersError::SameId(id(1))));
        assert_eq!(parse("1=a:1,2=A:1"), Err(PeersError::SameAddress("a:1".to_owned())));
        assert_eq!(parse("1=a:1,b:1"), Err(PeersError::Mixed));
    }

    #[test]
    fn the_fingerprint_is_of_the_set_of_nodes() {
        assert_eq!(fingerprint(&[id(1), id(2)]), fingerprint(&[id(2), id(1)]));
        assert_ne!(fingerprint(&[id(1), id(2)]), fingerprint(&[id(1), id(3)]));
        assert_ne!(fingerprint(&[id(1)]), fingerprint(&[id(1), id(2)]));
    }
}
