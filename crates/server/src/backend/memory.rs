//! A backend in memory: a cluster of three as one node sees it, with one copy of the data.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kvorum_core::layout::Placement;
use kvorum_core::{
    Consistency, Cursor, Error, Executed, Expiry, Header, HybridClock, Item, Keyspace, KeyspaceId,
    Layout, Mode, Mono, NodeId, Now, Op, Outcome, PartitionId, Reply, Request, Slot, Want, Writer,
};
use kvorum_node::{
    Advertised, KeyspaceRepair, Led, NodeStatus, NodeView, Pair, PeerRepair, Pulse, Repair,
    Serving, Standing, Status, Waiting,
};
use kvorum_replication::raft::Solo;

use super::{Backend, Pending};

/// The wall clock of the tests, in milliseconds since 1970.
pub const WALL_MS: u64 = 1_800_000_000_000;

/// The partitions of the keyspace.
const PARTITIONS: usize = 64;

type Rows = BTreeMap<(KeyspaceId, Slot, Bytes), (Header, Bytes)>;

/// Keeps what it is given, and fails when it is told to.
pub struct Memory {
    rows: Mutex<(Rows, HybridClock)>,
    /// The keys of `default`, which is strong, in the real state machine.
    strong: Mutex<Solo>,
    seen: Mutex<Vec<Request>>,
    failure: Mutex<Option<Error>>,
    hung: AtomicBool,
    repairs: Mutex<Vec<Option<NodeId>>>,
    status: Mutex<Status>,
    layout: Arc<Layout>,
}

impl Memory {
    /// An empty node that serves.
    pub fn new() -> Arc<Memory> {
        let ids: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
        let writer = Writer::new(ids[0], 1);
        Arc::new(Memory {
            rows: Mutex::new((Rows::new(), HybridClock::new(writer, Default::default()))),
            strong: Mutex::default(),
            seen: Mutex::default(),
            failure: Mutex::default(),
            hung: AtomicBool::new(false),
            repairs: Mutex::default(),
            status: Mutex::new(status(&ids)),
            layout: Arc::new(layout(ids)),
        })
    }

    /// Makes every request fail from now on.
    pub fn fail_with(&self, error: Error) {
        *lock(&self.failure) = Some(error);
    }

    /// Makes every request wait for ever from now on.
    pub fn hang(&self) {
        self.hung.store(true, Ordering::Relaxed);
    }

