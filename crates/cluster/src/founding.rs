//! How blank nodes become a cluster exactly once, and how a node that comes back with less than
//! it once acknowledged is found out.
//!
//! Every node has a list of all nodes. They introduce themselves to each other ([`Hello`], in both
//! directions at once) until everything is decided, again whenever they connect, and again after
//! something they said has changed. From that follows:
//!
//! - **Birth.** A node without a cluster serves nothing until it has met all others of the list.
//!   If none of them has a cluster either, it founds: it persists the layout and everybody's log
//!   id. All nodes compute the same layout from the same list and check that they do, so it does
//!   not matter who founds first, and a node that meets a founded one adopts its founding. If a
//!   node loses its disk meanwhile, two nodes may both found and remember different logs; of what
//!   all must share, the seed of digests, the lower one counts from when they meet.
//! - **Coming back.** Members remember each other's [`Watermark`]. A node of which a member
//!   remembers another log, a durable record it has not recovered, or a start it has not seen, has
//!   lost something: it is *rebuilding* and says so durably before it serves anything. What a
//!   rebuild makes good is noted as [`Settled`], so that a member that hears of it late does not
//!   object again.
//! - **Duplicates.** While a process is connected under an id, another one is put off; if both
//!   show signs of life, the newer is refused for good.
//!
//! **Invariant:** what a node says of its cluster is durable: a [`Hello`] never tells of a founding
//! that [`Founding::persisted`] has not confirmed.

mod checks;
mod hello;
mod membership;
mod rivals;
mod stamping;
mod watermarks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Hlc, Layout, Lsn, Mono, NodeId};

pub use crate::codec::DecodeError;
pub use hello::{
    Greeting, Hello, HelloError, Name, PROTOCOL, Refusal, RefusalKind, Settled, Watermark,
};
pub use membership::{Founded, Membership};
use rivals::Rivals;
use watermarks::{Claim, Watermarks};

use crate::peers;

/// The key of the record that holds the membership, in [`kvorum_core::KeyspaceId::LOCAL`].
pub const MEMBERSHIP_KEY: &[u8] = b"membership";
/// The key of the record that holds the watermarks of the other nodes, in
/// [`kvorum_core::KeyspaceId::LOCAL`].
pub const WATERMARKS_KEY: &[u8] = b"watermarks";

/// A member that has met fewer than a majority of the nodes, itself included, serves after this
/// long all the same: the others may be gone for good.
const SERVE_ANYWAY_AFTER: Duration = Duration::from_secs(5);

/// What a process knows of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name of its cluster.
    pub cluster: String,
    /// Its id.
    pub node: NodeId,
    /// A random number, new at every start.
    pub nonce: u64,
    /// The id of its log.
    pub log_id: u128,
    /// The start number of its log.
    pub start: u32,
    /// How far its log was durable at the start.
    pub recovered: Lsn,
    /// The largest clock reading of any version in its log at the start.
    pub highest: Hlc,
    /// Its log was found damaged, now or at an earlier start, and has not been rebuilt since.
    pub damaged: bool,
}

/// What a node has persisted; nothing at its first start.
#[derive(Clone, Debug, Default)]
pub struct Persisted {
    /// The record of [`MEMBERSHIP_KEY`].
    pub membership: Option<Bytes>,
    /// The record of [`WATERMARKS_KEY`].
    pub watermarks: Option<Bytes>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on introducing this node to the missing ones, and ask again: after every introduction,
    /// and at `until`.
    Wait {
        /// The nodes that have not been met.
        missing: Vec<NodeId>,
        /// When waiting ends by itself.
        until: Option<Mono>,
    },
    /// Make this record durable under [`MEMBERSHIP_KEY`], call [`Founding::persisted`], ask again.
    Persist(Bytes),
    /// Serve.
    Serve,
    /// Rebuild all partitions while serving, and call [`Founding::rebuilt`] when that is durable.
    /// This stays the decision until then.
    Rebuild {
        /// What was lost, for the log.
        reason: String,
        /// Versions must be stamped with readings above this one: [`Founding::clock`] begins there,
        /// and a clock that runs already is to observe it.
        clock_above: Hlc,
    },
    /// Do not serve: end if the refusal is fatal, else go on introducing this node.
    Refuse(Refusal),
}

/// The founding state of one node. Its driver feeds it introductions and asks for decisions.
#[derive(Clone, Debug)]
pub struct Founding {
    me: Candidate,
    nodes: Vec<NodeId>,
    proposal: Layout,
    serve_anyway_at: Mono,
    membership: Option<Membership>,
    /// The membership is durable as it is.
    durable: bool,
    /// A membership is durable, if perhaps not in its latest form: others may hear of it.
    announced: bool,
    reason: String,
    clock_above: Hlc,
    /// Who has introduced itself, and its log.
    met: BTreeMap<NodeId, u128>,
    watermarks: Watermarks,
    rivals: Rivals,
    refusal: Option<Refusal>,
}

