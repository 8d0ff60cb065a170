//! Reads on their way to an answer.
//!
//! A read sees every write that was acknowledged before it began: it is answered when everything
//! is applied that was committed at some moment after it arrived. What was committed is told
//!
//! - by the leader itself while it has a lease ([`super::lease`]),
//! - by the leader when a majority has confirmed that it still led after the read arrived
//!   ("ReadIndex": Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 6.4),
//! - to a follower by the leader, in one of these two ways.
//!
//! All reads of a turn share one round, or one question to the leader. A read that need not be
//! quite new is content with what was told before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kvorum_core::{Consistency, Mono, NodeId, Now, Request};

use crate::Ticket;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) request: Request,
    /// The time of the clock when it arrived, in milliseconds since 1970. What expires later may
    /// still be answered, so a read waits at most once for the time of the log.
    pub(super) arrived_ms: u64,
}

impl Waiting {
    /// Whether it must not be answered by lease.
    fn is_safe(&self) -> bool {
        self.request.consistency.is_some_and(is_safe)
    }

    /// How old its answer may be.
    fn may_be_old(&self) -> Option<Duration> {
        match self.request.consistency {
            Some(Consistency::Stale { max_ms }) => Some(Duration::from_millis(max_ms.into())),
            _ => None,
        }
    }
}

/// Whether a level wants a read not to be answered by lease.
pub(super) const fn is_safe(level: Consistency) -> bool {
    matches!(level, Consistency::Safe | Consistency::Quorum)
}

/// The newest question of each follower that waits for an index.
pub(super) type Questions = BTreeMap<NodeId, u64>;

/// The reads that wait.
#[derive(Debug)]
pub(super) struct Reads {
    /// Those of this turn, and those for which no round could begin yet.
    arrived: Vec<Waiting>,
    /// The same of followers.
    questions: Questions,
    rounds: VecDeque<Round>,
    granted: Vec<Granted>,
    /// The number of the last round.
    begun: u64,
    known: Option<Known>,
    /// What is known will soon be too old for those who ask.
    ages: bool,
}

/// A round of heartbeats, or a question to the leader.
#[derive(Debug)]
struct Round {
    number: u64,
    begun: Now,
    reads: Vec<Waiting>,
    questions: Questions,
}

/// Reads that are answered when the log is applied that far.
#[derive(Debug)]
struct Granted {
    index: u64,
    reads: Vec<Waiting>,
    /// They need not be new: whoever leads, this much is enough.
    lasts: bool,
}

/// Everything that was acknowledged before `at` lies in the log up to `index`.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: Now,
    index: u64,
}

impl Known {
    /// How old it is. A machine that stood still together with its monotonic clock finds its wall
    /// clock ahead when it goes on, so the larger of both counts.
    fn age(&self, now: Now) -> Duration {
        let by_wall = Duration::from_millis(now.wall_ms.saturating_sub(self.at.wall_ms));
        now.mono.since(self.at.mono).max(by_wall)
    }
}

impl Reads {
    /// No reads. Rounds are numbered from `first`, which no earlier life of this replica has used:
    /// what answers an earlier question must not be taken for the answer to a later one.
    pub(super) const fn new(first: u64) -> Reads {
        Reads {
            arrived: Vec::new(),
            questions: Questions::new(),
            rounds: VecDeque::new(),
            granted: Vec::new(),
            begun: first,
            known: None,
            ages: false,
        }
    }

    /// Adds a read.
    pub(super) fn push(&mut self, read: Waiting) {
        self.arrived.push(read);
    }

    /// Adds a question of a follower. One that it asked before is answered with it.
    pub(super) fn ask(&mut self, follower: NodeId, number: u64) {
        let newest = self.questions.entry(follower).or_default();
        *newest = number.max(*newest);
    }

