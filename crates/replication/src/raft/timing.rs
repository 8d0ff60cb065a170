//! What a replica does because time has passed.

use kvorum_core::{Error, Executed, Mono, NodeId};

use super::log::Damaged;
use super::options::Options;
use super::running::{Running, Todo};
use crate::{Context, Event, Willingness};

/// How many ticks the replica that should lead waits between two attempts.
const PREFERRED_TICKS: u64 = 4;
/// How many ticks a leader that is not the preferred one leads at least.
const HAND_OVER_TICKS: u64 = 100;

/// How many ticks a leader leads at least that had better not. Each time that it leads again after
/// all it is twice as long, up to the last: those it hands over to may be no better without having
/// told, and where leaders only take turns no copy of a partition is ever complete.
const RELUCTANT_TICKS: [u64; 7] = [20, 40, 80, 160, 320, 640, 1280];

/// How often, in ticks, a replica that has no reason to hand over forgets how often it had one.
const CALM_TICKS: u64 = 2560;

/// How many ticks after another a member asks to lead when the leader is gone.
const SUCCESSION_TICKS: u32 = 2;

/// Why another had better lead.
#[derive(Debug, Default)]
pub(super) struct Reluctance {
    /// This replica has refused writes because its disk is full: another may have room.
    pub(super) no_room: bool,
    /// How often it has handed over, until that is forgotten.
    times: usize,
}

impl Reluctance {
    /// How many ticks it leads at least.
    fn ticks(&self) -> u64 {
        let [.., most] = RELUCTANT_TICKS;
        RELUCTANT_TICKS.get(self.times).copied().unwrap_or(most)
    }
}

