//! The operations behind gRPC and HTTP: names are resolved, limits enforced and deadlines set
//! here, once for both.

mod answer;
mod batch;
mod chunks;
mod compat;
mod cursor;
mod idempotency;
mod repair;
mod scan;
mod txn;

use std::sync::Arc;
use std::time::Duration;

use kvorum_core::{
    Consistency, Error, Identity, KeyspaceId, Layout, NodeId, Op, Outcome, PartitionId, Reply,
    Request, Slot, Version, limits,
};
use kvorum_node::{NodeStatus, Status};

use crate::backend::Backend;

pub use answer::{Lookup, Written};
pub use chunks::{Chunk, ChunkReader, Pair};
pub use compat::{Stale, Text};
pub use cursor::{decode_cursor, encode_cursor};
pub use idempotency::ClientKey;
pub use repair::{KeyspaceStatus, PeerStatus, RepairStatus};
pub use scan::{Scan, ScanPage};
pub use txn::{StepResult, Stored, Transacted, put};

/// The name of the keyspace that serves requests which name none.
pub const DEFAULT_KEYSPACE: &str = "default";

/// The name of the keyspace that a cluster has beside it if it was born with `showcase`.
pub const SHOWCASE_KEYSPACE: &str = "eventual";

/// Why nobody can watch a strong keyspace.
pub const NO_WATCH: &str = "nobody can watch a keyspace yet; nothing was executed";

/// How many counts of partitions are asked for at once.
const COUNTS_AT_ONCE: usize = 256;

/// After how long without an answer the node's loop counts as stuck.
const STUCK: Duration = Duration::from_secs(5);

/// An operation as a client words it: the keyspace by name, the deadline as a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of the keyspace; [`DEFAULT_KEYSPACE`] when empty.
    pub keyspace: String,
    /// What to do.
    pub op: Op,
    /// How many replicas must take part; the keyspace's default when absent.
    pub consistency: Option<Consistency>,
    /// For reads: an answer older than this version is not accepted.
    pub min_version: Option<Version>,
    /// How long to wait; [`limits::DEFAULT_DEADLINE`] when absent.
    pub timeout: Option<Duration>,
    /// For writes of strong keyspaces: a name under which it is not done twice.
    pub key: Option<ClientKey>,
}

impl Call {
    /// An operation with the defaults of its keyspace.
    pub fn new(keyspace: impl Into<String>, op: Op) -> Call {
        let (keyspace, consistency, min_version) = (keyspace.into(), None, None);
        Call { keyspace, op, consistency, min_version, timeout: None, key: None }
    }
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The slot of the key.
    pub slot: Slot,
    /// Its partition.
    pub partition: PartitionId,
    /// The version of the layout this was read from.
    pub layout_version: u64,
    /// The nodes that hold a copy, preferred first.
    pub replicas: Vec<NodeStatus>,
    /// Which of them leads, if the keyspace is strong and this node knows.
    pub leader: Option<NodeId>,
}

/// The data of a node. Clones share it.
#[derive(Clone, Debug)]
pub struct Data {
    backend: Arc<dyn Backend>,
    compat_keyspace: Arc<str>,
}

impl Data {
    /// The data of `backend`; the interfaces of the reference systems use `compat_keyspace`.
    pub fn new(backend: Arc<dyn Backend>, compat_keyspace: &str) -> Data {
        Data { backend, compat_keyspace: compat_keyspace.into() }
    }

    /// The keyspace that the interfaces of the reference systems use.
    #[must_use]
    pub fn compat_keyspace(&self) -> &str {
        &self.compat_keyspace
    }