    /// Changes what the node says of itself.
    pub fn change_status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.status));
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        lock(&self.seen).clone()
    }

    /// The repairs that were asked for: with which node.
    pub fn repairs(&self) -> Vec<Option<NodeId>> {
        lock(&self.repairs).clone()
    }

    fn answer_strong(&self, request: &Request) -> Outcome<Reply> {
        let slots = match &request.op {
            Op::Scan { partition, .. } | Op::Count { partition } => self.layout.slots(*partition),
            _ => None,
        };
        let slots = slots.unwrap_or(Slot::default()..=Slot::default());
        lock(&self.strong).run(request, &slots, WALL_MS)
    }

    fn answer(&self, request: Request) -> Outcome<Reply> {
        lock(&self.seen).push(request.clone());
        if let Some(error) = lock(&self.failure).clone() {
            return Err(error);
        }
        let keyspace = request.keyspace;
        if keyspace == KeyspaceId::DEFAULT {
            return self.answer_strong(&request);
        }
        let (rows, clock) = &mut *lock(&self.rows);
        let place = |key: &Bytes| (keyspace, Slot::of(key), key.clone());
        match request.op {
            Op::Get { key, want } => Ok(match rows.get(&place(&key)) {
                Some((header, value)) if header.live_at(WALL_MS) => {
                    let value = if want == Want::Value { value.clone() } else { Bytes::new() };
                    Reply::Found(Item { key, header: *header, value })
                }
                dead => Reply::Missing(dead.map(|(header, _)| header.version)),
            }),
            Op::Put { key, value, expiry, tag } => {
                let header = Header {
                    version: clock.tick(WALL_MS),
                    tombstone: false,
                    tag,
                    expire_ms: expire_ms(expiry),
                    value_len: u32::try_from(value.len()).unwrap_or(u32::MAX),
                };
                let before = rows.insert(place(&key), (header, value));
                Ok(written(header, before))
            }
            Op::Delete { key } => {
                let header = Header {
                    version: clock.tick(WALL_MS),
                    tombstone: true,
                    tag: 0,
                    expire_ms: 0,
                    value_len: 0,
                };
                let before = rows.insert(place(&key), (header, Bytes::new()));
                Ok(written(header, before))
            }
            Op::Scan { partition, from, prefix, limit, want } => {
                let last = *self.layout.slots(partition).unwrap().end();
                let mut items = Vec::new();
                for ((_, slot, key), (header, value)) in rows
                    .range((keyspace, from.slot, from.key)..)
                    .take_while(|((ks, slot, _), _)| *ks == keyspace && *slot <= last)
                    .filter(|((_, _, key), (header, _))| {
                        header.live_at(WALL_MS) && key.starts_with(&prefix)
                    })
                {
                    if items.len() == limit.items {
                        let next = Cursor { slot: *slot, key: key.clone() };
                        return Ok(Reply::Page(items, Some(next)));
                    }
                    let value = if want == Want::Value { value.clone() } else { Bytes::new() };
                    items.push(Item { key: key.clone(), header: *header, value });
                }
                Ok(Reply::Page(items, None))
            }
            Op::Count { partition } => {
                let slots = self.layout.slots(partition).unwrap();
                let live = rows.iter().filter(|((ks, slot, _), (header, _))| {
                    *ks == keyspace && slots.contains(slot) && header.live_at(WALL_MS)
                });
                Ok(Reply::Count(live.count() as u64))
            }
            Op::Txn(_) => Err(Error::NotStrong("a transaction")),
        }
    }
}

impl NodeView for Memory {
    fn now(&self) -> Now {
        Now { mono: Mono(1_000_000), wall_ms: WALL_MS }
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        Some(Arc::clone(&self.layout))
    }

    fn status(&self) -> Arc<Status> {
        Arc::new(lock(&self.status).clone())
    }

    fn max_value(&self) -> usize {
        1 << 20
    }
}

