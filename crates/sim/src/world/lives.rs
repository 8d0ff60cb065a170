//! The lives of the nodes of a world: starts, turns, log writes, crashes.

use std::sync::Arc;

use kvorum_core::Mono;
use kvorum_shard::{In, Out, Shard};
use kvorum_storage::OpenError;

use super::{Event, World};
use crate::host::StartError;
use crate::network::Packet;

impl World {
    /// Puts an input into a node's next turn.
    pub(crate) fn push(&mut self, host: usize, input: In) {
        let Some(target) = self.hosts.get_mut(host) else { return };
        let Some(node) = &mut target.node else { return };
        node.inbox.push_back(input);
        self.wake(host);
    }

    /// Schedules the next turn of a node that has something to do.
    pub(super) fn wake(&mut self, host: usize) {
        let Some(target) = self.hosts.get_mut(host) else { return };
        let Some(node) = &mut target.node else { return };
        if target.paused || node.turn_due || node.inbox.is_empty() {
            return;
        }
        node.turn_due = true;
        let (life, delay) = (target.life, target.turn_delay());
        self.after(delay, Event::Turn { host, life });
    }

    pub(super) fn turn(&mut self, host: usize, life: u64) {
        let mono = self.now;
        let Some(target) = self.alive(host, life) else { return };
        let now = target.now(mono);
        let paused = target.paused;
        let id = target.id;
        let Some(node) = &mut target.node else { return };
        if paused {
            node.turn_due = false;
            return;
        }
        let out = node.turn(now);
        self.trace.note(mono, || format!("node {id} turn: {} effects", out.len()));
        for effect in out {
            self.effect(host, effect);
        }
        self.write_log(host);
        self.schedule_deadline(host);
    }

    pub(super) fn effect(&mut self, host: usize, out: Out) {
        match out {
            Out::Reply { ticket, outcome } => {
                self.trace.note(self.now, || format!("reply {}: {outcome:?}", ticket.0));
                if let Some(key) = self.looks.remove(&ticket)
                    && let Err(error) = &outcome
                {
                    self.trace.note(self.now, || format!("look at key {key}: {error}"));
                }
                if let Some(client) = self.clients.answer(ticket, self.now, &outcome) {
                    let think = self.chance.between(100, self.settings.think_micros);
                    self.after(think, Event::Ask { client });
                }
            }
            Out::Send { to, class, frame } => {
                let Some(from) = self.hosts.get(host).map(|host| host.id) else { return };
                let Some(link) = self.network.link(from, to) else { return };
                if !link.is_open(from < to) {
                    return;
                }
                let packet = Packet { from, to, epoch: link.epoch, body: frame };
                let (at, copy) = self.network.arrivals(self.now, &packet, class);
                if let Some(copy) = copy {
                    self.at(copy, Event::Arrive(packet.clone()));
                }
                self.at(at, Event::Arrive(packet));
            }
            Out::Rebuilt(partition) => {
                self.trace.note(self.now, || format!("host {host} rebuilt {partition:?}"));
                if let Some(node) = self.host(host).and_then(|host| host.node.as_mut()) {
                    node.rebuilt(partition);
                }
                self.advance(host);
            }
            Out::Count(event) => self.trace.note(self.now, || format!("host {host}: {event:?}")),
            Out::BadFrame { from, reason } => {
                self.broken(format!("host {host} got a bad frame from {from}: {reason}"));
            }
        }
    }

    /// Begins a log write, if there is something to write and none is under way.
    pub(super) fn write_log(&mut self, host: usize) {
        let Some(target) = self.host(host) else { return };
        let (life, time) = (target.life, target.sync_time());
        let Some(node) = &mut target.node else { return };
        if node.job.is_some() {
            return;
        }
        if let Some(job) = node.store.seal() {
            node.job = Some(job);
            self.after(time, Event::Synced { host, life });
        }
    }

