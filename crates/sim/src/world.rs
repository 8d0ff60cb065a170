//! The world of one run: machines, network, clients and faults on one virtual clock.

mod floors;
mod last_look;
mod links;
mod lives;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kvorum_core::{Consistency, Keyspace, KeyspaceId, Layout, Mode, Mono, NodeId, layout};
use kvorum_shard::In;

use self::floors::Floors;
use crate::chance::Chance;
use crate::checkers::{self, Circumstances, Property, Violation};
use crate::clients::Clients;
use crate::host::{EPOCH_MS, Host};
use crate::nemesis::Nemesis;
use crate::network::{Network, Packet};
use crate::settings::Settings;
use crate::strong::{self, Strong};
use crate::trace::{self, Trace};

/// How often links are looked after, in microseconds.
const TICK: u64 = 100_000;
/// How long a node is silent before its connections are given up.
const SILENCE: Duration = Duration::from_millis(1500);
/// How long the world is left alone before the last look.
const SETTLE: Duration = Duration::from_secs(20);

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node's next turn.
    Turn { host: usize, life: u64 },
    /// A node's log write is finished.
    Synced { host: usize, life: u64 },
    /// A piece of a node's background work is finished.
    Worked { host: usize, life: u64 },
    /// A node's deadline.
    Deadline { host: usize, life: u64 },
    /// A packet arrives.
    Arrive(Packet),
    /// A client asks.
    Ask { client: usize },
    /// A client of the strong keyspace asks.
    AskStrong { client: usize },
    /// A crashed node starts again.
    Start { host: usize },
    /// A stopped node goes on.
    Resume { host: usize, life: u64 },
    /// Links are looked after, maintenance runs.
    Tick,
    /// The next fault.
    Fault,
    /// The second half of a fault: a machine loses power, or all do.
    PowerCut { host: Option<usize> },
    /// The second half of a fault: a node that was to leave ends.
    Stop { host: usize, life: u64 },
    /// All faults end.
    Heal,
    /// The last look at everything.
    Look,
    /// The last look at a key.
    LookAt { key: usize },
    /// The last write to an object of the strong keyspace, or the last look at it; again, if the
    /// one before it failed.
    LookAtStrong { object: usize, write: bool, earlier: usize },
    /// The run ends.
    End,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The violations found, at most one of each property.
    pub violations: Vec<Violation>,
    /// Operations on the eventual keyspace that succeeded, and all.
    pub operations: (usize, usize),
    /// Operations on the strong keyspace that succeeded, and all.
    pub strong: (usize, usize),
    /// Faults injected.
    pub faults: usize,
    /// Identifies the course of events: equal seeds give equal traces.
    pub trace: u64,
}

/// One run.
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) layout: Arc<Layout>,
    pub(crate) now: Mono,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) strong: Strong,
    pub(crate) chance: Chance,
    pub(crate) nemesis: Nemesis,
    pub(crate) trace: Trace,
    floors: Floors,
    events: BTreeMap<(Mono, u64), Event>,
    scheduled: u64,
    healed: Option<Mono>,
    /// The hosts whose nodes have been rebuilding whenever they were looked at since then.
    incomplete: BTreeSet<usize>,
    /// What the machines told, rather than the clients.
    violations: BTreeMap<Property, Violation>,
    /// How far any wall clock has been off, in milliseconds.
    clock_error_ms: u64,
    ended: bool,
}

