//! Where the other nodes can be reached: what they said last, remembered across restarts, so that
//! a node that is down is still shown by its name and with its addresses.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_core::{NodeId, ReadError};
use kvorum_storage::Store;

use crate::peer::Announcement;
use crate::{Advertised, PeerAddress, local};

/// The names and addresses of other nodes.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: BTreeMap<NodeId, (String, Advertised)>,
    /// Those that have changed since they were written.
    unwritten: BTreeSet<NodeId>,
}

impl Addresses {
    /// Reads what is remembered of these nodes.
    ///
    /// # Errors
    /// A record is damaged.
    pub(super) fn read(nodes: &[NodeId], store: &mut Store) -> Result<Addresses, ReadError> {
        let mut addresses = Addresses::default();
        for &id in nodes {
            let Some(record) = local::get(store, &key(id))? else { continue };
            match Announcement::decode(record) {
                Ok(said) => drop(addresses.known.insert(id, (said.name, said.advertised))),
                Err(why) => tracing::warn!("the address of node {id} cannot be read: {why}"),
            }
        }
        Ok(addresses)
    }

    /// Notes what a node says of itself.
    pub(super) fn note(&mut self, id: NodeId, said: &Announcement) {
        let new = (said.name.clone(), said.advertised.clone());
        if self.known.get(&id) != Some(&new) {
            self.known.insert(id, new);
            self.unwritten.insert(id);
        }
    }

    /// Writes what has changed.
    pub(super) fn keep(&mut self, store: &mut Store) {
        while let Some(id) = self.unwritten.first().copied() {
            let Some((name, advertised)) = self.known.get(&id).cloned() else { return };
            let said = Announcement { name, advertised, body: Bytes::new() };
            // If this turn's frame is full a later turn tries again.
            if local::put(store, &key(id), said.encode()).is_err() {
                return;
            }
            self.unwritten.remove(&id);
        }
    }

    /// The name and the addresses of a node. Of one that was never met they are the name it has
    /// unless it is given another one, and the address in the list of peers.
    pub(super) fn of(&self, id: NodeId, peers: &[PeerAddress]) -> (String, Advertised) {
        let listed = || {
            let peer = peers.iter().find(|peer| peer.id == Some(id));
            let advertised = peer.map(|peer| Advertised {
                host: peer.host.clone(),
                grpc_port: peer.port,
                ..Advertised::default()
            });
            (format!("node-{id}"), advertised.unwrap_or_default())
        };
        self.known.get(&id).cloned().unwrap_or_else(listed)
    }
}

/// The key of a node's record.
fn key(id: NodeId) -> Vec<u8> {
    format!("address/{id}").into_bytes()
}