    /// A snapshot of the node's state.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.backend.status()
    }

    /// The wall clock, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.backend.now().wall_ms
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        self.backend.max_value()
    }

    /// Runs one operation.
    ///
    /// # Errors
    /// Those of the operation, and [`Error::Invalid`] when a limit is crossed.
    pub async fn run(&self, identity: &Identity, call: Call) -> Outcome<Reply> {
        let request = self.request(identity, call)?;
        self.backend.run(request).await
    }

    /// The number of live keys of a keyspace: each partition as one of its replicas counts it.
    ///
    /// # Errors
    /// Those of the operation, if any partition cannot be counted.
    pub async fn count(&self, identity: &Identity, keyspace: &str) -> Outcome<u64> {
        let (layout, id) = self.keyspace(keyspace)?;
        let partitions: Vec<PartitionId> = layout.partitions(id).collect();
        let deadline = self.backend.now().mono + limits::DEFAULT_DEADLINE;
        let mut total: u64 = 0;
        for some in partitions.chunks(COUNTS_AT_ONCE) {
            let request = |&partition: &PartitionId| Request {
                identity: identity.clone(),
                keyspace: id,
                op: Op::Count { partition },
                consistency: None,
                min_version: None,
                key: None,
                deadline,
            };
            for answer in self.backend.run_all(some.iter().map(request).collect()).await {
                match answer? {
                    Reply::Count(count) => total = total.saturating_add(count),
                    _ => return Err(answer::lost(false)),
                }
            }
        }
        Ok(total)
    }

    /// Where a key lives.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key of an impossible length, [`Error::NoKeyspace`],
    /// [`Error::NotServing`] before the layout is known.
    pub fn route(&self, keyspace: &str, key: &[u8]) -> Outcome<Route> {
        limits::check_key(key)?;
        let (layout, id) = self.keyspace(keyspace)?;
        let slot = Slot::of(key);
        let partition =
            layout.partition_of(id, slot).ok_or_else(|| Error::NoKeyspace(keyspace.to_owned()))?;
        let status = self.status();
        let replicas = layout.replicas(partition).iter();
        let replicas = replicas.filter_map(|id| status.nodes.iter().find(|node| node.id == *id));
        Ok(Route {
            slot,
            partition,
            layout_version: layout.version(),
            replicas: replicas.cloned().collect(),
            leader: status.leader_of(partition),
        })
    }

    /// The layout in force.
    ///
    /// # Errors
    /// [`Error::NotServing`] before the node knows its cluster.
    pub fn layout(&self) -> Outcome<Arc<Layout>> {
        let waiting = || Error::NotServing("waiting for the layout of the cluster".into());
        self.backend.layout().ok_or_else(waiting)
    }

    /// The layout in force and the id of the keyspace of that name in it.
    ///
    /// # Errors
    /// [`Error::NotServing`] before the layout is known, [`Error::NoKeyspace`].
    pub fn keyspace(&self, name: &str) -> Outcome<(Arc<Layout>, KeyspaceId)> {
        let layout = self.layout()?;
        let name = if name.is_empty() { DEFAULT_KEYSPACE } else { name };
        let found = layout.keyspace_named(name).map(|keyspace| keyspace.id);
        found.map(|id| (layout, id)).ok_or_else(|| Error::NoKeyspace(name.to_owned()))
    }

    /// Whether the node's loop turns: whether it answers a small question, however it does.
    pub async fn turns(&self) -> bool {
        // Before there is a layout there is nothing to ask about, and the node is starting.
        let Ok((layout, keyspace)) = self.keyspace(DEFAULT_KEYSPACE) else { return true };
        let Some(partition) = layout.partitions(keyspace).next() else { return true };
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace,
            op: Op::Count { partition },
            consistency: None,
            min_version: None,
            key: None,
            deadline: self.backend.now().mono + limits::DEFAULT_DEADLINE,
        };
        tokio::time::timeout(STUCK, self.backend.run(request)).await.is_ok()
    }

    /// This node, as it tells others about itself.
    #[must_use]
    pub fn this_node(&self) -> Option<NodeStatus> {
        let status = self.status();
        status.nodes.iter().find(|node| node.id == status.id).cloned()
    }

    fn request(&self, identity: &Identity, call: Call) -> Outcome<Request> {
        match &call.op {
            Op::Get { key, .. } | Op::Delete { key } => limits::check_key(key)?,
            Op::Put { key, value, .. } => {
                limits::check_key(key)?;
                limits::check_value(value.len(), self.max_value())?;
            }
            Op::Txn(txn) => self.check_txn(txn)?,
            Op::Scan { .. } | Op::Count { .. } => {}
        }
        let (layout, keyspace) = self.keyspace(&call.keyspace)?;
        let own = layout.keyspace(keyspace).filter(|_| !call.op.is_write()).map(|own| own.read);
        Ok(Request {
            identity: identity.clone(),
            keyspace,
            op: call.op,
            consistency: match call.consistency.or(own) {
                // Who names a version has seen it; only a read that may be old could miss it.
                Some(Consistency::Stale { .. }) if call.min_version.is_some() => {
                    Some(Consistency::Follower)
                }
                _ => call.consistency,
            },
            min_version: call.min_version,
            key: call.key.map(|key| key.of(identity)),
            deadline: self.backend.now().mono + checked_timeout(call.timeout)?,
        })
    }
}

/// The time a request may take.
///
/// # Errors
/// [`Error::Invalid`] above [`limits::MAX_DEADLINE`].
fn checked_timeout(timeout: Option<Duration>) -> Outcome<Duration> {
    let timeout = timeout.unwrap_or(limits::DEFAULT_DEADLINE);
    if timeout <= limits::MAX_DEADLINE {
        return Ok(timeout);
    }
    let (asked, limit) = (timeout.as_millis(), limits::MAX_DEADLINE.as_millis());
    Err(Error::invalid(format!("the timeout is {asked} ms; the limit is {limit} ms")))
}

#[cfg(test)]
mod tests;
