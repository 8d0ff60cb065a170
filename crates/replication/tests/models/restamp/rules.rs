//! The steps of the model of re-stamping: what each rule lets coordinators and replicas do.

use super::Mutation;
use super::state::{Answer, Fault, MAJORITY, MEMBERS, Part, Read, Stage, State, Version, Write};

/// One thing that happens. Writes, reads and replicas are told by their numbers. A message that is never
/// delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A write begins at the replica of the same number: those of one coordinator are in order anyway.
    Write(usize),
    /// A write reaches a replica.
    Deliver(usize, usize),
    /// The first attempt of a write that was stamped again reaches a replica.
    DeliverFormer(usize, usize),
    /// A replica's answer reaches the coordinator.
    Count(usize, usize),
    /// A replica's answer to the first attempt reaches the coordinator of the second.
    CountFormer(usize, usize),
    /// The coordinator stamps again; it waits no longer for those that have not answered.
    StampAgain(usize),
    /// A replica tells a read what it holds. The read begins with the first of them: the later it begins, the
    /// more it must show.
    Tell(usize, usize),
    /// The repair of a read reaches a replica, and its answer the coordinator.
    Repair(usize, usize),
}

/// A state, the rules that hold in it, and its change.
pub(super) struct World {
    pub(super) state: State,
    pub(super) mutation: Option<Mutation>,
}

