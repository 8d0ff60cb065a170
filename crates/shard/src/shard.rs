//! The turn: requests, frames and durable LSNs in; replies and frames out.

use std::collections::VecDeque;
use std::sync::Arc;

use kvorum_core::{
    Attempt, Error, Executed, Hlc, HybridClock, Layout, Lsn, Mono, NodeId, Now, Outcome,
    PartitionId, Reply, Request, Store, limits,
};
use kvorum_replication::pace::Pace;
use kvorum_replication::{Event, Input, Outbox, Peers, Ticket, Willingness};

use crate::admission::{self, Route};
use crate::groups::{self, Factory, Groups};
use crate::held::{Effect, Held};
use crate::leaders::Leaders;
use crate::links::Links;
use crate::pending::{Origin, Pending, Requests, Stage};
use crate::rounds::Rounds;
use crate::shedding::Shedding;
use crate::wire::{Envelope, queue};
use crate::{In, Options, Out, Stats};

/// The state of one node's data path.
#[derive(Debug)]
pub struct Shard {
    pub(crate) options: Options,
    layout: Arc<Layout>,
    pub(crate) clock: HybridClock,
    /// Nothing is to be stamped with the clock.
    clock_suspect: bool,
    slow_disk: bool,
    leaving: bool,
    pub(crate) groups: Groups,
    pub(crate) links: Links,
    pub(crate) requests: Requests,
    pub(crate) held: Held,
    pub(crate) pace: Pace,
    shedding: Shedding,
    /// What groups are to be told by this node itself, before the step ends.
    pub(crate) local: VecDeque<(usize, Input)>,
    pub(crate) leaders: Leaders,
    pub(crate) rounds: Rounds,
    pub(crate) outbox: Outbox,
    /// Lists that are empty between steps and only keep their memory.
    pub(crate) decoded: Vec<Envelope>,
    pub(crate) released: Vec<Effect>,
    /// Records that were sent to other leaderless replicas.
    pub(crate) sent_records: u64,
}

/// What one step works with.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) store: &'a mut dyn Store,
    pub(crate) out: &'a mut Vec<Out>,
}

impl Shard {
    /// A shard that holds the partitions `layout` gives to this node. No peer is up yet.
    #[must_use]
    pub fn new(options: Options, layout: Arc<Layout>, clock: HybridClock) -> Shard {
        Shard::with_groups(options, layout, clock, groups::by_mode)
    }

    /// A shard with groups of another making.
    pub(crate) fn with_groups(
        options: Options,
        layout: Arc<Layout>,
        clock: HybridClock,
        factory: Factory,
    ) -> Shard {
        let mut groups = Groups::new(factory);
        groups.adopt(&options, &layout);
        let links = Links::new(&options, layout.version());
        let Options { max_wait, overload_interval, seed, background, .. } = options;
        let rounds = Rounds::new(options.me, options.anti_entropy_interval, seed);
        Shard {
            options,
            layout,
            clock,
            clock_suspect: false,
            slow_disk: false,
            leaving: false,
            groups,
            links,
            requests: Requests::default(),
            held: Held::default(),
            pace: Pace::new(background),
            shedding: Shedding::new(max_wait, overload_interval, seed),
            local: VecDeque::new(),
            leaders: Leaders::default(),
            rounds,
            outbox: Outbox::default(),
            decoded: Vec::new(),
            released: Vec::new(),
            sent_records: 0,
        }
    }

    /// Takes one input of the present turn.
    pub fn step(&mut self, now: Now, input: In, store: &mut dyn Store, out: &mut Vec<Out>) {
        let turn = &mut Turn { now, store, out };
        match input {
            In::Request { ticket, request } => {
                self.submit(Origin::Client(ticket), request, None, turn);
            }
            In::Frame { from, body, arrived } => self.receive(from, body, arrived, turn),
            In::Waited(span) => {
                self.shedding.waited(now.mono, span);
                self.pace.background.waited(now.mono, span);
            }
            In::Durable(lsn) => self.release(lsn, turn),
            In::PeerUp(node) => {
                self.disconnect(node, turn);
                self.links.up(node);
                self.rounds.up(node, now.mono);
            }
            In::PeerDown(node) => self.disconnect(node, turn),
            In::Deadline => self.wake(turn),
            In::Layout(layout) => self.adopt(layout, turn),
            In::ClockSuspect(suspect) => self.clock_suspect = suspect,
            In::SlowDisk(slow) => self.slow_disk = slow,
            In::Leave => {
                self.leaving = true;
                self.links.set_willingness(Willingness::Leaving);
                self.links.acknowledge_all(turn.out);
            }
            In::CompareNow(nodes) => self.rounds.hasten(&nodes, now.mono),
            In::Rebuild(partitions) => self.rebuild(&partitions, turn),
        }
        self.links.set_willingness(self.willingness());
        self.tell_locally(turn);
    }

