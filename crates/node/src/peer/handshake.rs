//! The first frame of a stream: who speaks, and to whom.

use kvorum_core::NodeId;
use kvorum_proto::kvorum::peer::v1 as proto;
use kvorum_shard::Class;

/// The version of the stream protocol.
const PROTOCOL: u32 = 1;

/// What is the same in all handshakes of one process.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// This node.
    pub(crate) me: NodeId,
    /// Drawn at random at the start of the process.
    pub(crate) process: u64,
}

/// A handshake that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The speaker.
    pub(crate) from: NodeId,
    /// Which stream of the connection this is.
    pub(crate) class: Class,
    /// Tells two processes of one id apart.
    pub(crate) process: u64,
    /// Joins the streams of one connection.
    pub(crate) connection: u64,
}

impl LocalNode {
    /// What this node says first on a stream.
    pub(crate) fn speak(&self, to: NodeId, class: Class, connection: u64) -> proto::Handshake {
        proto::Handshake {
            protocol: PROTOCOL,
            cluster: self.cluster.clone(),
            from: self.me.get(),
            to: to.get(),
            class: match class {
                Class::Data => proto::Class::Data.into(),
                Class::Bulk => proto::Class::Bulk.into(),
            },
            process: self.process,
            connection,
        }
    }

    /// Checks what the other side said first.
    ///
    /// # Errors
    /// Why the stream is refused, in words for both sides' logs.
    pub(crate) fn check(&self, said: &proto::Handshake) -> Result<Handshake, String> {
        let them = said.from;
        if said.protocol != PROTOCOL {
            let theirs = said.protocol;
            return Err(format!("node {them} speaks peer protocol {theirs}, this node {PROTOCOL}"));
        }
        if said.cluster != self.cluster {
            let (theirs, ours) = (&said.cluster, &self.cluster);
            return Err(format!(
                "node {them} belongs to cluster {theirs:?}, this node to {ours:?}"
            ));
        }
        if said.to != self.me.get() {
            let (to, me) = (said.to, self.me);
            return Err(format!("node {them} wants to speak to node {to}; this is node {me}"));
        }
        let from = NodeId::new(them).filter(|id| *id != self.me);
        let from = from.ok_or_else(|| format!("{them} is not the id of another node"))?;
        let class = match said.class() {
            proto::Class::Data => Class::Data,
            proto::Class::Bulk => Class::Bulk,
            proto::Class::Unspecified => return Err("the stream has no class".to_owned()),
        };
        Ok(Handshake { from, class, process: said.process, connection: said.connection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(me: u32, cluster: &str) -> LocalNode {
        LocalNode {
            cluster: cluster.to_owned(),
            me: NodeId::new(me).unwrap(),
            process: u64::from(me),
        }
    }

    #[test]
    fn a_handshake_is_understood_by_the_node_it_is_meant_for_only() {
        let (one, two) = (node(1, "a"), node(2, "a"));
        let said = one.speak(two.me, Class::Bulk, 42);
        let heard = two.check(&said).unwrap();
        assert_eq!(
            heard,
            Handshake { from: one.me, class: Class::Bulk, process: 1, connection: 42 }
        );
        assert!(node(3, "a").check(&said).unwrap_err().contains("this is node 3"));
        assert!(node(2, "b").check(&said).unwrap_err().contains("cluster"));
        let later = proto::Handshake { protocol: 2, ..said };
        assert!(two.check(&later).unwrap_err().contains("protocol 2"));
    }
}