impl Running {
    /// Looks at the time.
    ///
    /// # Errors
    /// [`Damaged`] if something is lost here.
    pub(super) fn time(&mut self, options: &Options, ctx: &mut Context<'_>) -> Result<(), Damaged> {
        let now = ctx.now.mono;
        self.lease.speak(now);
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
        }
        if self.campaign.is_some_and(|campaign| campaign <= now) {
            self.campaign = None;
            if self.consensus.leader().is_none() {
                self.consensus.campaign();
            }
        }
        if self.next_tick > now {
            return Ok(());
        }
        self.ticks += 1;
        self.schedule(options, now);
        self.consensus.tick();
        if self.lease.renews(options, now) && !ctx.clock_suspect {
            self.proposals.renew();
        }
        self.check_copy(ctx)?;
        self.join(options, ctx);
        self.drop_log(options, ctx);
        self.sweep(options, ctx);
        self.prefer(options, ctx);
        let need = self.consensus.majority();
        for read in self.reads.take_overdue(now) {
            let error = Error::Timeout { need, acked: 0, executed: Executed::No };
            ctx.out.reply(read.ticket, Err(error));
        }
        for (ticket, executed) in self.proposals.take_overdue(now) {
            ctx.out.reply(ticket, Err(Error::Timeout { need, acked: 0, executed }));
        }
        Ok(())
    }

    /// The leader is gone: asks to lead soon. The members do so one after the other in their order,
    /// so that they do not divide the votes; those who had better not lead come last.
    pub(super) fn succeed(&mut self, options: &Options, ctx: &Context<'_>) {
        let reachable = options.members.iter().filter(|&&node| ctx.peers.is_up(node));
        let mut order: Vec<NodeId> = reachable.copied().collect();
        order.sort_by_key(|&node| willingness_of(node, ctx));
        let rank = order.iter().position(|node| *node == ctx.me).unwrap_or(0);
        let rank = u32::try_from(rank).unwrap_or(0);
        let tick = options.limits.tick;
        self.campaign = Some(ctx.now.mono + tick / 5 + SUCCESSION_TICKS * rank * tick);
    }

    /// All groups of a node, and of all nodes, look at the time together, so that their heartbeats
    /// share frames.
    pub(super) fn schedule(&mut self, options: &Options, now: Mono) {
        let tick = u64::try_from(options.limits.tick.as_micros()).unwrap_or(u64::MAX).max(1);
        self.next_tick = Mono((now.0 / tick + 1).saturating_mul(tick));
    }

    /// Leads where it should, and hands over where another should.
    fn prefer(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let full = self.reluctance.no_room;
        let least = if full { Willingness::Reluctant } else { Willingness::Willing };
        match ctx.willingness.max(least) {
            Willingness::Willing => self.spread(options, ctx),
            Willingness::Reluctant => {
                if self.consensus.leads() && self.ticks.is_multiple_of(self.reluctance.ticks()) {
                    self.reluctance.no_room = false;
                    self.reluctance.times += 1;
                    self.give_way(options, ctx, Willingness::Reluctant);
                }
            }
            Willingness::Leaving => self.give_way(options, ctx, Willingness::Leaving),
        }
    }

    /// The first member leads if it can: leaders are spread as the layout spreads first members.
    fn spread(&mut self, options: &Options, ctx: &mut Context<'_>) {
        if self.ticks.is_multiple_of(CALM_TICKS) {
            self.reluctance.times = 0;
        }
        let Some(&preferred) = options.members.first() else { return };
        if preferred == ctx.me {
            let up = options.members.iter().filter(|&&node| ctx.peers.is_up(node)).count();
            let due = self.ticks.is_multiple_of(PREFERRED_TICKS);
            if due && self.consensus.leader().is_none() && up >= self.consensus.majority() {
                self.consensus.campaign();
            }
        } else if self.ticks.is_multiple_of(HAND_OVER_TICKS)
            && ctx.peers.is_up(preferred)
            && ctx.peers.willingness(preferred) == Willingness::Willing
        {
            self.hand_over(preferred, ctx);
        }
    }

    /// Hands over to the most willing member that can take it, if it is more willing than this
    /// one is.
    fn give_way(&mut self, options: &Options, ctx: &mut Context<'_>, own: Willingness) {
        let better = |node: NodeId| {
            let theirs = ctx.peers.willingness(node);
            (node != ctx.me && ctx.peers.is_up(node) && theirs < own).then_some((theirs, node))
        };
        let mut better: Vec<_> = options.members.iter().filter_map(|&node| better(node)).collect();
        better.sort_by_key(|(theirs, _)| *theirs);
        for (_, node) in better {
            self.hand_over(node, ctx);
        }
    }

    fn hand_over(&mut self, to: NodeId, ctx: &mut Context<'_>) {
        if self.consensus.hand_over(to) {
            ctx.out.count(Event::HandedOver);
        }
    }

    /// The time that the next entry has and that a read sees: the clock's, if it can be trusted, and
    /// never before the log's. A clock that is wrong must not let values expire too soon, for what
    /// has expired once does not come back.
    pub(super) fn clock_ms(&self, ctx: &Context<'_>) -> u64 {
        let log_ms = self.consensus.log().state.time_ms();
        if ctx.clock_suspect { log_ms } else { log_ms.max(ctx.now.wall_ms) }
    }

    /// Drops entries that nobody needs, as far as is known.
    fn drop_log(&mut self, options: &Options, ctx: &Context<'_>) {
        if self.applying.is_done() && !self.consensus.log().state.incomplete {
            let mut changes = Vec::new();
            let is_up = |node: NodeId| ctx.peers.is_up(node);
            // Whoever gets a copy goes on behind the place it shows.
            let others = self.consensus.others();
            let (leads, up) = (self.consensus.leads(), |node| ctx.peers.is_up(node));
            self.copied.take_if(|(node, index)| {
                let heard = others.iter().any(|(other, matched)| other == node && matched >= index);
                heard || !leads || !up(*node)
            });
            let sent = self.sender.as_ref().map(|copy| copy.front.place.index);
            let copied = sent.into_iter().chain(self.copied.map(|(_, index)| index)).min();
            let short = ctx.pace.kept_logs.bytes() > options.limits.node_log_bytes;
            self.consensus.drop_log(&options.limits, short, is_up, copied, &mut changes);
            if !changes.is_empty() {
                // In one step: where the log begins, and that what was before it is gone.
                self.todo.push_back(Todo::Write(changes));
            }
        }
        self.kept_log.set(self.consensus.log().bytes());
    }
}

/// Whether a member should lead, as far as is known here.
fn willingness_of(node: NodeId, ctx: &Context<'_>) -> Willingness {
    if node == ctx.me { ctx.willingness } else { ctx.peers.willingness(node) }
}
