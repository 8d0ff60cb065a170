//! A node in memory: what a session sees of one, and a store behind it that answers at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::layout::Placement;
use kvorum_core::{
    Consistency, Cursor, Error, Executed, Expiry, Header, Hlc, Item, Keyspace, KeyspaceId, Layout,
    Mode, Mono, NodeId, Now, Op, Outcome, Reply, Request, Slot, Version, Writer,
};
use kvorum_node::{NodeView, Serving, Status};
use kvorum_replication::raft::Solo;

/// 2027-01-15T08:00:00Z.
const BEGINNING_MS: u64 = 1_800_000_000_000;
const PARTITIONS: usize = 4;

/// A value and when it expires.
type Stored = (Bytes, u64);

pub(super) struct World {
    elapsed_ms: Cell<u64>,
    layout: RefCell<Option<Arc<Layout>>>,
    pub(super) max_value: Cell<usize>,
    data: RefCell<BTreeMap<(KeyspaceId, Slot, Bytes), Stored>>,
    /// The keys of `default`, which is strong, in the real state machine.
    strong: RefCell<Solo>,
    /// The error with which the operations of a kind fail, and after how many that succeed.
    failure: RefCell<Option<(String, usize, Error)>>,
    /// The requests seen, newest last.
    pub(super) seen: RefCell<Vec<Request>>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            elapsed_ms: Cell::new(0),
            layout: RefCell::new(Some(Arc::new(layout()))),
            max_value: Cell::new(1 << 20),
            data: RefCell::default(),
            strong: RefCell::default(),
            failure: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    /// Carries out what a script says to the world.
    pub(super) fn obey(&self, order: &str) {
        let words: Vec<&str> = order.split_whitespace().collect();
        match *words {
            ["advance", ms] => self.elapsed_ms.set(self.elapsed_ms.get() + number::<u64>(ms)),
            ["forget", "layout"] => *self.layout.borrow_mut() = None,
            ["max_value", bytes] => self.max_value.set(number(bytes)),
            ["heal"] => *self.failure.borrow_mut() = None,
            ["fail", op, "with", error, "after", count] => {
                let failure = (op.to_owned(), number(count), error_named(error));
                *self.failure.borrow_mut() = Some(failure);
            }
            _ => panic!("the world does not understand {order:?}"),
        }
    }

    pub(super) fn run(&self, request: &Request) -> Outcome<Reply> {
        self.seen.borrow_mut().push(request.clone());
        self.fail(&request.op)?;
        let keyspace = request.keyspace;
        let wall_ms = self.now().wall_ms;
        if keyspace == KeyspaceId::DEFAULT {
            let layout = self.layout.borrow().clone().unwrap();
            let slots = match &request.op {
                Op::Scan { partition, .. } | Op::Count { partition } => layout.slots(*partition),
                _ => None,
            };
            let slots = slots.unwrap_or(Slot::default()..=Slot::default());
            return self.strong.borrow_mut().run(request, &slots, wall_ms);
        }
        match &request.op {
            Op::Get { key, .. } => Ok(self.get(keyspace, key, wall_ms)),
            Op::Put { key, value, expiry, .. } => {
                let expire_ms = match *expiry {
                    Expiry::Never => 0,
                    Expiry::After(span) => wall_ms + u64::try_from(span.as_millis()).unwrap(),
                    Expiry::At(ms) => ms,
                };
                let place = (keyspace, Slot::of(key), key.clone());
                let old = self.data.borrow_mut().insert(place, (value.clone(), expire_ms));
                Ok(written(live(old.as_ref(), wall_ms)))
            }
            Op::Delete { key } => {
                let place = (keyspace, Slot::of(key), key.clone());
                let old = self.data.borrow_mut().remove(&place);
                Ok(written(live(old.as_ref(), wall_ms)))
            }
            Op::Scan { partition, from, prefix, limit, .. } => {
                let layout = self.layout.borrow().clone().unwrap();
                let last = *layout.slots(*partition).unwrap().end();
                Ok(self.page(keyspace, from, last, prefix, limit.items))
            }
            Op::Count { partition } => {
                let layout = self.layout.borrow().clone().unwrap();
                let slots = layout.slots(*partition).unwrap();
                let data = self.data.borrow();
                let inside = data.iter().filter(|((of, slot, _), stored)| {
                    *of == keyspace && slots.contains(slot) && live(Some(stored), wall_ms)
                });
                Ok(Reply::Count(inside.count() as u64))
            }
            Op::Txn(_) => Err(Error::NotStrong("a transaction")),
        }
    }

