//! What this node and others say when they introduce themselves.

use bytes::Bytes;
use kvorum_cluster::founding::{Candidate, Greeting, Name, Refusal, RefusalKind};
use kvorum_core::{Mono, NodeId};

use super::{Founding, Stage};
use crate::StartError;
use crate::peer::Announcement;

/// What came of an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// A node and the number of its process.
    Peer(NodeId, u64),
    /// A node whose process is not known yet, because it does not know the nodes yet.
    Stranger(NodeId),
    /// This node itself.
    Myself,
}

impl Founding {
    /// What this node says to whoever answers at an entry of the peer list.
    pub(crate) fn hello(&self, place: usize) -> Bytes {
        let to = self.peers.get(place).and_then(|peer| peer.id);
        self.greeting(to).encode()
    }

    fn greeting(&self, to: Option<NodeId>) -> Greeting {
        match &self.stage {
            Stage::Known(core) => {
                Greeting::Hello(Box::new(core.hello(to, self.durable, self.clock)))
            }
            Stage::Learning(_) | Stage::Failed(_) => Greeting::Name(Name {
                cluster: self.candidate.cluster.clone(),
                node: self.candidate.node,
                nonce: self.candidate.nonce,
            }),
        }
    }

    /// Another node introduces itself: what to answer, and whom this node has met.
    pub(crate) fn greeted(&mut self, said: &Announcement, now: Mono) -> (Bytes, Option<Met>) {
        let greeting = Greeting::decode(said.body.clone()).map_err(Refusal::from);
        let met = greeting.and_then(|greeting| self.meet(&greeting, now));
        match met {
            Ok(met) => {
                let answer = match met {
                    Met::Peer(id, _) => {
                        self.addresses.note(id, said);
                        Some(id)
                    }
                    Met::Stranger(_) | Met::Myself => None,
                };
                (self.greeting(answer).encode(), Some(met))
            }
            Err(refusal) => (Greeting::Refused(refusal).encode(), None),
        }
    }

    /// What was answered at an entry of the peer list.
    ///
    /// # Errors
    /// The node there and this one do not work together; the reason in words.
    pub(crate) fn answered(
        &mut self,
        place: usize,
        said: &Announcement,
        now: Mono,
    ) -> Result<Met, String> {
        let greeting = Greeting::decode(said.body.clone()).map_err(Refusal::from);
        match greeting.and_then(|greeting| self.meet(&greeting, now)) {
            Ok(met) => {
                let id = match met {
                    Met::Peer(id, _) => {
                        self.addresses.note(id, said);
                        id
                    }
                    Met::Stranger(id) => id,
                    Met::Myself => self.candidate.node,
                };
                if let Some(peer) = self.peers.get_mut(place).filter(|peer| peer.id.is_none()) {
                    peer.id = Some(id);
                    self.know_if_all_are_learned(now);
                }
                Ok(met)
            }
            Err(refusal) if refusal.kind == RefusalKind::Myself => Ok(Met::Myself),
            Err(refusal) => {
                let reason = refusal.reason.clone();
                match &mut self.stage {
                    Stage::Known(core) => core.refused(refusal),
                    Stage::Learning(_) if refusal.kind.is_fatal() => {
                        self.stage = Stage::Failed(StartError::Refused(refusal.reason));
                    }
                    Stage::Learning(_) | Stage::Failed(_) => {}
                }
                Err(reason)
            }
        }
    }

    /// Takes note of what a node has said.
    fn meet(&mut self, greeting: &Greeting, now: Mono) -> Result<Met, Refusal> {
        match (greeting, &mut self.stage) {
            (Greeting::Hello(hello), Stage::Known(core)) => {
                core.receive(hello, now)?;
                Ok(Met::Peer(hello.node, hello.mark.nonce))
            }
            (Greeting::Hello(hello), _) => self.meet_by_name(&Name {
                cluster: hello.cluster.clone(),
                node: hello.node,
                nonce: hello.mark.nonce,
            }),
            (Greeting::Name(name), _) => self.meet_by_name(name),
            (Greeting::Refused(refusal), _) => Err(refusal.clone()),
        }
    }

    fn meet_by_name(&self, name: &Name) -> Result<Met, Refusal> {
        let refuse = |kind, reason| Err(Refusal { kind, reason });
        let Candidate { cluster, node, nonce, .. } = &self.candidate;
        if name.cluster != *cluster {
            let (other, theirs) = (name.node, &name.cluster);
            let reason = format!(
                "node {other} belongs to the cluster {theirs:?} and node {node} to {cluster:?}"
            );
            return refuse(RefusalKind::OtherCluster, reason);
        }
        match (name.node == *node, name.nonce == *nonce) {
            (false, _) => Ok(Met::Stranger(name.node)),
            (true, true) => Ok(Met::Myself),
            (true, false) => {
                let reason = format!("another process already runs as node {node}");
                refuse(RefusalKind::Duplicate, reason)
            }
        }
    }
}
