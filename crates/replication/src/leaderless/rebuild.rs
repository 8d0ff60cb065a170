//! Rebuilding a replica whose data is incomplete, from the other replicas.
//!
//! Before the loss this replica may have been one of the majority that acknowledged a write. The
//! other majority − 1 holders are among the n − 1 other members, so any n − majority + 1 of these
//! include one of them: the *cover*. The replica copies everything that `cover` members hold,
//! tombstones included, each in pages of its own, and counts again when it has. A member that is
//! itself rebuilding is no source. With one replica only, or with too few complete ones, the
//! replica stays as it is: it cannot know what it lost.
//!
//! First it asks for the floors and promises of `cover` members, and stores nothing before it knows
//! the highest of them: what lies at or below may have been deleted for good. A source of another
//! floor is no source: one whose floor is lower may still show what was deleted, and is told the
//! floor; if one has a higher floor, everything begins anew below that. What is held here at or below
//! the floor and not by a source is a leftover.
//!
//! **Invariant:** a source's next page is asked for when the former one is stored durably here,
//! so the rebuild holds one page per source and goes at the pace of the log.
//!
//! Pages are asked for within the node's background allowance, each for about as many bytes as the
//! page before it had.
//!
//! **Invariant:** the rebuild does not end while an item is known only as damaged.

mod copying;

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Cursor, Hlc, Lsn, Mono, NodeId, Want};

use self::copying::{RecordId, Stop, copy, stored};
use super::floor::Floor;
use super::leftovers::Stretch;
use super::pending::OpIds;
use super::serve::PAGE;
use super::{FloorLetter, Options};
use crate::pace::Grant;
use crate::{Context, Message, OpId, PageItem, ScannedPage};

/// How long a source may take for a page before it is asked again.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a source that could not help, or a full disk, is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How many bytes the first page of a source is taken to have.
const FIRST_PAGE: usize = 4 << 10;

/// The progress of a rebuild.
#[derive(Debug)]
pub(super) struct Rebuild {
    /// All other members.
    sources: Vec<Source>,
    /// How many of them must be copied.
    cover: usize,
    /// What is settled is known, as far as `cover` members know it.
    knows: bool,
    /// The last record that must be durable for everything copied to be.
    last: Option<Lsn>,
    /// When to look again.
    wake: Option<Mono>,
}

#[derive(Debug)]
struct Source {
    node: NodeId,
    /// The position of the keyspace being copied in the options' list.
    keyspace: usize,
    /// Where its next page begins.
    from: Cursor,
    telling: Telling,
    state: State,
    /// The keys it has told of last, while leftovers are looked for between them.
    stretch: Option<Stretch>,
    /// A record this source holds damaged, which was not stored here when last looked at.
    damaged: Option<RecordId>,
    /// How many bytes its next page is taken to have.
    expected: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asked { op: OpId, until: Mono },
    Paused { until: Mono },
    Done,
}

/// Whether a source has told its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    Unasked,
    Asked { op: OpId, until: Mono },
    Told,
}

/// Whether a rebuild goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuilding {
    Still,
    /// Everything is copied; it is durable once this LSN is.
    Over(Option<Lsn>),
}

impl Rebuild {
    pub(super) fn new(options: &Options, me: NodeId) -> Rebuild {
        let others = options.members.iter().copied().filter(|&node| node != me);
        Rebuild {
            sources: others.map(|node| Source::new(options, node)).collect(),
            cover: options.members.len() - options.majority() + 1,
            knows: options.rebuilds_without_floor(),
            last: None,
            wake: None,
        }
    }

    /// When the rebuild wants to be woken.
    pub(super) const fn wake(&self) -> Option<Mono> {
        self.wake
    }

    /// Whether a source was asked for a page under this id.
    pub(super) fn asked(&self, op: OpId) -> bool {
        self.sources.iter().any(|source| source.state.is_asked(op))
    }

    /// Whether it is known what must not be stored any more.
    pub(super) const fn knows(&self) -> bool {
        self.knows
    }

    /// Takes what a member tells of its floor, or its refusal. False if this was not asked for.
    pub(super) fn on_floor(
        &mut self,
        now: Mono,
        floor: &mut Floor,
        (from, op): (NodeId, OpId),
        letter: &FloorLetter,
    ) -> bool {
        let asked = |telling| matches!(telling, Telling::Asked { op: asked, .. } if asked == op);
        let mut sources = self.sources.iter_mut();
        let Some(source) = sources.find(|s| s.node == from && asked(s.telling)) else {
            return false;
        };
        source.telling = match *letter {
            FloorLetter::Told { floor: reading, promise } => {
                floor.learn(reading, promise);
                Telling::Told
            }
            _ => Telling::Asked { op: OpId::NONE, until: now + PAUSE },
        };
        let told = self.sources.iter().filter(|source| source.telling == Telling::Told).count();
        self.knows |= told >= self.cover;
        true
    }