    /// Lets the reads go on that are content with what is known, however old it may be if
    /// `any_age`.
    pub(super) fn grant_known(&mut self, now: Now, any_age: bool) {
        let Some(known) = self.known else { return };
        let age = known.age(now);
        let content = |read: &Waiting| read.may_be_old().is_some_and(|max| any_age || age <= max);
        // Whoever asks for this much again and again shall not have to wait for it.
        let ages = |read: &Waiting| read.may_be_old().is_some_and(|max| age > max / 2);
        let reads: Vec<Waiting> = self.arrived.extract_if(.., |read| content(read)).collect();
        self.ages |= reads.iter().any(ages);
        if !reads.is_empty() {
            self.granted.push(Granted { index: known.index, reads, lasts: true });
        }
    }

    /// This replica leads and has a lease: lets go on what does not ask for more. Returns what
    /// followers have asked.
    pub(super) fn grant(&mut self, index: u64, now: Now) -> Questions {
        self.known = Some(Known { at: now, index });
        let reads: Vec<Waiting> = self.arrived.extract_if(.., |read| !read.is_safe()).collect();
        if !reads.is_empty() {
            self.granted.push(Granted { index, reads, lasts: false });
        }
        std::mem::take(&mut self.questions)
    }

    /// Begins a round for what has arrived; nothing if nothing has.
    pub(super) fn begin_round(&mut self, now: Now) -> Option<u64> {
        let ages = std::mem::take(&mut self.ages) && self.rounds.is_empty();
        if self.arrived.is_empty() && self.questions.is_empty() && !ages {
            return None;
        }
        self.begun += 1;
        self.rounds.push_back(Round {
            number: self.begun,
            begun: now,
            reads: std::mem::take(&mut self.arrived),
            questions: std::mem::take(&mut self.questions),
        });
        Some(self.begun)
    }

    /// A round has succeeded, and with it those before. Returns what followers have asked.
    pub(super) fn confirmed(&mut self, number: u64, index: u64) -> Questions {
        let mut questions = Questions::new();
        while let Some(round) = self.rounds.pop_front_if(|round| round.number <= number) {
            self.known = Some(Known { at: round.begun, index });
            questions.extend(round.questions);
            self.granted.push(Granted { index, reads: round.reads, lasts: false });
        }
        questions
    }

    /// Takes the reads that can be answered when the log is applied up to `applied`.
    pub(super) fn take_ready(&mut self, applied: u64) -> Vec<Waiting> {
        let ready = self.granted.extract_if(.., |granted| granted.index <= applied);
        ready.flat_map(|granted| granted.reads).collect()
    }

    /// Whether anything waits for the leader.
    pub(super) fn wants_leader(&self) -> bool {
        !self.arrived.is_empty() || self.ages
    }

    /// Takes all that depends on who leads: somebody else does, or nobody.
    pub(super) fn take_dependent(&mut self) -> (Vec<Waiting>, Questions) {
        let mut questions = std::mem::take(&mut self.questions);
        let mut reads = std::mem::take(&mut self.arrived);
        for round in self.rounds.drain(..) {
            reads.extend(round.reads);
            questions.extend(round.questions);
        }
        let granted = self.granted.extract_if(.., |granted| !granted.lasts);
        reads.extend(granted.flat_map(|granted| granted.reads));
        (reads, questions)
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> (Vec<Waiting>, Questions) {
        let (mut reads, questions) = self.take_dependent();
        reads.extend(self.granted.drain(..).flat_map(|granted| granted.reads));
        (reads, questions)
    }

    /// Whether a question with this number has no answer yet.
    pub(super) fn waits_for(&self, number: u64) -> bool {
        self.rounds.iter().any(|round| round.number == number)
    }

    /// Takes the reads whose callers have stopped waiting.
    pub(super) fn take_overdue(&mut self, now: Mono) -> Vec<Waiting> {
        let overdue = |read: &mut Waiting| read.request.deadline <= now;
        let mut taken: Vec<Waiting> = self.arrived.extract_if(.., overdue).collect();
        for round in &mut self.rounds {
            taken.extend(round.reads.extract_if(.., overdue));
        }
        for granted in &mut self.granted {
            taken.extend(granted.reads.extract_if(.., overdue));
        }
        self.granted.retain(|granted| !granted.reads.is_empty());
        self.rounds.retain(|round| !round.reads.is_empty() || !round.questions.is_empty());
        taken
    }
}