impl World {
    /// Does a step. The state stays as it is if a rule forbids the step.
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Write(write) => self.begin_write(write),
            Step::Deliver(write, to) => self.deliver(write, to),
            Step::DeliverFormer(write, to) => self.deliver_former(write, to),
            Step::Count(write, from) => self.count(write, from),
            Step::CountFormer(write, from) => self.count_former(write, from),
            Step::StampAgain(write) => self.stamp_again(write),
            Step::Tell(read, from) => self.tell(read, from),
            Step::Repair(read, to) => self.repair(read, to),
        }
    }

    fn without(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The coordinator's clock goes on from the newest reading it has seen.
    fn stamp(&mut self, by: usize, seen: u8) -> Version {
        let clock = self.state.clocks[by].max(seen) + 1;
        self.state.clocks[by] = clock;
        Version { clock, writer: by as u8 }
    }

    fn begin_write(&mut self, number: usize) {
        let before = number.checked_sub(1).map(|before| self.state.writes[before].stage);
        if self.state.writes[number].stage != Stage::Waiting || before == Some(Stage::Waiting) {
            return;
        }
        let version = self.stamp(number, 0);
        let after = self.state.acknowledged.max(self.state.shown);
        let (stage, parts) = (Stage::First, [Part::Asked; MEMBERS]);
        let write = &mut self.state.writes[number];
        *write = Write { stage, version, after, parts, ..*write };
    }

    /// A replica stores what is newer than what it holds, and observes the clock.
    fn store(&mut self, version: Version, to: usize) -> Answer {
        let stored = self.state.stored[to];
        self.state.clocks[to] = self.state.clocks[to].max(version.clock);
        self.state.stored[to] = stored.max(version);
        if stored > version { Answer::Superseded(stored) } else { Answer::Applied }
    }

    fn deliver(&mut self, number: usize, to: usize) {
        let Write { version, parts, stage, .. } = self.state.writes[number];
        if parts[to] == Part::Asked {
            let answer = self.store(version, to);
            let heard = stage != Stage::Acknowledged;
            let part = if heard { Part::Answered(answer) } else { Part::Over };
            self.state.writes[number].parts[to] = part;
        }
    }

    /// The answer is to an operation that nobody knows any more.
    fn deliver_former(&mut self, number: usize, to: usize) {
        let Write { former, former_parts, .. } = self.state.writes[number];
        if former_parts[to] == Part::Asked {
            let answer = self.store(former, to);
            let heard = self.without(Mutation::FormerAnswersCount);
            let part = if heard { Part::Answered(answer) } else { Part::Over };
            self.state.writes[number].former_parts[to] = part;
        }
    }

    fn count(&mut self, number: usize, from: usize) {
        let write = &mut self.state.writes[number];
        if let Part::Answered(answer) = write.parts[from] {
            write.parts[from] = Part::Counted(answer);
            self.decide(number);
        }
    }

    fn count_former(&mut self, number: usize, from: usize) {
        let heard = self.without(Mutation::FormerAnswersCount);
        let write = &mut self.state.writes[number];
        if let (Part::Answered(answer), Stage::Second, true) =
            (write.former_parts[from], write.stage, heard)
        {
            write.former_parts[from] = Part::Over;
            write.parts[from] = Part::Counted(answer);
            self.decide(number);
        }
    }

    /// In the first attempt only "applied" counts.
    fn decide(&mut self, number: usize) {
        let all = self.without(Mutation::SupersededCountsAtOnce);
        let write = &mut self.state.writes[number];
        let counts = |part: &&Part| match part {
            Part::Counted(Answer::Applied) => true,
            Part::Counted(Answer::Superseded(_)) => all || write.stage == Stage::Second,
            Part::Over | Part::Asked | Part::Answered(_) => false,
        };
        if write.parts.iter().filter(counts).count() < MAJORITY {
            return;
        }
        if write.version <= write.after {
            self.state.fault = Fault::LaterWriteLoses;
        }
        self.state.acknowledged = self.state.acknowledged.max(write.version);
        write.stage = Stage::Acknowledged;
        // Requests under way still arrive; the rest is forgotten, and makes no states of its own.
        for part in write.parts.iter_mut().chain(&mut write.former_parts) {
            *part = if *part == Part::Asked { Part::Asked } else { Part::Over };
        }
        write.after = Version::NONE;
    }

    /// A majority has compared the version with its own, and something newer was in the way.
    fn stamp_again(&mut self, number: usize) {
        let write = self.state.writes[number];
        let counted = write.parts.iter().filter(|part| matches!(part, Part::Counted(_))).count();
        let newest = write.parts.iter().filter_map(|part| match part {
            Part::Counted(Answer::Superseded(version)) => Some(*version),
            _ => None,
        });
        let (Some(newest), Stage::First) = (newest.max(), write.stage) else { return };
        if counted < MAJORITY {
            return;
        }
        let version = self.stamp(number, newest.clock);
        let heard = self.without(Mutation::FormerAnswersCount);
        let write = &mut self.state.writes[number];
        write.former = write.version;
        write.former_parts = write.parts.map(|part| match part {
            Part::Asked => part,
            Part::Answered(_) if heard => part,
            _ => Part::Over,
        });
        write.version = version;
        write.stage = Stage::Second;
        write.parts = [Part::Asked; MEMBERS];
    }

    /// A majority that agrees is an answer; one that does not is brought to the newest version first.
    fn tell(&mut self, number: usize, from: usize) {
        let State { acknowledged, shown, .. } = self.state;
        let stored = self.state.stored[from];
        let before = number.checked_sub(1).map(|before| self.state.reads[before].begun);
        let read = &mut self.state.reads[number];
        if read.answered || read.told[from].is_some() || before == Some(false) {
            return;
        }
        if !read.begun {
            *read = Read { begun: true, after_write: acknowledged, after_read: shown, ..*read };
        }
        read.told[from] = Some(stored);
        let told = read.told.iter().flatten().count();
        if told < MAJORITY {
            return;
        }
        if told == MAJORITY {
            read.newest = read.told.iter().flatten().copied().max().unwrap_or(Version::NONE);
        }
        for member in 0..MEMBERS {
            let Some(version) = read.told[member] else { continue };
            if version >= read.newest {
                read.held[member] = true;
            } else if !read.held[member] {
                read.pushed[member] = true;
            }
        }
        self.answer(number);
    }

    fn repair(&mut self, number: usize, to: usize) {
        let read = &mut self.state.reads[number];
        if !read.pushed[to] {
            return;
        }
        read.pushed[to] = false;
        read.held[to] = !read.answered;
        let newest = read.newest;
        if read.answered && !read.pushed.contains(&true) {
            read.newest = Version::NONE;
        }
        self.store(newest, to);
        self.answer(number);
    }

    /// A read is answered once a majority holds what it shows.
    fn answer(&mut self, number: usize) {
        let waits = !self.without(Mutation::RepairAfterTheAnswer);
        let read = &mut self.state.reads[number];
        let held = read.held.iter().filter(|held| **held).count();
        if read.answered || waits && held < MAJORITY {
            return;
        }
        if read.newest < read.after_write {
            self.state.fault = Fault::ReadMissesWrite;
        } else if read.newest < read.after_read {
            self.state.fault = Fault::ReadGoesBack;
        }
        self.state.shown = self.state.shown.max(read.newest);
        // Repairs under way still arrive; the rest is forgotten, and makes no states of its own.
        let (newest, pushed) = (read.newest, read.pushed);
        *read = Read { begun: true, answered: true, newest, pushed, ..Read::NEW };
        if !read.pushed.contains(&true) {
            read.newest = Version::NONE;
        }
    }
}