    /// Takes a source's page, or its refusal because it is rebuilding itself.
    pub(super) fn on_page(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        floor: &mut Floor,
        (from, op): (NodeId, OpId),
        page: Option<ScannedPage>,
    ) {
        let mut sources = self.sources.iter_mut();
        let asked = sources.find(|source| source.node == from && source.state.is_asked(op));
        let Some(source) = asked else { return };
        let pause = State::Paused { until: ctx.now.mono + PAUSE };
        source.got(ctx, page.as_ref().map_or(&[], |page| &page.items));
        let Some(page) = page else {
            // What it told before may have been incomplete as well.
            source.restart(options);
            source.state = pause;
            return;
        };
        let Some(&(keyspace, ..)) = options.keyspaces.get(source.keyspace) else { return };
        let settled = floor.refused();
        match page.floor.cmp(&settled) {
            _ if options.rebuilds_without_floor() => {}
            Ordering::Equal => floor.learn(page.floor, page.promise),
            Ordering::Less => {
                source.state = pause;
                let letter = FloorLetter::Compare(settled);
                return ctx.out.send(from, Message::Floor { op: OpId::NONE, letter });
            }
            Ordering::Greater => {
                floor.learn(page.floor, page.promise);
                self.sources.iter_mut().for_each(|source| source.restart(options));
                return;
            }
        }
        let ScannedPage { items, next, .. } = page;
        let held = items.iter().map(|item| (item.slot, item.key.clone())).collect();
        let begun = source.from.clone();
        let copied = copy(options, ctx, keyspace, items, settled, &mut self.last);
        let to = copied.as_ref().map_or_else(|stop| Some(stop.place().clone()), |()| next.clone());
        source.stretch = Some(Stretch { keyspace, from: begun, to, held });
        match copied {
            Ok(()) => source.go_on(options, next),
            // The same place again: the request waits until what is stored is durable.
            Err(Stop::FrameFull(place)) => {
                source.from = place;
                source.state = State::Idle;
            }
            Err(Stop::NoSpace(place)) => {
                source.from = place;
                source.state = pause;
            }
            Err(Stop::Damaged(id, place)) => {
                source.damaged = Some(id);
                source.from = place;
                source.state = pause;
            }
        }
    }

    /// No answer of a member is to be expected any more; it goes on where it was.
    pub(super) fn on_lost(&mut self, node: NodeId) {
        for source in &mut self.sources {
            if source.node != node {
                continue;
            }
            if matches!(source.state, State::Asked { .. }) {
                source.state = State::Idle;
            }
            if matches!(source.telling, Telling::Asked { .. }) {
                source.telling = Telling::Unasked;
            }
        }
    }

    /// Asks sources for their next pages; tells when all is copied.
    pub(super) fn advance(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        settled: Hlc,
        ids: &mut OpIds,
    ) -> Rebuilding {
        let now = ctx.now.mono;
        if !self.knows {
            self.ask_floors(ctx, settled, ids);
            return Rebuilding::Still;
        }
        let looking = self.look_for_leftovers(options, ctx, settled);
        for source in &mut self.sources {
            let stored = source.damaged.as_ref().and_then(|id| stored(ctx, id));
            if let Some(pending) = stored {
                source.damaged = None;
                self.last = self.last.max(pending);
                source.state = State::Idle;
            }
            if source.state.is_over(now) {
                source.state = State::Idle;
            }
        }
        let undamaged = self.sources.iter().all(|source| source.damaged.is_none());
        let done = self.sources.iter().filter(|source| source.state == State::Done).count();
        if done >= self.cover && undamaged && !looking {
            // The replica may have to ask again.
            self.wake = Some(now + PAUSE);
            return Rebuilding::Over(self.last);
        }
        // A damaged record may be whole on any member.
        let wanted = if undamaged { self.cover } else { self.sources.len() };
        let mut allowed = None;
        let mut engaged = self.sources.iter().filter(|source| source.state.is_engaged()).count();
        for source in &mut self.sources {
            let idle = source.state == State::Idle && source.stretch.is_none();
            if idle && engaged < wanted && ctx.peers.is_up(source.node) {
                if let Grant::NotBefore(later) = ctx.pace.background.take(now, 0, source.expected) {
                    allowed = Some(later);
                    break;
                }
                source.ask(options, ctx, ids.next(ctx.clock.writer()), self.last);
                engaged += 1;
            }
        }
        let soon = looking.then_some(now);
        let waits = self.next_wake(now, engaged < wanted).into_iter();
        self.wake = waits.chain(allowed).chain(soon).min();
        Rebuilding::Still
    }