impl World {
    /// The world of a seed, at its beginning.
    ///
    /// # Errors
    /// The settings do not make a layout.
    pub fn new(seed: u64, settings: Settings, trace: Trace) -> anyhow::Result<World> {
        let mut chance = Chance::new(seed);
        let ids: Vec<NodeId> = (1..=settings.nodes).filter_map(NodeId::new).collect();
        let hosts = ids.iter().map(|&id| Host::new(id, &settings, chance.fork())).collect();
        let network = Network::new(&ids, chance.fork());
        let layout = Arc::new(layout(&settings, &ids)?);
        let begin = Mono(1_000_000);
        let end = begin + settings.duration;
        let clients = Clients::new(&settings, end, Arc::clone(&layout), chance.fork());
        let nemesis = Nemesis::new(chance.fork());
        let strong = Strong::new(&settings, chance.fork());
        Ok(World {
            settings,
            layout,
            now: begin,
            hosts,
            network,
            clients,
            strong,
            chance,
            nemesis,
            trace,
            floors: Floors::default(),
            events: BTreeMap::new(),
            scheduled: 0,
            healed: None,
            incomplete: BTreeSet::new(),
            violations: BTreeMap::new(),
            clock_error_ms: 0,
            ended: false,
        })
    }

    /// Runs to the end and checks what the clients saw.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        for host in 0..self.hosts.len() {
            self.start(host);
        }
        self.after(0, Event::Tick);
        for client in 0..self.settings.clients {
            self.after(2_000_000, Event::Ask { client });
        }
        for client in 0..self.settings.strong.clients {
            self.after(2_000_000, Event::AskStrong { client });
        }
        self.after(3_000_000, Event::Fault);
        let end = u64::try_from(self.settings.duration.as_micros()).unwrap_or(u64::MAX);
        self.after(end, Event::Heal);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.happen(event);
            if self.ended {
                break;
            }
        }
        self.judge()
    }

    fn judge(mut self) -> Outcome {
        self.watch_clocks();
        let gc_lag = self.settings.shard.leaderless.gc_lag;
        let circumstances = Circumstances {
            healed: self.healed.unwrap_or(self.now),
            disks_kept: !self.nemesis.touched_disks(),
            epoch_ms: EPOCH_MS,
            clock_error_ms: self.clock_error_ms,
            gc_lag_ms: u64::try_from(gc_lag.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(details) = self.clients.nonsense.first().cloned() {
            self.violated(Property::ReadsReturnWhatWasWritten, details);
        }
        if let Some(details) = self.strong.nonsense.first().cloned() {
            self.violated(Property::StrongIsLinearizable, details);
        }
        let history = &self.clients.history;
        let strong = checkers::check_strong(&self.strong.history, circumstances);
        for violation in checkers::check(history, circumstances).into_iter().chain(strong) {
            self.violations.entry(violation.property).or_insert(violation);
        }
        Outcome {
            violations: self.violations.into_values().collect(),
            operations: (history.succeeded(), history.operations().len()),
            strong: (self.strong.succeeded(), self.strong.history.len()),
            faults: self.nemesis.injected(),
            trace: self.trace.digest(),
        }
    }

    pub(crate) fn after(&mut self, micros: u64, event: Event) {
        self.at(Mono(self.now.0 + micros), event);
    }

    fn at(&mut self, at: Mono, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { host, life } => self.turn(host, life),
            Event::Synced { host, life } => self.synced(host, life),
            Event::Worked { host, life } => self.worked(host, life),
            Event::Deadline { host, life } => self.deadline(host, life),
            Event::Arrive(packet) => self.arrive(packet),
            Event::Ask { client } => self.ask(client),
            Event::AskStrong { client } => self.ask_strong(client),
            Event::Start { host } => self.start(host),
            Event::Resume { host, life } => self.resume(host, life),
            Event::Tick => self.tick(),
            Event::Fault => self.next_fault(),
            Event::PowerCut { host } => self.cut_power(host),
            Event::Stop { host, life } => self.stop(host, life),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
            Event::LookAt { key } => self.look_at(key),
            Event::LookAtStrong { object, write, earlier } => {
                self.look_at_strong(object, write, earlier);
            }
            Event::End => self.end(),
        }
    }

    pub(crate) fn host(&mut self, host: usize) -> Option<&mut Host> {
        self.hosts.get_mut(host)
    }

    fn host_of(&self, id: NodeId) -> usize {
        self.hosts.iter().position(|host| host.id == id).unwrap_or(usize::MAX)
    }

    /// The host, if it runs that life.
    fn alive(&mut self, host: usize, life: u64) -> Option<&mut Host> {
        self.host(host).filter(|host| host.life == life && host.node.is_some())
    }

    /// The host that a client asks next; nothing if its node is down, or the run is over.
    fn asked(&mut self, again: Event) -> Option<usize> {
        if self.healed.is_some() {
            return None;
        }
        let host = self.chance.index(self.hosts.len());
        let up = self.hosts.get(host).is_some_and(|host| host.node.is_some());
        if !up {
            let wait = self.chance.between(1_000, 50_000);
            self.after(wait, again);
        }
        up.then_some(host)
    }

    fn ask(&mut self, client: usize) {
        let Some(host) = self.asked(Event::Ask { client }) else { return };
        let (ticket, request) = self.clients.ask(client, host, self.now);
        self.trace.note(self.now, || {
            format!("client {client} asks host {host}: {}", trace::request(&request))
        });
        self.push(host, In::Request { ticket, request });
    }

    fn ask_strong(&mut self, client: usize) {
        let Some(host) = self.asked(Event::AskStrong { client }) else { return };
        let (ticket, request) = self.strong.ask(client, host, self.now);
        self.trace.note(self.now, || {
            let request = trace::request(&request);
            format!("strong client {client} asks host {host} as {}: {request}", ticket.0)
        });
        self.push(host, In::Request { ticket, request });
    }

    /// Something happened that no schedule of faults may lead to.
    fn violated(&mut self, property: Property, details: String) {
        self.trace.note(self.now, || format!("violation of {property}: {details}"));
        self.violations.entry(property).or_insert(Violation { property, details });
    }

    fn tick(&mut self) {
        for (a, b) in self.network.pairs() {
            self.look_after(a, b);
        }
        for host in 0..self.hosts.len() {
            self.tick_node(host);
        }
        self.look_at_nodes();
        self.watch_floors();
        self.after(TICK, Event::Tick);
    }

    /// Remembers how far clocks are off; called before one is set.
    pub(crate) fn watch_clocks(&mut self) {
        let errors = self.hosts.iter().map(|host| host.clock_error_ms(self.now));
        self.clock_error_ms = errors.fold(self.clock_error_ms, u64::max);
    }

    /// Ends all faults; the last look comes when everything has settled.
    fn heal(&mut self) {
        self.network.heal();
        for host in 0..self.hosts.len() {
            if let Some(target) = self.host(host) {
                target.paused = false;
                target.disk.set_capacity(None);
                target.disk.fail_reads(None);
            }
            self.start(host);
            self.push(host, In::SlowDisk(false));
            self.wake(host);
            self.write_log(host);
        }
        self.release();
        self.trace.note(self.now, || "healed".to_owned());
        self.nemesis.stop();
        self.after(u64::try_from(SETTLE.as_micros()).unwrap_or(0), Event::Look);
    }
}

/// An eventual and a strong keyspace whose partitions lie on some of the nodes each, in turn.
fn layout(settings: &Settings, ids: &[NodeId]) -> anyhow::Result<Layout> {
    let placement = |partitions: usize, replicas: usize| {
        let members = (0..partitions).map(|first| {
            let members = ids.iter().cycle().skip(first % ids.len().max(1));
            members.take(replicas).copied().collect()
        });
        layout::Placement::new(members.collect())
    };
    let keyspace = |id, name: &str, mode, placement| Keyspace {
        id,
        name: name.to_owned(),
        mode,
        placement,
        read: Consistency::Quorum,
        write: Consistency::Quorum,
    };
    let keyspaces = vec![
        keyspace(KeyspaceId::DEFAULT, "default", Mode::Eventual, 0),
        keyspace(strong::KEYSPACE, "strong", Mode::Strong, 1),
    ];
    let placements = vec![
        placement(settings.partitions, settings.replicas)?,
        placement(settings.strong.partitions, settings.strong.replicas)?,
    ];
    Ok(Layout::new(1, ids.to_vec(), keyspaces, placements)?)
}
