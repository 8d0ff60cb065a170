//! The replica that raises the floor: one round, from the proposal to the commit.
//!
//! 1. Every member promises, the proposer last: if its clock is far ahead the others decline, and it must
//!    not have stopped its own clients. One that declines, or does not answer, ends the round.
//! 2. The members are asked from time to time with whom they are clean, until every pair is.
//! 3. They are asked once more. If all of them answer, and still have the lives under which they
//!    promised, all are told to commit.
//!
//! The third step is needed although the commit names the lives: a member that loses its disk while
//! other pairs are not clean yet may rebuild from replicas that still lack something. Its life tells,
//! but only if it is asked after the last pair was clean.
//!
//! Nothing here is durable: a round that is forgotten has changed nothing but promises.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_core::{Hlc, Mono, NodeId, Version};

use super::FloorLetter;
use crate::OpId;
use crate::leaderless::Options;

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    /// The proposed floor.
    floor: Hlc,
    /// The proposer.
    me: NodeId,
    /// All members.
    members: Vec<NodeId>,
    /// The members that have promised, with the lives of their data.
    lives: BTreeMap<NodeId, Version>,
    /// Pairs that are clean up to the floor; the smaller id first.
    clean: BTreeSet<(NodeId, NodeId)>,
    /// What is asked now.
    question: Question,
    /// When it is asked again, or given up.
    pub(super) wake: Mono,
}

/// What all members are asked under one id.
#[derive(Debug)]
struct Question {
    op: OpId,
    kind: Kind,
    /// Who has answered.
    heard: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Promise,
    Clean,
    /// Every pair was clean when this was asked.
    Confirm,
}

/// What follows from an answer, or from the time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// All others have promised: the proposer promises as well.
    Promise(Hlc),
    /// Ask all members this.
    Ask(FloorLetter),
    /// Tell all members, and end.
    Commit(FloorLetter),
    /// The round has failed.
    End,
}

impl Round {
    /// A round of `me` for `floor`, in which all `members` are asked for their promises under `op`.
    pub(super) fn new(floor: Hlc, me: NodeId, members: Vec<NodeId>, op: OpId, wake: Mono) -> Round {
        let question = Question { op, kind: Kind::Promise, heard: BTreeSet::new() };
        let (lives, clean) = (BTreeMap::new(), BTreeSet::new());
        Round { floor, me, members, lives, clean, question, wake }
    }

    /// The members, and the id under which they are asked.
    pub(super) fn asked(&self) -> (&[NodeId], OpId) {
        (&self.members, self.question.op)
    }

    /// Asks the next question under this id, until `wake`.
    pub(super) fn ask(&mut self, options: &Options, op: OpId, wake: Mono) {
        let kind = if self.is_clean(options) { Kind::Confirm } else { Kind::Clean };
        self.question = Question { op, kind, heard: BTreeSet::new() };
        self.wake = wake;
    }

    /// Takes the answer of a member.
    pub(super) fn answered(
        &mut self,
        options: &Options,
        from: NodeId,
        op: OpId,
        letter: FloorLetter,
    ) -> Step {
        if op != self.question.op || !self.members.contains(&from) {
            return Step::Wait;
        }
        match (self.question.kind, letter) {
            (_, FloorLetter::Declined) => return Step::End,
            (Kind::Promise, FloorLetter::Promised { life }) => {
                self.lives.insert(from, life);
            }
            (Kind::Clean | Kind::Confirm, FloorLetter::Clean { life, promise, with }) => {
                let same = self.lives.get(&from) == Some(&life) && promise >= self.floor;
                if !same && !options.ignores_lives() {
                    return Step::End;
                }
                let enough = |through: Hlc| through >= self.floor || options.counts_early_clean();
                let clean = with.into_iter().filter(|(_, through)| enough(*through));
                self.clean.extend(clean.map(|(other, _)| (from.min(other), from.max(other))));
            }
            _ => return Step::Wait,
        }
        self.question.heard.insert(from);
        if self.question.heard.len() < self.members.len() {
            return self.waiting();
        }
        match self.question.kind {
            Kind::Promise => Step::Ask(FloorLetter::Ask),
            Kind::Clean if self.is_clean(options) => Step::Ask(FloorLetter::Ask),
            // Asked again when it is time.
            Kind::Clean => Step::Wait,
            Kind::Confirm => Step::Commit(FloorLetter::Commit {
                floor: self.floor,
                lives: self.lives.iter().map(|(node, life)| (*node, *life)).collect(),
            }),
        }
    }

    /// What to do while answers are missing.
    pub(super) fn waiting(&self) -> Step {
        let Question { kind, ref heard, .. } = self.question;
        let mut others = self.members.iter().filter(|node| **node != self.me);
        match kind == Kind::Promise && others.all(|node| heard.contains(node)) {
            true => Step::Promise(self.floor),
            false => Step::Wait,
        }
    }

    /// The time of `wake` has come.
    pub(super) const fn waited(&self) -> Step {
        match self.question.kind {
            Kind::Promise => Step::End,
            Kind::Clean | Kind::Confirm => Step::Ask(FloorLetter::Ask),
        }
    }

    /// Whether every pair of members is clean up to the floor.
    fn is_clean(&self, options: &Options) -> bool {
        if options.commits_after_one_session() && !self.clean.is_empty() {
            return true;
        }
        let clean = |one: NodeId, other: NodeId| one >= other || self.clean.contains(&(one, other));
        self.members.iter().all(|one| self.members.iter().all(|other| clean(*one, *other)))
    }
}