impl Backend for Memory {
    fn run(&self, request: Request) -> Pending<'_, Outcome<Reply>> {
        Box::pin(async move {
            if self.hung.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.answer(request)
        })
    }

    fn run_all(&self, requests: Vec<Request>) -> Pending<'_, Vec<Outcome<Reply>>> {
        Box::pin(async move { requests.into_iter().map(|one| self.answer(one)).collect() })
    }

    fn repair(&self, with: Option<NodeId>) -> Pending<'_, Outcome<()>> {
        lock(&self.repairs).push(with);
        Box::pin(async { Ok(()) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn written(header: Header, before: Option<(Header, Bytes)>) -> Reply {
    let was_live = before.is_some_and(|(header, _)| header.live_at(WALL_MS));
    Reply::Written { version: header.version, acked: 2, was_live }
}

fn expire_ms(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => 0,
        Expiry::After(span) => WALL_MS + u64::try_from(span.as_millis()).unwrap(),
        Expiry::At(ms) => ms,
    }
}

fn layout(nodes: Vec<NodeId>) -> Layout {
    let placement = Placement::new(vec![nodes.clone(); PARTITIONS]).unwrap();
    let keyspace = |id, name: &str| Keyspace {
        id,
        name: name.to_owned(),
        mode: Mode::Eventual,
        placement: 0,
        read: Consistency::Quorum,
        write: Consistency::Quorum,
    };
    let default = Keyspace { mode: Mode::Strong, ..keyspace(KeyspaceId::DEFAULT, "default") };
    let keyspaces = vec![default, keyspace(KeyspaceId(2), "eventual")];
    Layout::new(7, nodes, keyspaces, vec![placement]).unwrap()
}

fn status(ids: &[NodeId]) -> Status {
    let node = |id: &NodeId| NodeStatus {
        id: *id,
        name: format!("node-{id}"),
        advertised: Advertised {
            host: "127.0.0.1".to_owned(),
            resp_port: 6378 + u16::try_from(id.get()).unwrap(),
            grpc_port: 50050 + u16::try_from(id.get()).unwrap(),
            http_port: 8000 + u16::try_from(id.get()).unwrap(),
            peer_port: 51050 + u16::try_from(id.get()).unwrap(),
            gossip_port: 8000 + u16::try_from(id.get()).unwrap(),
        },
        up: true,
        standing: Standing::Alive,
        pulse: Some(Pulse { operations: 9, serving: true, ..Pulse::default() }),
        heartbeat: 10 + u64::from(id.get()),
        last_seen_s: WALL_MS / 1000,
        leads: vec![Led { keyspace: "strong".to_owned(), partitions: 21 }],
        waiting: Waiting::default(),
    };
    Status {
        id: ids[0],
        serving: Serving::Yes,
        nodes: ids.iter().map(node).collect(),
        replication_factor: 3,
        started_s: WALL_MS / 1000 - 60,
        keys: 5,
        disk_bytes: 4096,
        index_bytes: 512,
        index_limit_bytes: 1 << 30,
        pending_requests: 0,
        leaders: Vec::new(),
        repair: repair(ids[1]),
    }
}

/// A second after the start: of two partitions shared with a node, one was clean 0.6 s ago, and the
/// other one, which was clean 0.8 s ago, was not 0.1 s ago.
fn repair(node: NodeId) -> Repair {
    let pair = |number, compared, clean| Pair {
        partition: PartitionId { placement: 0, number },
        compared: Some(Mono(compared)),
        clean: Some(Mono(clean)),
    };
    let peer = PeerRepair {
        pairs: vec![pair(0, 400_000, 400_000), pair(1, 900_000, 200_000)],
        sessions: 4,
        failures: 1,
        last_failure: Some("there is too much to do"),
        sent: 5,
        received: 6,
        bytes: 700,
        ..PeerRepair::new(node)
    };
    let keyspace = KeyspaceRepair {
        name: "eventual".to_owned(),
        placement: 0,
        floor_ms: Some(WALL_MS - 3_600_000),
        digest: 0xab,
        tombstones: 8,
        held_up_by: vec![node],
    };
    Repair {
        peers: vec![peer],
        keyspaces: vec![keyspace],
        scrub_bytes_per_second: 4 << 20,
        scrubbed: Some(Mono(0)),
        ..Repair::default()
    }
}

/// Every error there is, with every outcome it can have; the match keeps the list complete.
pub fn every_error() -> Vec<Error> {
    let mut errors = vec![
        Error::invalid("wrong"),
        Error::NoKeyspace("none".to_owned()),
        Error::NotStrong("INCR"),
        Error::Unavailable { need: 2, live: 1 },
        Error::NotServing("starting".into()),
        Error::NotLeader { leader: None },
        Error::CrossSlot,
        Error::SessionLost,
        Error::KeyReused,
    ];
    for executed in [Executed::No, Executed::Unknown] {
        errors.extend([
            Error::Timeout { need: 2, acked: 1, executed },
            Error::Overloaded { what: "the queue", executed },
            Error::DiskFull { executed },
            Error::IndexFull { executed },
            Error::ClockSkew { executed },
            Error::Corrupt { executed },
            Error::CoordinatorLost { executed },
        ]);
    }
    let listed = |error: &Error| match error {
        Error::Invalid(_)
        | Error::NoKeyspace(_)
        | Error::NotStrong(_)
        | Error::Unavailable { .. }
        | Error::NotServing(_)
        | Error::NotLeader { .. }
        | Error::CrossSlot
        | Error::SessionLost
        | Error::KeyReused => 1,
        Error::Timeout { .. }
        | Error::Overloaded { .. }
        | Error::DiskFull { .. }
        | Error::IndexFull { .. }
        | Error::ClockSkew { .. }
        | Error::Corrupt { .. }
        | Error::CoordinatorLost { .. } => 2,
    };
    for error in &errors {
        let same = errors.iter().filter(|other| other.code() == error.code());
        assert_eq!(same.count(), listed(error), "{error}");
    }
    errors
}
