//! The one interface of all replication modes.

use std::collections::VecDeque;

use kvorum_core::{
    Attempt, Hlc, HybridClock, Lsn, Mono, NodeId, Now, Outcome, Reply, Request, Store,
};

use crate::pace::Pace;
use crate::{Message, Report};

/// One replica of one partition.
pub trait Group {
    /// Takes one input and puts everything that follows from it into `ctx.out`.
    fn handle(&mut self, ctx: &mut Context<'_>, input: Input);

    /// The turn ends: what only gathered during the turn must go out now. Called once in a turn in
    /// which the group has handled an input, and again if more inputs follow from it.
    fn end_of_turn(&mut self, _ctx: &mut Context<'_>) {}

    /// Whether anything gathers, so that [`Group::end_of_turn`] must be called.
    fn gathers(&self) -> bool {
        false
    }

    /// What the clock of a strong group's log shows here: whatever has not been sent yet is stamped
    /// with a later reading. The first reading for a group without a log.
    fn reached(&self) -> Hlc {
        Hlc::default()
    }

    /// When [`Input::Deadline`] is wanted next; nothing while the group waits for no time.
    fn next_deadline(&self) -> Option<Mono>;

    /// What is compared with the other replicas to see whether they hold the same. Nothing for a
    /// group that has other ways to agree, and while this replica is being rebuilt.
    fn root(&self, _store: &dyn Store) -> Option<Root> {
        None
    }

    /// Up to where deletions may be forgotten; nothing in a group that has other ways to agree. For
    /// status and metrics.
    fn floor(&self) -> Option<Hlc> {
        None
    }

    /// Who leads, and what that takes; nothing in a group without a leader by design. For status
    /// and metrics.
    fn leadership(&self) -> Option<Leadership> {
        None
    }
}

/// What a replica holds, in one number. Two replicas with the same hash hold the same records, and have
/// the same floor and promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Of the sums of all keyspaces, the floor and the promise.
    pub hash: u64,
    /// The promise.
    pub promise: Hlc,
}

/// What a replica of a group with a leader tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Who leads, as far as the replica knows.
    pub leader: Option<NodeId>,
    /// Bytes of entries that the replica keeps in memory.
    pub log_bytes: usize,
}

/// Whether a node is one that should lead. A leader hands over to whoever comes before itself in
/// this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Willingness {
    /// It should.
    #[default]
    Willing,
    /// It had better not, because its clock is wrong or its disk is slow: it leads where nobody
    /// else can, and hands over from time to time.
    Reluctant,
    /// It is about to stop, and hands over whatever it leads as soon as somebody can take it.
    Leaving,
}

/// What a group may use of its node while it handles an input.
pub struct Context<'a> {
    /// The present.
    pub now: Now,
    /// This node.
    pub me: NodeId,
    /// Whether the wall clock of this node is too far from the others' to be trusted.
    pub clock_suspect: bool,
    /// Whether this node should lead.
    pub willingness: Willingness,
    /// The node's hybrid clock.
    pub clock: &'a mut HybridClock,
    /// The node's store.
    pub store: &'a mut dyn Store,
    /// What is known of the other nodes.
    pub peers: &'a dyn Peers,
    /// How fast they answer, and how much more than it must this node may ask of them.
    pub pace: &'a mut Pace,
    /// Where effects go.
    pub out: &'a mut Outbox,
}

/// What a group needs to know of the other nodes. This node itself is always up, with room.
pub trait Peers {
    /// Whether a node is connected, as far as is known. Never a matter of safety: a wrong answer
    /// costs latency.
    fn is_up(&self, node: NodeId) -> bool;

    /// Whether the queue towards a node can take more. Writes to a node without room are not
    /// sent; the node catches up later.
    fn has_room(&self, node: NodeId) -> bool;

    /// How many bytes are under way to a node; none to this one.
    fn queue(&self, node: NodeId) -> usize;

    /// Whether a node that is up should lead, as far as it has told. As little a matter of safety.
    fn willingness(&self, _node: NodeId) -> Willingness {
        Willingness::Willing
    }
}

/// Identifies a client request to the driver that submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happens to a group.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's request that this replica shall coordinate.
    Request {
        /// The ticket the answer must carry.
        ticket: Ticket,
        /// The request; its key or partition belongs to this group.
        request: Request,
        /// What a write of a strong keyspace is called, so that it is not done twice.
        attempt: Option<Attempt>,
    },
    /// A message of the same group on a node (perhaps this one).
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// The connection to a node was lost: what was sent to it may or may not have arrived, and
    /// no answer to it will come.
    PeerLost(NodeId),
    /// What [`Outbox::notify`] waited for is durable.
    Durable(u64),
    /// The roots of this replica and of the one on another node were compared.
    Compared {
        /// The other node.
        with: NodeId,
        /// The promise under which both were equal, if they were; what both hold is durable.
        /// Nothing if they were not.
        equal: Option<Hlc>,
    },
    /// The time of [`Group::next_deadline`] has come.
    Deadline,
    /// This replica's data is incomplete (a damaged, blank or older disk): copy everything from
    /// the other replicas before answering reads or counting in quorums.
    Rebuild,
}