impl Founding {
    /// The state of a process that starts now. `proposal` is the layout this node would found a
    /// cluster with; its nodes are the list of peers, this node included.
    ///
    /// # Errors
    /// [`Refusal`] if what is persisted belongs to another cluster, another node or another list
    /// of peers, or makes no sense.
    pub fn new(
        me: Candidate,
        proposal: Layout,
        persisted: Persisted,
        now: Mono,
    ) -> Result<Founding, Refusal> {
        let nodes = proposal.nodes().to_vec();
        let unreadable = |error: DecodeError| Refusal {
            kind: RefusalKind::OtherCluster,
            reason: format!("the data directory's record of its cluster cannot be read: {error}"),
        };
        let membership = persisted.membership.map(Membership::decode).transpose();
        let membership = membership.map_err(unreadable)?;
        if let Some(membership) = &membership {
            checks::directory(&me, &nodes, membership)?;
        }
        let watermarks = persisted.watermarks.map(Watermarks::decode).transpose();
        let mut founding = Founding {
            me,
            nodes,
            proposal,
            serve_anyway_at: now + SERVE_ANYWAY_AFTER,
            announced: membership.is_some(),
            membership,
            durable: true,
            reason: "an earlier start found that data is missing".to_owned(),
            clock_above: Hlc::default(),
            met: BTreeMap::new(),
            watermarks: watermarks.map_err(unreadable)?.unwrap_or_default(),
            rivals: Rivals::default(),
            refusal: None,
        };
        founding.resume();
        founding.found_if_all_are_met();
        Ok(founding)
    }

    /// Brings a membership of an earlier start up to date with the log of this one.
    fn resume(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        for (node, log_id) in &membership.founded.members {
            if *node != self.me.node && self.watermarks.get(*node).is_none() {
                self.watermarks.begin(*node, *log_id);
            }
        }
        let replaced = membership.log_id != self.me.log_id;
        if replaced {
            membership.settle(Settled { log_id: membership.log_id, nonce: 0 });
            membership.log_id = self.me.log_id;
        }
        if replaced || (self.me.damaged && !membership.rebuilding) {
            membership.rebuilding = true;
            self.durable = false;
            "this node's log is damaged".clone_into(&mut self.reason);
        }
    }

    /// What this node says of itself to `to`, or to whoever listens at an address whose node is
    /// not known yet. `durable` is how far its log is durable now, `clock` its hybrid clock.
    #[must_use]
    pub fn hello(&self, to: Option<NodeId>, durable: Lsn, clock: Hlc) -> Hello {
        let Candidate { cluster, node, nonce, log_id, recovered, .. } = self.me.clone();
        let start = self.start();
        let membership = self.membership.as_ref();
        Hello {
            cluster,
            node,
            mark: Watermark { log_id, nonce, start, durable },
            recovered,
            clock,
            peers: peers::fingerprint(&self.nodes),
            replication: membership::replication(self.layout()),
            layout: membership::fingerprint(self.layout()),
            founded: membership.filter(|_| self.announced).map(|known| known.founded.clone()),
            rebuilding: membership.is_some_and(|membership| membership.rebuilding),
            settled: membership.map(|known| known.settled.clone()).unwrap_or_default(),
            known: membership.and(to).and_then(|to| self.watermarks.get(to)),
        }
    }

    /// Takes note of the introduction of another node. If that came as a request, its answer is
    /// [`Founding::hello`] to that node; if it came as an answer and is refused, the refusal is to
    /// be noted with [`Founding::refused`].
    ///
    /// # Errors
    /// [`Refusal`]: this node will not work with the other one, and should tell it.
    pub fn receive(&mut self, hello: &Hello, now: Mono) -> Result<(), Refusal> {
        self.check(hello)?;
        self.rivals.introduced(hello.node, hello.mark.nonce, now)?;
        match (&hello.founded, &hello.known) {
            (Some(founded), Some(known)) => self.learn(hello.node, founded, known),
            // It does not know yet to whom it speaks, so it could not say what it remembers.
            (Some(_), None) => return Ok(()),
            (None, _) => {}
        }
        self.met.insert(hello.node, hello.mark.log_id);
        self.refusal.take_if(|refusal| !refusal.kind.is_fatal());
        self.clock_above = self.clock_above.max(hello.clock);
        if self.membership.is_some() {
            self.watermarks.introduced(hello);
        }
        self.found_if_all_are_met();
        Ok(())
    }

    /// Another node refuses this one, or this one refuses another's answer.
    pub fn refused(&mut self, refusal: Refusal) {
        let fatal = |refusal: &Refusal| refusal.kind.is_fatal();
        if refusal.kind != RefusalKind::Myself && !self.refusal.as_ref().is_some_and(fatal) {
            self.refusal = Some(refusal);
        }
    }

