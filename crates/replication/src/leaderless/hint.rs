//! Hints: which keys a member has missed, and the replay of what is stored under them now.
//!
//! The coordinator of a write remembers for every member that has not stored it, or not said so,
//! *that* the key changed, never to what. So many writes of one key are one hint, a hint weighs
//! little more than its key, and a replay sends nothing that has been overwritten. When the member
//! is back, it is sent the record that is stored here then, value or tombstone, as a repair.
//!
//! That record is at least as new as the write only if this node's own replica has taken the write.
//! If it has not, or its copy is damaged, or the keys of the target are more than may be
//! remembered, or it is away for too long, then only the slot is remembered, durably (`dirty`):
//! anti-entropy looks there first. Keys are not durable; what a restart forgets, anti-entropy finds.
//!
//! A member that rebuilds is a target as well. It copies everything, but it may have copied this
//! key from the others before the write arrived there.
//!
//! **Invariant:** a hint is forgotten when the target has said that it holds what was sent, or
//! something newer, and not before; or when its slot is dirty.
//!
//! **Invariant:** what is remembered for a target in all partitions of the node stays within
//! `hint_keys` and `hint_bytes`, and what is under way to it within `hints_in_flight`.

mod dirty;
mod target;

pub(super) use self::target::Replay;

use std::ops::RangeInclusive;

use bytes::Bytes;
use kvorum_core::{KeyspaceId, Mono, NodeId, Slot, Version};

use self::target::{Key, Target};
use super::Options;
use crate::{Context, OpId, Status};

/// A write that some members may not hold.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) keyspace: KeyspaceId,
    pub(super) slot: Slot,
    pub(super) key: Bytes,
    pub(super) version: Version,
    /// The members.
    pub(super) members: Vec<NodeId>,
}

/// What one replica remembers for the other members.
#[derive(Debug)]
pub(super) struct Hints {
    /// One per other member, once [`Hints::open`] was called.
    targets: Vec<Target>,
    open: bool,
}

impl Hints {
    /// Nothing is remembered yet, and never will be if the options say so.
    pub(super) const fn new(options: &Options) -> Hints {
        Hints { targets: Vec::new(), open: !options.limits.hints }
    }

    /// Reads what a former life has left. Must be called before anything else; again does nothing.
    pub(super) fn open(&mut self, options: &Options, ctx: &mut Context<'_>) {
        if std::mem::replace(&mut self.open, true) {
            return;
        }
        let me = ctx.me;
        let others = options.members.iter().copied().filter(|node| *node != me);
        self.targets = others.map(|node| Target::open(options, ctx, node)).collect();
    }

    /// When [`Hints::advance`] is wanted.
    pub(super) fn wake(&self) -> Option<Mono> {
        if !self.open {
            return Some(Mono(0));
        }
        self.targets.iter().filter_map(Target::wake).min()
    }

    /// Remembers a write for the members that may not hold it.
    pub(super) fn missed(&mut self, options: &Options, ctx: &mut Context<'_>, missed: &Missed) {
        let Missed { keyspace, slot, key, version, members } = missed;
        if self.targets.is_empty() {
            return;
        }
        let stored = ctx.store.header(*keyspace, *slot, key);
        let held = stored.is_some_and(|s| s.header.version >= *version && !s.corrupt);
        for target in &mut self.targets {
            // What is not stored here cannot be sent from here: some member has it, this one
            // lacks it, and which one has it is not known.
            if !held {
                target.mark(*slot, ctx);
            } else if members.contains(&target.node()) {
                target.remember(options, ctx, Key::new(*keyspace, *slot, key));
            }
        }
    }

    /// Whether a hint was sent to a member under this id.
    pub(super) fn awaits(&self, from: NodeId, op: OpId) -> bool {
        self.targets.iter().any(|target| target.node() == from && target.awaits(op))
    }

    /// Takes the answer to a hint.
    pub(super) fn on_answer(
        &mut self,
        ctx: &mut Context<'_>,
        (from, op): (NodeId, OpId),
        status: Status,
    ) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.node() == from) {
            target.on_answer(ctx, op, status);
        }
    }

    /// No answer of a member is to be expected any more.
    pub(super) fn on_lost(&mut self, node: NodeId, ctx: &Context<'_>) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.node() == node) {
            target.on_lost(ctx.now.mono);
        }
    }

    /// Does for all targets what it is time for.
    pub(super) fn advance(&mut self, replay: &mut Replay<'_, '_>) {
        for target in &mut self.targets {
            if target.wake().is_some_and(|wake| wake <= replay.ctx.now.mono) {
                target.advance(replay);
            }
        }
    }

    /// The slots in which a member may differ by more than is remembered by key, in order.
    #[cfg(test)]
    pub(super) fn dirty(&self, node: NodeId) -> impl Iterator<Item = Slot> {
        self.targets.iter().filter(move |target| target.node() == node).flat_map(Target::dirty)
    }

    /// Whether any member may differ by more than is remembered by key.
    pub(super) fn any_dirty(&self) -> bool {
        self.targets.iter().any(|target| target.dirty().next().is_some())
    }

    /// How often a slot was marked for a member so far.
    pub(super) fn marks(&self, node: NodeId) -> u64 {
        let target = self.targets.iter().find(|target| target.node() == node);
        target.map_or(0, Target::marks)
    }

    /// This replica and a member were found equal in these slots, by snapshots that were taken when
    /// [`Hints::marks`] was `marks`.
    pub(super) fn cleaned(
        &mut self,
        node: NodeId,
        slots: &RangeInclusive<Slot>,
        marks: u64,
        ctx: &Context<'_>,
    ) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.node() == node) {
            target.cleaned(slots, marks, ctx.now.mono);
        }
    }
}
