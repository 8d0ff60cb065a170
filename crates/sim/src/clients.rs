//! The clients of a run: closed loops over a few contended keys.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Executed, Expiry, Identity, KeyspaceId, Mono, Op, Outcome, Reply, Request, Want,
};
use kvorum_replication::Ticket;

use crate::chance::Chance;
use crate::history::{Ending, History, Kind, Operation};

/// How long a client waits for an answer.
pub const DEADLINE: Duration = Duration::from_millis(800);

/// All clients, and what they have seen.
#[derive(Debug)]
pub struct Clients {
    /// What they asked and were told.
    pub history: History,
    chance: Chance,
    keys: usize,
    next_value: u64,
    /// Operations under way: ticket to (operation, node).
    pending: BTreeMap<Ticket, (usize, usize)>,
}

impl Clients {
    /// Clients that have asked nothing yet, over `keys` keys.
    #[must_use]
    pub fn new(keys: usize, chance: Chance) -> Clients {
        Clients {
            history: History::default(),
            chance,
            keys,
            next_value: 1,
            pending: BTreeMap::new(),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// The next operation of a client, sent to the node with the given index.
    pub fn ask(&mut self, client: usize, node: usize, now: Mono) -> (Ticket, Request) {
        let key = self.chance.index(self.keys);
        let kind = match self.chance.between(0, 99) {
            0..40 => {
                self.next_value += 1;
                Kind::Put(self.next_value)
            }
            40..52 => Kind::Delete,
            _ => Kind::Get,
        };
        let consistency = match self.chance.between(0, 99) {
            0..10 => Consistency::One,
            10..18 => Consistency::All,
            _ => Consistency::Quorum,
        };
        self.submit(client, node, now, (key, kind, consistency))
    }

    /// A last look at a key: a read of all replicas.
    pub fn look(&mut self, key: usize, node: usize, now: Mono) -> (Ticket, Request) {
        self.submit(usize::MAX, node, now, (key, Kind::Get, Consistency::All))
    }

    fn submit(
        &mut self,
        client: usize,
        node: usize,
        now: Mono,
        (key, kind, consistency): (usize, Kind, Consistency),
    ) -> (Ticket, Request) {
        let number = self.history.invoke(Operation {
            client,
            key,
            kind,
            consistency,
            invoked: now,
            completed: None,
        });
        let ticket = Ticket(number as u64);
        self.pending.insert(ticket, (number, node));
        let name = Bytes::from(format!("key-{key}"));
        let op = match kind {
            Kind::Put(value) => {
                Op::Put { key: name, value: self.encode(value), expiry: self.expiry(), tag: 0 }
            }
            Kind::Delete => Op::Delete { key: name },
            Kind::Get => Op::Get { key: name, want: Want::Value },
        };
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId::DEFAULT,
            op,
            consistency: Some(consistency),
            min_version: None,
            deadline: now + DEADLINE,
        };
        (ticket, request)
    }

    /// Mostly small values, sometimes large ones, each recognisable.
    fn encode(&mut self, value: u64) -> Bytes {
        let padding = match self.chance.between(0, 99) {
            0..90 => self.chance.between(0, 120),
            90..98 => self.chance.between(1_000, 5_000),
            _ => self.chance.between(20_000, 90_000),
        };
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(8 + usize::try_from(padding).unwrap_or(0), b'.');
        bytes.into()
    }

    fn expiry(&mut self) -> Expiry {
        if self.chance.permille(100) {
            Expiry::After(Duration::from_millis(self.chance.between(50, 5_000)))
        } else {
            Expiry::Never
        }
    }

    /// Takes an answer. Returns the client that may go on, if it was still waiting for it.
    pub fn answer(&mut self, ticket: Ticket, now: Mono, outcome: &Outcome<Reply>) -> Option<usize> {
        let (number, _) = self.pending.remove(&ticket)?;
        let ending = match outcome {
            Ok(Reply::Written { version, .. }) => Ending::Written(*version),
            Ok(Reply::Found(item)) => Ending::Found(item.header.version, decode(&item.value)),
            Ok(Reply::Missing(version)) => Ending::Missing(*version),
            Ok(Reply::Page(..) | Reply::Count(_)) => Ending::Failed(Executed::Unknown),
            Err(error) => Ending::Failed(error.executed()),
        };
        self.finish(number, now, ending)
    }

    /// Fails everything that waits for a node that crashed. Returns the clients that may go on.
    pub fn node_lost(&mut self, node: usize, now: Mono) -> Vec<usize> {
        let lost: Vec<Ticket> = self
            .pending
            .iter()
            .filter(|(_, (_, at))| *at == node)
            .map(|(ticket, _)| *ticket)
            .collect();
        let mut free = Vec::new();
        for ticket in lost {
            if let Some((number, _)) = self.pending.remove(&ticket) {
                free.extend(self.finish(number, now, Ending::Failed(Executed::Unknown)));
            }
        }
        free
    }

    fn finish(&mut self, number: usize, now: Mono, ending: Ending) -> Option<usize> {
        self.history.complete(number, now, ending);
        let operation = self.history.operations().get(number)?;
        (operation.client != usize::MAX).then_some(operation.client)
    }
}

/// The number a value carries; zero, which is never written, if it carries none.
fn decode(value: &[u8]) -> u64 {
    value.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head))
}