    /// Whether this node should lead.
    pub(crate) const fn willingness(&self) -> Willingness {
        if self.leaving {
            Willingness::Leaving
        } else if self.slow_disk || self.must_not_stamp() {
            Willingness::Reluctant
        } else {
            Willingness::Willing
        }
    }

    /// How many strong partitions this node leads that another node could lead. Looks at every
    /// group: for a node that is leaving.
    #[must_use]
    pub fn to_hand_over(&self) -> usize {
        let stays = |node: &NodeId| {
            let other = *node != self.options.me && self.links.is_up(*node);
            other && self.links.willingness(*node) < Willingness::Leaving
        };
        let led = self.groups.leadership().filter(|(_, led)| led.leader == Some(self.options.me));
        led.filter(|(partition, _)| self.layout.replicas(*partition).iter().any(stays)).count()
    }

    fn tell_locally(&mut self, turn: &mut Turn<'_>) {
        while let Some((group, input)) = self.local.pop_front() {
            self.handle(group, input, 0, turn);
        }
    }

    /// Ends the turn: lets out what has gathered in groups, and closes the frames to all peers.
    pub fn end_of_turn(&mut self, now: Now, store: &mut dyn Store, out: &mut Vec<Out>) {
        let turn = &mut Turn { now, store, out };
        while let Some(group) = self.groups.next_gathering() {
            self.drive(group, 0, turn, |group, context| group.end_of_turn(context));
            self.tell_locally(turn);
        }
        self.links.flush(out);
        self.held.end_of_turn();
    }

