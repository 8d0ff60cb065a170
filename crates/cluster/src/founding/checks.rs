//! Whom a node will not work with, and which data directory is not its own.

use kvorum_core::NodeId;

use super::hello::{Hello, Refusal, RefusalKind};
use super::membership::{self, Membership};
use super::{Candidate, Founding};
use crate::peers;

impl Founding {
    /// Whether this node will work with the one that introduces itself.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |kind, reason| Err(Refusal { kind, reason });
        let (me, other) = (&self.me, hello.node);
        if hello.cluster != me.cluster {
            let (ours, theirs) = (&me.cluster, &hello.cluster);
            let reason = format!(
                "node {other} belongs to the cluster {theirs:?} and node {} to {ours:?}",
                me.node
            );
            return refuse(RefusalKind::OtherCluster, reason);
        }
        if other == me.node && hello.mark.nonce == me.nonce {
            return refuse(RefusalKind::Myself, "this is the node itself".to_owned());
        }
        if other == me.node {
            let reason = format!("another process already runs as node {other}");
            return refuse(RefusalKind::Duplicate, reason);
        }
        if !self.nodes.contains(&other) {
            let reason = format!("node {other} is not in the list of peers of node {}", me.node);
            return refuse(RefusalKind::OtherNode, reason);
        }
        if hello.peers != peers::fingerprint(&self.nodes) {
            let reason = format!("the nodes {} and {other} have different lists of peers", me.node);
            return refuse(RefusalKind::OtherPeers, reason);
        }
        self.check_founding(hello)
    }

    /// Whoever has no cluster yet adopts the founding of who has; otherwise they must agree.
    fn check_founding(&self, hello: &Hello) -> Result<(), Refusal> {
        let (mine, other) = (self.me.node, hello.node);
        let theirs = hello.founded.as_ref();
        let ours = self.membership.as_ref().map(|membership| &membership.founded);
        let same_layout = hello.layout == membership::fingerprint(self.layout());
        let agreed = match (ours, theirs) {
            (Some(ours), Some(theirs)) => same_layout && ours.is_the_birth_of(theirs),
            (None, None) => same_layout,
            _ => true,
        };
        if agreed {
            return Ok(());
        }
        let (kind, reason) = if ours.is_some() {
            let reason = format!("the nodes {mine} and {other} founded different clusters");
            (RefusalKind::OtherCluster, reason)
        } else {
            let ours = membership::replication(&self.proposal);
            let reason = format!(
                "node {mine} would found the cluster with {ours} replicas of each key and node \
                 {other} with {}, or with other keyspaces or another release",
                hello.replication
            );
            (RefusalKind::OtherSettings, reason)
        };
        Err(Refusal { kind, reason })
    }
}

/// Whether a data directory is the one this process should have.
pub(super) fn directory(
    me: &Candidate,
    nodes: &[NodeId],
    found: &Membership,
) -> Result<(), Refusal> {
    let refuse = |kind, reason| Err(Refusal { kind, reason });
    if found.cluster != me.cluster {
        let reason = format!(
            "the data directory belongs to the cluster {:?}, not to {:?}",
            found.cluster, me.cluster
        );
        return refuse(RefusalKind::OtherCluster, reason);
    }
    if found.node != me.node {
        let reason = format!("the data directory belongs to node {}, not {}", found.node, me.node);
        return refuse(RefusalKind::OtherNode, reason);
    }
    if found.founded.layout.nodes() != nodes {
        let list = |nodes: &[NodeId]| {
            nodes.iter().map(ToString::to_string).collect::<Vec<String>>().join(",")
        };
        let reason = format!(
            "the cluster was founded by the nodes {}, but the list of peers has {}",
            list(found.founded.layout.nodes()),
            list(nodes)
        );
        return refuse(RefusalKind::OtherPeers, reason);
    }
    Ok(())
}
