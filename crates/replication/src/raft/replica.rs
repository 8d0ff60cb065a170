//! One replica of a group, as the shard sees it.

use std::time::Duration;

use kvorum_core::{Change, Error, Hlc, Mono};

use super::election::Draw;
use super::log::{Damaged, Log};
use super::options::Options;
use super::running::{Running, home};
use crate::{Context, Event, Group, Input, Leadership};

/// How long a replica waits for room in the store's frame.
const RETRY: Duration = Duration::from_millis(1);

/// One replica of a Raft group.
pub struct Replica {
    options: Options,
    stage: Stage,
}

enum Stage {
    /// The log has not been read yet.
    New,
    Running(Box<Running>),
    /// Something this replica may have promised to keep is lost. It must neither vote nor answer,
    /// for that could elect a leader that lacks what is committed: another takes its place as soon
    /// as the store has a frame for that.
    Lost {
        again: Mono,
        /// The [`Running::life`] of the one that takes its place.
        life: u64,
        log: Box<Log>,
        changes: Vec<Change>,
    },
}

impl Replica {
    /// A replica that reads its log when it is first asked to do something.
    #[must_use]
    pub const fn new(options: Options) -> Replica {
        Replica { options, stage: Stage::New }
    }

    /// Reads the log, if that has not been done.
    fn start(&mut self, ctx: &mut Context<'_>) {
        if matches!(self.stage, Stage::New) {
            match Running::start(&self.options, ctx) {
                Ok(running) => self.stage = Stage::Running(Box::new(running)),
                Err(damaged) => self.damaged(damaged, ctx),
            }
        }
    }

    /// Tells the replicas that this node has had since its start apart.
    #[cfg(test)]
    pub(super) fn life(&self) -> u64 {
        match &self.stage {
            Stage::New => 0,
            Stage::Running(running) => running.life,
            Stage::Lost { life, .. } => *life,
        }
    }

    /// Asks another replica to lead, if this one leads.
    #[cfg(test)]
    pub(super) fn hand_over(&mut self, to: kvorum_core::NodeId) {
        if let Stage::Running(running) = &mut self.stage {
            running.consensus.hand_over(to);
        }
    }

    /// Whether a leader knows of all it has created when that was.
    #[cfg(test)]
    pub(super) fn notes_all(&self) -> bool {
        let Stage::Running(running) = &self.stage else { return true };
        let (last, committed) = running.consensus.front();
        last == committed || running.lease.last_noted() == Some(last)
    }

    fn damaged(&mut self, Damaged(reason): Damaged, ctx: &mut Context<'_>) {
        ctx.out.count(Event::Corrupt);
        ctx.out.gave_up(reason);
        self.lose(ctx);
    }

    /// Ends this replica and prepares another one in its place.
    fn lose(&mut self, ctx: &mut Context<'_>) {
        let mut life = 0;
        if let Stage::Running(running) = &mut self.stage {
            running.abandon(ctx);
            life = running.life + 1;
        } else if let Stage::Lost { life: lost, .. } = &self.stage {
            life = *lost;
        }
        // The seed is new at every start, so this generation has not been there before.
        let mut draw = Draw::new(self.options.seed ^ ctx.now.mono.0);
        let generation = u32::try_from(draw.between(1, u32::MAX as usize)).unwrap_or(1);
        let generation = if self.options.keeps_identity() { 0 } else { generation };
        let mut changes = Vec::new();
        let log = Box::new(Log::reborn(home(&self.options), generation, &mut changes));
        self.stage = Stage::Lost { again: ctx.now.mono, life, log, changes };
    }

    fn replace(&mut self, ctx: &mut Context<'_>) {
        let Stage::Lost { again, life, log, changes } = &mut self.stage else { return };
        let Ok(lsn) = ctx.store.commit(changes) else {
            *again = ctx.now.mono + RETRY;
            return;
        };
        match Running::with_log(Log::clone(log), &self.options, ctx) {
            Ok(mut running) => {
                running.written = Some(lsn);
                running.life = *life;
                self.stage = Stage::Running(Box::new(running));
            }
            Err(Damaged(reason)) => {
                *again = ctx.now.mono + RETRY;
                ctx.out.count(Event::Corrupt);
                ctx.out.gave_up(reason);
            }
        }
    }
}

impl Group for Replica {
    fn handle(&mut self, ctx: &mut Context<'_>, input: Input) {
        if matches!(input, Input::Rebuild) {
            return self.lose(ctx);
        }
        self.start(ctx);
        let result = match (&mut self.stage, input) {
            (Stage::Running(running), input) => running.handle(&self.options, ctx, input),
            (_, Input::Request { ticket, .. }) => {
                ctx.out.reply(ticket, Err(Error::NotLeader { leader: None }));
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(damaged) = result {
            self.damaged(damaged, ctx);
        }
    }

    fn end_of_turn(&mut self, ctx: &mut Context<'_>) {
        self.start(ctx);
        self.replace(ctx);
        let Stage::Running(running) = &mut self.stage else { return };
        if let Err(damaged) = running.end_of_turn(&self.options, ctx) {
            self.damaged(damaged, ctx);
        }
    }

    fn gathers(&self) -> bool {
        true
    }

    fn reached(&self) -> Hlc {
        match &self.stage {
            Stage::Running(running) => running.consensus.log().state.clock,
            Stage::New | Stage::Lost { .. } => Hlc::default(),
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        match &self.stage {
            Stage::New => Some(Mono(0)),
            Stage::Running(running) => Some(running.wake()),
            Stage::Lost { again, .. } => Some(*again),
        }
    }

    fn leadership(&self) -> Option<Leadership> {
        Some(match &self.stage {
            Stage::Running(running) => Leadership {
                leader: running.consensus.leader(),
                log_bytes: running.consensus.log().bytes(),
            },
            Stage::New | Stage::Lost { .. } => Leadership { leader: None, log_bytes: 0 },
        })
    }
}