    fn fail(&self, op: &Op) -> Outcome<()> {
        let mut failure = self.failure.borrow_mut();
        let Some((kind, after, error)) = failure.as_mut().filter(|(kind, ..)| kind == name(op))
        else {
            return Ok(());
        };
        if *after > 0 {
            *after -= 1;
            return Ok(());
        }
        let _ = kind;
        Err(error.clone())
    }

    fn get(&self, keyspace: KeyspaceId, key: &Bytes, wall_ms: u64) -> Reply {
        let data = self.data.borrow();
        let stored = data.get(&(keyspace, Slot::of(key), key.clone()));
        match stored.filter(|stored| live(Some(stored), wall_ms)) {
            Some(stored) => Reply::Found(item(key, stored)),
            None => Reply::Missing(None),
        }
    }

    fn page(
        &self,
        keyspace: KeyspaceId,
        from: &Cursor,
        last: Slot,
        prefix: &[u8],
        limit: usize,
    ) -> Reply {
        let data = self.data.borrow();
        let start = (keyspace, from.slot, from.key.clone());
        let range = data.range((Bound::Included(start), Bound::Unbounded));
        let mut items = Vec::new();
        for ((_, slot, key), stored) in
            range.take_while(|((of, slot, _), _)| *of == keyspace && *slot <= last)
        {
            if items.len() == limit {
                return Reply::Page(items, Some(Cursor { slot: *slot, key: key.clone() }));
            }
            if key.starts_with(prefix) && live(Some(stored), self.now().wall_ms) {
                items.push(item(key, stored));
            }
        }
        Reply::Page(items, None)
    }
}

impl NodeView for World {
    fn now(&self) -> Now {
        let elapsed_ms = self.elapsed_ms.get();
        Now { mono: Mono(elapsed_ms * 1000), wall_ms: BEGINNING_MS + elapsed_ms }
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        self.layout.borrow().clone()
    }

    fn status(&self) -> Arc<Status> {
        Arc::new(Status {
            id: NodeId::new(1).unwrap(),
            serving: Serving::Yes,
            nodes: Vec::new(),
            replication_factor: 3,
            started_s: BEGINNING_MS / 1000 - 100,
            keys: self.data.borrow().len() as u64,
            disk_bytes: 1 << 20,
            index_bytes: 1536,
            index_limit_bytes: 1 << 30,
            pending_requests: 0,
            leaders: Vec::new(),
            repair: Default::default(),
        })
    }

    fn max_value(&self) -> usize {
        self.max_value.get()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Get { .. } => "get",
        Op::Put { .. } => "put",
        Op::Delete { .. } => "delete",
        Op::Scan { .. } => "scan",
        Op::Count { .. } => "count",
        Op::Txn(_) => "txn",
    }
}

fn error_named(name: &str) -> Error {
    match name {
        "unavailable" => Error::Unavailable { need: 2, live: 1 },
        "timeout" => Error::Timeout { need: 2, acked: 1, executed: Executed::Unknown },
        "diskfull" => Error::DiskFull { executed: Executed::No },
        "notserving" => Error::NotServing("starting".into()),
        _ => panic!("there is no error {name:?}"),
    }
}

fn live(stored: Option<&Stored>, wall_ms: u64) -> bool {
    stored.is_some_and(|(_, expire_ms)| *expire_ms == 0 || *expire_ms > wall_ms)
}

fn written(was_live: bool) -> Reply {
    Reply::Written { version: Version::default(), acked: 2, was_live }
}

fn item(key: &Bytes, (value, expire_ms): &Stored) -> Item {
    let header = Header {
        version: Version { hlc: Hlc::from_wall_ms(BEGINNING_MS), writer: Writer(1) },
        tombstone: false,
        tag: 0,
        expire_ms: *expire_ms,
        value_len: u32::try_from(value.len()).unwrap(),
    };
    Item { key: key.clone(), header, value: value.clone() }
}

fn layout() -> Layout {
    let nodes: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
    let keyspace = |id: u32, name: &str| Keyspace {
        id: KeyspaceId(id),
        name: name.to_owned(),
        mode: Mode::Eventual,
        placement: 0,
        read: Consistency::Quorum,
        write: Consistency::Quorum,
    };
    let default = Keyspace { mode: Mode::Strong, ..keyspace(1, "default") };
    let keyspaces = vec![default, keyspace(2, "eventual")];
    let placement = Placement::new(vec![nodes.clone(); PARTITIONS]).unwrap();
    Layout::new(1, nodes, keyspaces, vec![placement]).unwrap()
}