/// Everything a group can want done: one closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a client.
    Reply {
        /// The request's ticket.
        ticket: Ticket,
        /// The answer.
        outcome: Outcome<Reply>,
        /// Not before this LSN is durable.
        after: Option<Lsn>,
    },
    /// Send a message to the same group on a node (perhaps this one).
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
        /// Not before this LSN is durable.
        after: Option<Lsn>,
    },
    /// Hand the group an [`Input::Durable`] with this number.
    Notify {
        /// The number.
        number: u64,
        /// When this LSN is durable.
        after: Option<Lsn>,
    },
    /// The group has copied everything it should hold; durable once this LSN is.
    Rebuilt {
        /// The last record it copied.
        after: Option<Lsn>,
    },
    /// The group has given up what it holds, because it lost something it may have promised: what
    /// was found, for the operator. [`Effect::Rebuilt`] follows when it has all of it again.
    GaveUp(&'static str),
    /// Something happened that the operator wants to read.
    Report(Report),
    /// Something worth counting happened.
    Count(Event),
}

/// Countable events, for metrics and for the simulator's coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A write was stamped a second time because a replica held a newer version.
    Restamp,
    /// A replica refused a write because it holds a newer version.
    Superseded,
    /// A read found replicas that disagree and pushed the newest record to the stale ones.
    ReadRepair,
    /// A read asked one replica more because another was slow.
    Hurried,
    /// A write was not sent to a replica because it is down or has no room.
    UnderReplicated,
    /// A member that may lack a write will be sent what is stored under its key.
    Hinted,
    /// A member was sent what it may lack, and holds it now.
    HintReplayed,
    /// A member may lack a write, and its slot was marked, because there are too many keys.
    HintOverflow,
    /// A key was forgotten, because there is nothing to send under it any more, or no member to
    /// send it to.
    HintDropped,
    /// A record in quarantine gave way to a newer one.
    QuarantineDropped,
    /// An answer came for an operation that is no longer pending.
    LateAck,
    /// A stored record failed its checksum.
    Corrupt,
    /// A peer's message made no sense and was dropped.
    Malformed,
    /// A peer's message was refused or dropped because this node holds too much work already.
    Shed,
    /// A peer's message was dropped because its sender waits no longer.
    Expired,
    /// A client's request was refused because requests wait too long for their turn.
    Refused,
    /// This node has become the leader of a group.
    Elected,
    /// A leader has begun to hand over to another replica.
    HandedOver,
    /// A leader has appended an entry.
    Proposed,
    /// A leader has begun a round that confirms its lead for the reads of a turn.
    ReadRound,
    /// A leader has sent a copy of a partition, and it was taken to the last piece.
    CopySent,
    /// A replica has taken a copy of its partition.
    CopyTaken,
}

/// The effects of handling inputs, in order. Groups append; drivers drain.
#[derive(Debug, Default)]
pub struct Outbox {
    effects: VecDeque<Effect>,
}

impl Outbox {
    /// Answers a client now.
    pub fn reply(&mut self, ticket: Ticket, outcome: Outcome<Reply>) {
        self.reply_after(None, ticket, outcome);
    }

    /// Answers a client once `after` is durable.
    pub fn reply_after(&mut self, after: Option<Lsn>, ticket: Ticket, outcome: Outcome<Reply>) {
        self.effects.push_back(Effect::Reply { ticket, outcome, after });
    }

    /// Sends a message now.
    pub fn send(&mut self, to: NodeId, message: Message) {
        self.send_after(None, to, message);
    }

    /// Sends a message once `after` is durable.
    pub fn send_after(&mut self, after: Option<Lsn>, to: NodeId, message: Message) {
        self.effects.push_back(Effect::Send { to, message, after });
    }

    /// Asks for an [`Input::Durable`] once `after` is durable.
    pub fn notify(&mut self, after: Option<Lsn>, number: u64) {
        self.effects.push_back(Effect::Notify { number, after });
    }

    /// Reports the end of a rebuild.
    pub fn rebuilt(&mut self, after: Option<Lsn>) {
        self.effects.push_back(Effect::Rebuilt { after });
    }

    /// Says why this replica gives up what it holds.
    pub fn gave_up(&mut self, reason: &'static str) {
        self.effects.push_back(Effect::GaveUp(reason));
    }

    /// Tells the operator something.
    pub fn report(&mut self, report: Report) {
        self.effects.push_back(Effect::Report(report));
    }

    /// Counts an event.
    pub fn count(&mut self, event: Event) {
        self.effects.push_back(Effect::Count(event));
    }

    /// Takes the oldest effect.
    pub fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}
