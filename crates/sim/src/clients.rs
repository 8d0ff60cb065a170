//! The clients of a run: closed loops over a few contended keys.

mod scans;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Cursor, Executed, Identity, KeyspaceId, Layout, Mono, Op, Outcome, PartitionId,
    Reply, Request, Slot, Version, Want,
};
use kvorum_replication::Ticket;
use scans::Page;

use crate::chance::Chance;
use crate::history::{Ending, History, Kind, Operation, Written};
use crate::settings::Settings;
use crate::values;

/// How long a client waits for an answer.
pub const DEADLINE: Duration = Duration::from_millis(800);
/// The client that takes the last look.
const LAST_LOOK: usize = usize::MAX;

/// All clients, and what they have seen.
#[derive(Debug)]
pub struct Clients {
    /// What they asked and were told.
    pub history: History,
    /// Answers that no history of versions explains.
    pub nonsense: Vec<String>,
    chance: Chance,
    layout: Arc<Layout>,
    keys: Vec<Bytes>,
    /// When each key was written for the last time: what is lost of it later stays lost, and what
    /// is live in old segments must be moved.
    quiet_from: Vec<Mono>,
    max_value: usize,
    next_value: u64,
    next_ticket: u64,
    pending: BTreeMap<Ticket, Pending>,
    /// The newest version that a client knows of a key.
    tokens: BTreeMap<(usize, usize), Version>,
    /// Where the scan of a client goes on.
    cursors: BTreeMap<usize, Cursor>,
}

/// An operation under way.
#[derive(Debug)]
struct Pending {
    client: usize,
    /// The host that was asked.
    host: usize,
    invoked: Mono,
    consistency: Consistency,
    question: Question,
}

#[derive(Debug)]
enum Question {
    /// The operation of this number in the history, and how much a read wants.
    Key(usize, Want),
    Page(Page),
    Count(PartitionId),
}

/// What a client asks of one key.
#[derive(Clone, Copy, Debug)]
struct KeyQuestion {
    key: usize,
    kind: Kind,
    /// Of a read.
    want: Want,
    consistency: Option<Consistency>,
    min_version: Option<Version>,
}