    /// When [`In::Deadline`] is wanted next; sometimes earlier than anything is due, never later.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let (groups, requests) = (self.groups.next_wakeup(), self.requests.next_deadline());
        let deadlines = [groups, requests, self.rounds.next()];
        deadlines.into_iter().flatten().min()
    }

    /// The layout in force.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The newest reading of the node's hybrid clock.
    #[must_use]
    pub const fn clock(&self) -> Hlc {
        self.clock.latest()
    }

    /// Keeps the node's hybrid clock ahead of a reading that others know.
    pub fn observe(&mut self, seen: Hlc) {
        self.clock.observe(seen);
    }

    /// How far a connected peer's log is durable, as far as its frames have told: everything it
    /// has acknowledged on this connection lies below. Nothing if it is not connected.
    #[must_use]
    pub fn durable_of(&self, peer: NodeId) -> Option<Lsn> {
        self.links.durable(peer)
    }

    /// The floor of an eventual partition that this node holds.
    #[must_use]
    pub fn floor(&self, partition: PartitionId) -> Option<Hlc> {
        self.groups.floor(partition)
    }

    /// Whether a peer is connected.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.links.is_up(node)
    }

    /// Bytes per second that this node may send without being asked by a client, at present.
    #[must_use]
    pub fn background_rate(&self, now: Mono) -> u64 {
        self.pace.background.rate(now)
    }

    /// Figures for metrics and status.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            pending_requests: self.requests.count(),
            pending_bytes: self.requests.bytes(),
            waiting_for_log: self.held.count(),
            peer_bytes: self.links.under_way(),
            comparisons: self.rounds.comparisons(),
            sent_records: self.sent_records,
            rebuilding: self.groups.rebuilding(),
            floors: self.groups.floors(),
            leaders: self.groups.leadership().map(|(id, told)| (id, told.leader)).collect(),
            log_bytes: self.groups.leadership().map(|(_, told)| told.log_bytes).sum(),
            hints: self.pace.hints.pending().collect(),
        }
    }

    /// Takes a request of a client, or of a peer that does not hold the partition and may have named
    /// it.
    pub(crate) fn submit(
        &mut self,
        origin: Origin,
        mut request: Request,
        attempt: Option<Attempt>,
        turn: &mut Turn<'_>,
    ) {
        request.deadline = request.deadline.min(turn.now.mono + limits::MAX_DEADLINE);
        if let Err(error) = self.admit(origin, request, attempt, turn) {
            self.answer(origin, Err(error), turn);
        }
    }

    fn admit(
        &mut self,
        origin: Origin,
        mut request: Request,
        attempt: Option<Attempt>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let route = admission::route(&request, &self.layout, turn.now.mono)?;
        if self.shedding.sheds() {
            turn.out.push(Out::Count(Event::Refused));
            return Err(Error::Overloaded { what: queue::TURN, executed: Executed::No });
        }
        let weight = admission::weight(&request, route, &self.layout, turn.store);
        if self.requests.count() >= self.options.max_pending_requests
            || self.requests.bytes() + weight > self.options.max_pending_bytes
        {
            return Err(Error::Overloaded { what: queue::PENDING, executed: Executed::No });
        }
        let (is_write, need) = (request.op.is_write(), route.need);
        let seeks = route.strong.then_some(route.partition);
        // Whoever takes it says where it stands.
        let stage = Stage::Resting { until: turn.now.mono };
        let pending =
            Pending { is_write, need, seeks, attempt, ..Pending::new(origin, stage, weight) };
        if route.strong {
            // Groups of strong partitions know no defaults.
            request.consistency = Some(route.level);
            self.seek(pending, request, turn);
            return Ok(());
        }
        let here = self.groups.index(route.partition);
        let Some(group) = here.filter(|_| !(is_write && self.must_not_stamp())) else {
            return self.forward(pending, route, request, turn);
        };
        let stage = Stage::Group(group);
        let ticket = self.requests.insert(Pending { stage, ..pending });
        self.handle(group, Input::Request { ticket, request, attempt: None }, 0, turn);
        Ok(())
    }

    pub(crate) const fn must_not_stamp(&self) -> bool {
        self.clock_suspect && !self.options.trusts_suspect_clock()
    }

    /// Sends a request to the first other replica of its partition that can take it. A replica
    /// forwards only what it must not stamp.
    fn forward(
        &mut self,
        pending: Pending,
        route: Route,
        request: Request,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Route { partition, need, .. } = route;
        let here = self.groups.index(partition).is_some();
        let refusal =
            |other| if here { Error::ClockSkew { executed: Executed::No } } else { other };
        if matches!(pending.origin, Origin::Peer { .. }) {
            let text = "the nodes do not agree on who holds this key";
            return Err(refusal(Error::NotServing(text.into())));
        }
        let others = || self.layout.replicas(partition).iter().filter(|&&n| n != self.options.me);
        let up = || others().filter(|&&node| self.links.is_up(node));
        let nobody = refusal(Error::Unavailable { need, live: 0 });
        let Some(&to) = up().find(|&&node| self.links.has_room(node)) else {
            let full = Error::Overloaded { what: queue::PEER, executed: Executed::No };
            return Err(if up().count() == 0 { nobody } else { full });
        };
        let deadline = request.deadline;
        let patience = deadline.since(turn.now.mono);
        let id = self.requests.next_ticket();
        let envelope = Envelope::Forward { id, patience, attempt: None, request };
        let place = self.links.push(to, &envelope, turn.out).ok_or(nobody)?;
        let stage = Stage::Forwarded { to, place, deadline };
        self.requests.insert(Pending { stage, ..pending });
        Ok(())
    }

    /// Answers a request, unless that has been done.
    pub(crate) fn settle(&mut self, ticket: Ticket, outcome: Outcome<Reply>, turn: &mut Turn<'_>) {
        let Some(pending) = self.requests.take(ticket) else { return };
        match outcome {
            Err(error) if Shard::must_seek(&pending, &error) => self.not_led(pending, error, turn),
            outcome => {
                self.learn_place(&pending, &outcome);
                let outcome = outcome.map_err(|error| pending.as_a_whole(error));
                self.answer(pending.origin, outcome, turn);
            }
        }
    }

    pub(crate) fn answer(&mut self, origin: Origin, outcome: Outcome<Reply>, turn: &mut Turn<'_>) {
        match origin {
            Origin::Client(ticket) => turn.out.push(Out::Reply { ticket, outcome }),
            Origin::Peer { node: to, id, life } => {
                let envelope = Envelope::Forwarded { id, outcome };
                self.carry_out(Effect::Peer { to, life, envelope }, turn);
            }
        }
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        while let Some(ticket) = self.requests.overdue(turn.now.mono) {
            let Some(pending) = self.requests.take(ticket) else { break };
            if matches!(pending.stage, Stage::Resting { .. }) {
                self.rested(pending, turn);
                continue;
            }
            let (need, executed) = (pending.need, pending.executed_if_lost());
            let error = Error::Timeout { need, acked: 0, executed };
            self.answer(pending.origin, Err(error), turn);
        }
        self.begin_rounds(turn);
        for group in self.groups.due(turn.now.mono) {
            self.handle(group, Input::Deadline, 0, turn);
        }
    }

    fn adopt(&mut self, layout: Arc<Layout>, turn: &mut Turn<'_>) {
        self.rounds.forget();
        self.links.set_layout(layout.version(), turn.out);
        let dropped = self.groups.adopt(&self.options, &layout);
        self.layout = layout;
        let lost = |stage: &Stage| matches!(stage, Stage::Group(index) if dropped.contains(index));
        for ticket in self.requests.tickets(lost) {
            if let Some(pending) = self.requests.take(ticket) {
                let error = Error::CoordinatorLost { executed: pending.executed_if_lost() };
                self.answer(pending.origin, Err(error), turn);
            }
        }
    }

    fn rebuild(&mut self, partitions: &[PartitionId], turn: &mut Turn<'_>) {
        self.rounds.forget();
        for &partition in partitions {
            let Some(group) = self.groups.index(partition) else { continue };
            self.groups.begin_rebuild(group);
            self.handle(group, Input::Rebuild, 0, turn);
        }
    }
}