    /// What is to be done. The answer changes with what is received, and with time while waiting.
    #[must_use]
    pub fn decide(&self, now: Mono) -> Decision {
        let majority = self.met.len() + 1 > self.nodes.len() / 2;
        if let Some(refusal) = self.refusal.as_ref().filter(|_| !majority) {
            return Decision::Refuse(refusal.clone());
        }
        let Some(membership) = &self.membership else {
            return match &self.refusal {
                Some(refusal) => Decision::Refuse(refusal.clone()),
                None => Decision::Wait { missing: self.missing(), until: None },
            };
        };
        if !self.durable {
            return Decision::Persist(membership.encode());
        }
        if membership.rebuilding {
            return Decision::Rebuild {
                reason: self.reason.clone(),
                clock_above: self.clock_above,
            };
        }
        if majority || now >= self.serve_anyway_at {
            return Decision::Serve;
        }
        Decision::Wait { missing: self.missing(), until: Some(self.serve_anyway_at) }
    }

    /// The record of the last [`Decision::Persist`] is durable. That is news: say hello to all.
    pub fn persisted(&mut self) {
        (self.durable, self.announced) = (true, true);
    }

    /// All partitions have been rebuilt, durably.
    pub fn rebuilt(&mut self) {
        if let Some(membership) = self.membership.as_mut().filter(|known| known.rebuilding) {
            membership.rebuilding = false;
            self.durable = false;
        }
    }

    /// The layout of the cluster, or the one this node would found it with.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.membership.as_ref().map_or(&self.proposal, |known| &known.founded.layout)
    }

    /// The node's membership, durable or not.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// A stream to the process `nonce` of a node is complete.
    pub fn connected(&mut self, node: NodeId, nonce: u64, now: Mono) {
        self.rivals.connected(node, nonce, now);
    }

    /// The process `nonce` of a node has given a sign of life.
    pub fn heard(&mut self, node: NodeId, nonce: u64, now: Mono) {
        self.rivals.heard(node, nonce, now);
    }

    /// A connected node has told how far its log is durable; not necessarily just now.
    pub fn told(&mut self, node: NodeId, durable: Lsn) {
        if let Some(nonce) = self.rivals.process(node) {
            self.watermarks.reported(node, nonce, durable);
        }
    }

    /// The stream is lost.
    pub fn disconnected(&mut self, node: NodeId) {
        self.rivals.disconnected(node);
    }

    /// The record to write under [`WATERMARKS_KEY`], if it is time to.
    pub fn watermarks_due(&mut self, now: Mono) -> Option<Bytes> {
        self.watermarks.due(now)
    }

    /// When [`Founding::watermarks_due`] may have something.
    #[must_use]
    pub fn next_watermarks(&self) -> Option<Mono> {
        self.watermarks.next_due()
    }

    fn missing(&self) -> Vec<NodeId> {
        let others = self.nodes.iter().copied().filter(|node| *node != self.me.node);
        others.filter(|node| !self.met.contains_key(node)).collect()
    }

    /// Birth: everybody has been met, and nobody had a cluster to adopt.
    fn found_if_all_are_met(&mut self) {
        if self.membership.is_some() || !self.missing().is_empty() {
            return;
        }
        let mut members = self.met.clone();
        members.insert(self.me.node, self.me.log_id);
        let members = members.into_iter().collect();
        let founded = Founded::new(members, self.proposal.clone());
        self.join(founded);
    }

    fn join(&mut self, founded: Founded) {
        for (node, log_id) in founded.members.iter().filter(|(node, _)| *node != self.me.node) {
            self.watermarks.begin(*node, *log_id);
        }
        self.membership = Some(Membership::new(&self.me, founded));
        self.durable = false;
    }

    /// Adopts the founding a member tells of, and takes to heart what it remembers of this node.
    fn learn(&mut self, by: NodeId, founded: &Founded, known: &Watermark) {
        if self.membership.is_none() {
            self.join(founded.clone());
        }
        let start = self.start();
        let Some(membership) = &mut self.membership else { return };
        // Others may know only the account of this node, so they hear of the change.
        self.durable &= !membership.founded.agree(founded);
        let me = &self.me;
        let claim = Claim {
            log_id: me.log_id,
            nonce: me.nonce,
            start,
            recovered: me.recovered,
            settled: &membership.settled,
        };
        let loss = claim.loss(known);
        if known.nonce != me.nonce && membership.start_above(known.start, me.start) {
            self.durable = false;
        }
        let Some(loss) = loss else { return };
        self.reason = loss.reason(by, known, me.recovered);
        membership.settle(Settled { log_id: known.log_id, nonce: known.nonce });
        membership.rebuilding = true;
        self.durable = false;
    }
}