    pub(super) fn synced(&mut self, host: usize, life: u64) {
        let mono = self.now;
        let Some(target) = self.alive(host, life) else { return };
        let now = target.now(mono);
        let Some(node) = &mut target.node else { return };
        match node.synced(now) {
            Ok(Some(lsn)) => {
                self.trace.note(mono, || format!("host {host} durable {}", lsn.0));
                self.advance(host);
            }
            Ok(None) => {}
            Err(error) => {
                self.trace.note(mono, || format!("host {host}: {error}"));
                self.crash(host, false);
                self.after(500_000, Event::Start { host });
            }
        }
    }

    pub(super) fn schedule_deadline(&mut self, host: usize) {
        let Some(target) = self.host(host) else { return };
        let life = target.life;
        let Some(node) = &mut target.node else { return };
        let wanted = node.shard.as_ref().and_then(Shard::next_deadline);
        if wanted.is_some_and(|at| node.deadline.is_none_or(|due| at < due)) {
            node.deadline = wanted;
            let at = wanted.unwrap_or_default().max(Mono(self.now.0 + 1));
            self.at(at, Event::Deadline { host, life });
        }
    }

    pub(super) fn deadline(&mut self, host: usize, life: u64) {
        let Some(target) = self.alive(host, life) else { return };
        let Some(node) = &mut target.node else { return };
        node.deadline = None;
        self.push(host, In::Deadline);
    }

    /// Starts the node of a host.
    pub(crate) fn start(&mut self, host: usize) {
        let (layout, settings) = (Arc::clone(&self.layout), self.settings.clone());
        let now = self.now;
        let Some(target) = self.hosts.get_mut(host) else { return };
        if target.node.is_some() {
            return;
        }
        match target.start(&layout, &settings, now) {
            Ok(recovery) => {
                self.trace.note(now, || format!("host {host} starts: {recovery:?}"));
                self.advance(host);
            }
            // A fault of the disk while it is opened: the process ends and is started again.
            Err(StartError::Store(error @ (OpenError::Io { .. } | OpenError::NoSpace { .. }))) => {
                self.trace.note(now, || format!("host {host} cannot start: {error}"));
                self.after(500_000, Event::Start { host });
            }
            Err(error) => self.broken(format!("host {host} cannot start: {error}")),
        }
    }

    /// Lets a node do what its founding state asks for.
    pub(super) fn advance(&mut self, host: usize) {
        let mono = self.now;
        let Some(target) = self.host(host).filter(|host| !host.paused) else { return };
        let now = target.now(mono);
        let Some(node) = &mut target.node else { return };
        if let Err(refusal) = node.advance(now) {
            self.broken(format!("host {host} must not serve: {refusal}"));
            return;
        }
        self.write_log(host);
        self.wake(host);
    }

    /// Ends the node of a host; the others notice soon.
    pub(crate) fn crash(&mut self, host: usize, power: bool) {
        let Some(target) = self.hosts.get_mut(host) else { return };
        if target.node.is_none() {
            return;
        }
        target.crash(power);
        let id = target.id;
        for (a, b) in self.network.pairs() {
            if a == id || b == id {
                self.close(a, b, id);
            }
        }
        for client in self.clients.node_lost(host, self.now) {
            let wait = self.chance.between(1_000, 100_000);
            self.after(wait, Event::Ask { client });
        }
    }

    /// Lets a stopped node go on, with everything that has arrived meanwhile.
    pub(super) fn resume(&mut self, host: usize, life: u64) {
        let Some(target) = self.alive(host, life) else { return };
        if !target.paused {
            return;
        }
        target.paused = false;
        self.release();
        self.wake(host);
        self.write_log(host);
    }

    /// Runs what the store wants done in the background.
    pub(super) fn maintain(&mut self, host: usize) {
        let mono = self.now;
        let Some(target) = self.host(host).filter(|host| !host.paused) else { return };
        let Some(node) = &mut target.node else { return };
        if let Some(work) = node.store.maintain(mono) {
            node.store.work_done(work.run());
        }
        self.advance(host);
    }
}