    /// Asks those members for their floors that have not told them.
    fn ask_floors(&mut self, ctx: &mut Context<'_>, settled: Hlc, ids: &mut OpIds) {
        self.wake = (self.cover <= self.sources.len()).then(|| ctx.now.mono + PAUSE);
        for source in &mut self.sources {
            let silent = match source.telling {
                Telling::Unasked => true,
                Telling::Asked { until, .. } => until <= ctx.now.mono,
                Telling::Told => false,
            };
            if silent && ctx.peers.is_up(source.node) {
                let (op, letter) = (ids.next(ctx.clock.writer()), FloorLetter::Compare(settled));
                source.telling = Telling::Asked { op, until: ctx.now.mono + PAGE_PATIENCE };
                ctx.out.send(source.node, Message::Floor { op, letter });
            }
        }
    }

    /// Looks on for leftovers where a source has told all it holds; tells whether there is more.
    fn look_for_leftovers(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        settled: Hlc,
    ) -> bool {
        for source in &mut self.sources {
            let last = &mut self.last;
            source.stretch.take_if(|stretch| stretch.step(options, ctx, settled, last));
        }
        self.sources.iter().any(|source| source.stretch.is_some())
    }

    fn next_wake(&self, now: Mono, sources_missing: bool) -> Option<Mono> {
        if self.cover > self.sources.len() {
            return None;
        }
        let timers = self.sources.iter().filter_map(|source| match source.state {
            State::Asked { until, .. } | State::Paused { until } => Some(until),
            State::Idle | State::Done => None,
        });
        timers.chain(sources_missing.then(|| now + PAUSE)).min()
    }
}

impl Source {
    fn new(options: &Options, node: NodeId) -> Source {
        let from = Cursor::start_of(*options.slots.start());
        let state = if options.keyspaces.is_empty() { State::Done } else { State::Idle };
        let (telling, expected) = (Telling::Unasked, FIRST_PAGE);
        Source { node, keyspace: 0, from, telling, state, stretch: None, damaged: None, expected }
    }

    fn restart(&mut self, options: &Options) {
        let Source { node, telling, expected, .. } = *self;
        *self = Source { telling, expected, ..Source::new(options, node) };
    }

    /// A page has come: what was taken from the allowance for it is put right.
    fn got(&mut self, ctx: &mut Context<'_>, items: &[PageItem]) {
        let value = |item: &PageItem| item.value.as_ref().map_or(0, Bytes::len);
        let bytes = items.iter().map(|item| item.key.len() + value(item)).sum();
        ctx.pace.background.correct(self.expected, items.len(), bytes);
        self.expected = bytes;
    }

    /// The page is stored: on to the next page, the next keyspace, or the end.
    fn go_on(&mut self, options: &Options, next: Option<Cursor>) {
        self.state = State::Idle;
        if let Some(next) = next {
            self.from = next;
            return;
        }
        self.keyspace += 1;
        self.from = Cursor::start_of(*options.slots.start());
        if self.keyspace >= options.keyspaces.len() {
            self.state = State::Done;
        }
    }

    /// Asks for the next page once everything up to `last` is durable.
    fn ask(&mut self, options: &Options, ctx: &mut Context<'_>, op: OpId, last: Option<Lsn>) {
        let Some(&(keyspace, ..)) = options.keyspaces.get(self.keyspace) else { return };
        self.state = State::Asked { op, until: ctx.now.mono + PAGE_PATIENCE };
        let message = Message::Scan {
            op,
            keyspace,
            from: self.from.clone(),
            prefix: Bytes::new(),
            limit: PAGE,
            want: Want::Value,
            patience: PAGE_PATIENCE,
        };
        ctx.out.send_after(last, self.node, message);
    }
}

impl State {
    fn is_asked(self, id: OpId) -> bool {
        matches!(self, State::Asked { op, .. } if op == id)
    }

    /// Whether this state ends by itself now.
    fn is_over(self, now: Mono) -> bool {
        matches!(self, State::Asked { until, .. } | State::Paused { until } if until <= now)
    }

    const fn is_engaged(self) -> bool {
        matches!(self, State::Asked { .. } | State::Done)
    }
}