impl Clients {
    /// Clients that have asked nothing yet. They write until `end`, and to half of the keys not
    /// even so long.
    #[must_use]
    pub fn new(settings: &Settings, end: Mono, layout: Arc<Layout>, mut chance: Chance) -> Clients {
        let quiet_from = |_| match chance.permille(500) {
            true => Mono(chance.between(0, end.0)),
            false => end,
        };
        Clients {
            history: History::default(),
            nonsense: Vec::new(),
            quiet_from: (0..settings.keys).map(quiet_from).collect(),
            chance,
            layout,
            keys: (0..settings.keys).map(|key| Bytes::from(format!("key-{key}"))).collect(),
            max_value: settings.storage.max_value,
            next_value: 1,
            next_ticket: 0,
            pending: BTreeMap::new(),
            tokens: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The beginning of the value that was written to some key last, if one was.
    pub fn a_written_value(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        let key = chance.index(self.keys.len());
        let acknowledged = |operation: &&Operation| {
            let written = matches!(operation.completed, Some((_, Ending::Written(_))));
            written && operation.key == key
        };
        let newest = self.history.operations().iter().rfind(acknowledged)?;
        match newest.kind {
            Kind::Put(written) => {
                let len = usize::try_from(written.len.min(64)).unwrap_or(0);
                Some(values::bytes(written.number).take(len).collect())
            }
            _ => None,
        }
    }

    /// The next operation of a client, sent to the host with the given index.
    pub fn ask(&mut self, client: usize, host: usize, now: Mono) -> (Ticket, Request) {
        let consistency = match self.chance.between(0, 99) {
            0..15 => Some(Consistency::One),
            15..23 => Some(Consistency::All),
            23..33 => None,
            _ => Some(Consistency::Quorum),
        };
        let key = self.chance.index(self.keys.len());
        let quiet = self.quiet_from.get(key).is_some_and(|from| now >= *from);
        let (kind, want) = match self.chance.between(if quiet { 50 } else { 0 }, 99) {
            0..38 => (Kind::Put(self.value()), Want::Value),
            38..50 => (Kind::Delete, Want::Value),
            50..58 => (Kind::Get, Want::Header),
            58..67 => return self.scan(client, host, now, consistency, key),
            67..69 => return self.count(client, host, now, consistency, key),
            _ => (Kind::Get, Want::Value),
        };
        let token = kind == Kind::Get && self.chance.permille(300);
        let min_version = if token { self.tokens.get(&(client, key)).copied() } else { None };
        let question = KeyQuestion { key, kind, want, consistency, min_version };
        self.submit(client, host, now, question)
    }

    /// A last look at a key: a read of all replicas.
    pub fn look(&mut self, key: usize, host: usize, now: Mono) -> (Ticket, Request) {
        let question = KeyQuestion {
            key,
            kind: Kind::Get,
            want: Want::Value,
            consistency: Some(Consistency::All),
            min_version: None,
        };
        self.submit(LAST_LOOK, host, now, question)
    }

    fn submit(
        &mut self,
        client: usize,
        host: usize,
        now: Mono,
        question: KeyQuestion,
    ) -> (Ticket, Request) {
        let KeyQuestion { key, kind, want, consistency, min_version } = question;
        let number = self.history.invoke(Operation {
            client,
            key,
            kind,
            // What the keyspace does unless told otherwise.
            consistency: consistency.unwrap_or(Consistency::Quorum),
            min_version,
            invoked: now,
            completed: None,
        });
        let name = self.keys.get(key).cloned().unwrap_or_default();
        let op = match kind {
            Kind::Put(written) => values::put(name, written),
            Kind::Delete => Op::Delete { key: name },
            Kind::Get | Kind::Scan => Op::Get { key: name, want },
        };
        let mut request = request(op, consistency, now);
        request.min_version = min_version;
        (self.enter(client, host, now, consistency, Question::Key(number, want)), request)
    }

    fn enter(
        &mut self,
        client: usize,
        host: usize,
        invoked: Mono,
        consistency: Option<Consistency>,
        question: Question,
    ) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let consistency = consistency.unwrap_or(Consistency::Quorum);
        self.pending.insert(ticket, Pending { client, host, invoked, consistency, question });
        ticket
    }

    fn partition_of(&self, key: usize) -> PartitionId {
        let slot = self.slot_of(key);
        let first = PartitionId { placement: 0, number: 0 };
        self.layout.partition_of(KeyspaceId::DEFAULT, slot).unwrap_or(first)
    }

    fn slot_of(&self, key: usize) -> Slot {
        Slot::of(self.keys.get(key).map_or(b"", |name| name))
    }

    /// Takes an answer. Returns the client that may go on, if it was still waiting for it.
    pub fn answer(&mut self, ticket: Ticket, now: Mono, outcome: &Outcome<Reply>) -> Option<usize> {
        let pending = self.pending.remove(&ticket)?;
        let (number, want) = match &pending.question {
            Question::Key(number, want) => (*number, *want),
            Question::Page(page) => {
                if let Ok(Reply::Page(items, next)) = outcome {
                    self.page(&pending, page, now, items, next.as_ref());
                }
                return Some(pending.client);
            }
            Question::Count(partition) => {
                if let Ok(Reply::Count(count)) = outcome {
                    self.check_count(*partition, *count);
                }
                return Some(pending.client);
            }
        };
        let ending = match outcome {
            Ok(Reply::Written { version, .. }) => Ending::Written(*version),
            Ok(Reply::Found(item)) => Ending::Found(values::seen(item, want)),
            Ok(Reply::Missing(version)) => Ending::Missing(*version),
            Ok(Reply::Page(..) | Reply::Count(_) | Reply::Txn(_)) => {
                self.nonsense.push(format!("operation {number} was answered {outcome:?}"));
                Ending::Failed(Executed::Unknown)
            }
            Err(error) => Ending::Failed(error.executed()),
        };
        self.finish(number, now, ending)
    }

    /// Fails everything that waits for a host whose node crashed. Returns the clients that may go
    /// on.
    pub fn host_lost(&mut self, host: usize, now: Mono) -> Vec<usize> {
        let waits =
            |(ticket, pending): (&Ticket, &Pending)| (pending.host == host).then_some(*ticket);
        let lost: Vec<Ticket> = self.pending.iter().filter_map(waits).collect();
        let mut free = Vec::new();
        for ticket in lost {
            let Some(pending) = self.pending.remove(&ticket) else { continue };
            match pending.question {
                Question::Key(number, _) => {
                    free.extend(self.finish(number, now, Ending::Failed(Executed::Unknown)));
                }
                Question::Page(_) | Question::Count(_) => free.push(pending.client),
            }
        }
        free
    }

    fn finish(&mut self, number: usize, now: Mono, ending: Ending) -> Option<usize> {
        self.history.complete(number, now, ending);
        let Operation { client, key, .. } = *self.history.operations().get(number)?;
        let known = match ending {
            Ending::Written(version) => Some(version),
            Ending::Found(seen) => Some(seen.version),
            Ending::Missing(version) => version,
            Ending::Unlisted | Ending::Failed(_) => None,
        };
        if let Some(version) = known {
            let token = self.tokens.entry((client, key)).or_insert(version);
            *token = version.max(*token);
        }
        (client != LAST_LOOK).then_some(client)
    }

    /// Mostly small values, sometimes large ones; some expire.
    fn value(&mut self) -> Written {
        self.next_value += 1;
        let most = self.max_value as u64;
        let padding = match self.chance.between(0, 99) {
            0..88 => self.chance.between(0, 120),
            88..97 => self.chance.between(1_000, 5_000),
            _ => self.chance.between(most / 5, most - values::SHORTEST),
        };
        let expires = self.chance.permille(100);
        let ttl_ms = if expires { self.chance.between(50, 5_000) } else { 0 };
        let len = u32::try_from(values::SHORTEST + padding).unwrap_or(u32::MAX);
        Written { number: self.next_value, len, ttl_ms }
    }
}

fn request(op: Op, consistency: Option<Consistency>, now: Mono) -> Request {
    Request {
        identity: Identity::ANONYMOUS,
        keyspace: KeyspaceId::DEFAULT,
        op,
        consistency,
        min_version: None,
        key: None,
        deadline: now + DEADLINE,
    }
}
