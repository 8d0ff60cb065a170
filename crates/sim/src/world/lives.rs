//! The lives of the nodes of a world: starts, turns, log writes, crashes.

use std::sync::Arc;

use kvorum_core::{Mono, Reply};
use kvorum_shard::{In, Out, Shard};
use kvorum_storage::OpenError;

use super::{Event, World};
use crate::checkers::Property;
use crate::host::StartError;
use crate::network::Packet;
use crate::node::Upkeep;
use crate::trace;

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
        if target.paused || node.turn_due || !node.has_input() {
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
        self.begin_upkeep(host);
        self.write_log(host);
        self.schedule_deadline(host);
        self.wake(host);
    }

    pub(super) fn effect(&mut self, host: usize, out: Out) {
        match out {
            Out::Reply { ticket, outcome } => {
                self.trace
                    .note(self.now, || format!("reply {}: {}", ticket.0, trace::outcome(&outcome)));
                if matches!(outcome, Ok(Reply::Written { .. } | Reply::Txn(_))) {
                    self.write_acknowledged(host);
                }
                if let Some(client) = self.clients.answer(ticket, self.now, &outcome) {
                    let think = self.chance.between(100, self.settings.think_micros);
                    self.after(think, Event::Ask { client });
                }
                if let Some(client) = self.strong.answer(ticket, self.now, &outcome) {
                    let think = self.chance.between(100, self.settings.strong.think_micros);
                    self.after(think, Event::AskStrong { client });
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
            Out::GaveUp { partition, reason } => {
                self.trace
                    .note(self.now, || format!("host {host} gave up {partition:?}: {reason}"));
            }
            Out::Report { partition, report } => {
                self.trace.note(self.now, || format!("host {host}, {partition:?}: {report:?}"));
            }
            Out::Count(event) => self.trace.note(self.now, || format!("host {host}: {event:?}")),
            Out::BadFrame { from, reason } => {
                let details = format!("host {host} got a bad frame from {from}: {reason}");
                self.violated(Property::RecoversAfterHealing, details);
            }
        }
    }

    /// Begins a log write, if there is something to write and none is under way.
    pub(super) fn write_log(&mut self, host: usize) {
        self.seal(host, false);
    }

    fn seal(&mut self, host: usize, idle: bool) {
        let Some(target) = self.host(host) else { return };
        let (life, time) = (target.life, target.sync_time());
        let Some(node) = &mut target.node else { return };
        if node.seal(idle) {
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
                target.durable = lsn;
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
        let interrupted = self.nemesis.interruption(&self.settings);
        let Some(target) = self.hosts.get_mut(host) else { return };
        if target.node.is_some() || target.unfit {
            return;
        }
        match target.start(&layout, &settings, now, interrupted.map(|(calls, _)| calls)) {
            Ok(recovery) => {
                let checked = target.check_recovery(&recovery);
                self.trace.note(now, || format!("host {host} starts: {recovery:?}"));
                if checked.is_err() {
                    let details = format!("host {host} recovered {recovery:?}");
                    self.violated(Property::DurableIsRecovered, details);
                }
                self.advance(host);
            }
            // The process ended, or a fault of the disk ended it: it is started again.
            Err(
                error @ (StartError::Interrupted
                | StartError::Store(OpenError::Io { .. } | OpenError::NoSpace { .. })),
            ) => {
                target.crash(interrupted.is_some_and(|(_, power)| power));
                self.trace.note(now, || format!("host {host} cannot start: {error}"));
                let wait = self.chance.between(1_000, 500_000);
                self.after(wait, Event::Start { host });
            }
            Err(error) => self.unfit(host, &error.to_string()),
        }
    }

    /// A node cannot go on, which no schedule of faults may lead to. It stays down.
    fn unfit(&mut self, host: usize, why: &str) {
        self.violated(Property::RecoversAfterHealing, format!("host {host} must not serve: {why}"));
        self.crash(host, false);
        if let Some(target) = self.host(host) {
            target.unfit = true;
        }
    }

    /// Lets a node do what its founding state asks for.
    pub(super) fn advance(&mut self, host: usize) {
        let mono = self.now;
        let Some(target) = self.host(host).filter(|host| !host.paused) else { return };
        let now = target.now(mono);
        let Some(node) = &mut target.node else { return };
        if let Err(refusal) = node.advance(now) {
            self.unfit(host, &refusal.to_string());
            return;
        }
        if let Some(reason) = node.rebuilds_because().filter(|_| !target.harmed) {
            let details = format!("host {host} rebuilds though its disk was not harmed: {reason}");
            self.violated(Property::DurableIsRecovered, details);
        }
        self.write_log(host);
        self.wake(host);
    }

    /// Ends the node of a host; the others notice soon.
    pub(crate) fn crash(&mut self, host: usize, power: bool) {
        let Some(target) = self.hosts.get_mut(host) else { return };
        let (running, id) = (target.node.is_some(), target.id);
        // The power of a machine may fail while no node runs on it.
        if !running && !power {
            return;
        }
        target.crash(power);
        if !running {
            return;
        }
        for (a, b) in self.network.pairs() {
            if a == id || b == id {
                self.close(a, b, id);
            }
        }
        for client in self.clients.host_lost(host, self.now) {
            let wait = self.chance.between(1_000, 100_000);
            self.after(wait, Event::Ask { client });
        }
        for client in self.strong.host_lost(host, self.now) {
            let wait = self.chance.between(1_000, 100_000);
            self.after(wait, Event::AskStrong { client });
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

    /// What a node does every now and then, whatever happens.
    pub(super) fn tick_node(&mut self, host: usize) {
        let nodes = self.hosts.len();
        let Some(target) = self.host(host).filter(|host| !host.paused) else { return };
        let Some(node) = &mut target.node else { return };
        let idle = node.tick(nodes);
        self.begin_upkeep(host);
        self.advance(host);
        self.seal(host, idle);
    }

    /// Begins a piece of background work, if the store wants one done. Not while the log is being
    /// written: what compaction copies would crowd out the requests.
    fn begin_upkeep(&mut self, host: usize) {
        let mono = self.now;
        let Some(target) = self.hosts.get_mut(host) else { return };
        let (life, time, at_once) = (target.life, target.work_time(), target.works_at_once());
        let Some(node) = target.node.as_mut().filter(|node| node.job.is_none()) else { return };
        let Some(work) = node.store.maintain(mono) else { return };
        node.upkeep = Some(if at_once { Upkeep::Ended(work.run()) } else { Upkeep::Begun(work) });
        self.after(time, Event::Worked { host, life });
        self.work_begun(host, time);
    }

    /// A piece of background work has ended.
    pub(super) fn worked(&mut self, host: usize, life: u64) {
        let Some(target) = self.alive(host, life) else { return };
        if target.paused {
            self.after(10_000, Event::Worked { host, life });
            return;
        }
        let Some(node) = &mut target.node else { return };
        match node.upkeep.take() {
            Some(Upkeep::Begun(work)) => node.store.work_done(work.run()),
            Some(Upkeep::Ended(done)) => node.store.work_done(done),
            None => return,
        }
        self.begin_upkeep(host);
        self.write_log(host);
    }
}
