//! Read repair: pushing what a read has found to the members that do not hold it.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Header, NodeId, Record};

use super::Options;
use super::answers::Answers;
use super::coordinator::Coordinator;
use super::read::Question;
use crate::quorum::MemberSet;
use crate::{Message, OpId, Status, WriteKind};

/// A record on its way to a majority.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) record: Record,
    /// Members known to hold it or something newer.
    held: MemberSet,
    /// Members it was sent to.
    sent: MemberSet,
    /// Those of them that have not answered.
    outstanding: MemberSet,
}

impl Repair {
    pub(super) fn new(record: Record) -> Repair {
        let none = MemberSet::EMPTY;
        Repair { record, held: none, sent: none, outstanding: none }
    }

    /// Sends the record, once, to every member known not to hold it.
    pub(super) fn push(
        &mut self,
        at: &mut Coordinator<'_, '_>,
        answers: &Answers,
        patience: Duration,
    ) {
        let members = &at.options.members;
        for (node, held) in answers.told() {
            if held.shows(&self.record.header()) {
                self.held.insert(members, node);
            } else if !self.sent.contains(members, node) && at.can_ask(node) {
                self.sent.insert(members, node);
                self.outstanding.insert(members, node);
                let op = at.op;
                at.send(node, push(op, self.record.clone(), patience));
            }
        }
    }

    pub(super) fn on_answer(&mut self, members: &[NodeId], from: NodeId, status: Status) {
        self.outstanding.remove(members, from);
        let held = match status {
            Status::Applied { .. } | Status::Superseded(_) => true,
            // It has removed this very record, or would do so at once.
            Status::Late(floor) => self.record.header().may_be_purged(floor),
            Status::Rebuilding
            | Status::ClockSkew
            | Status::DiskFull
            | Status::IndexFull
            | Status::Overloaded
            | Status::NotReplica => false,
        };
        if held {
            self.held.insert(members, from);
        }
    }

    /// Notes that a member is lost, and with it perhaps its disk.
    pub(super) fn on_lost(&mut self, options: &Options, node: NodeId) {
        if !options.counts_the_lost() {
            self.held.remove(&options.members, node);
        }
        self.outstanding.remove(&options.members, node);
    }

    /// How many members hold the record.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    /// How many more may yet confirm that they do.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding.len()
    }
}

/// Sends a record to every member known not to hold it, and waits for nobody.
pub(super) fn push_and_forget(
    at: &mut Coordinator<'_, '_>,
    answers: &Answers,
    record: &Record,
    patience: Duration,
) {
    for (node, held) in answers.told() {
        if !held.shows(&record.header()) && at.can_ask(node) {
            at.send(node, push(OpId::NONE, record.clone(), patience));
        }
    }
}

fn push(op: OpId, record: Record, patience: Duration) -> Message {
    Message::Write { op, record, kind: WriteKind::Repair, patience }
}

/// The record that a header and a value make.
pub(super) fn record(question: &Question, header: Header, value: Bytes) -> Record {
    Record {
        keyspace: question.keyspace,
        slot: question.slot,
        key: question.key.clone(),
        version: header.version,
        tag: header.tag,
        expire_ms: header.expire_ms,
        value: (!header.tombstone).then_some(value),
    }
}
