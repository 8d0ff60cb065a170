//! The client: each request, and the one place where requests are repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_core::Executed;
use kvorum_proto::convert;
use kvorum_proto::kvorum::v1;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use v1::admin_client::AdminClient;
use v1::kv_client::KvClient;

use crate::endpoints::{Choice, Endpoints};
use crate::error::Effect;
use crate::names::{Name, Names};
use crate::repair::{RepairStatus, repair_status};
use crate::retry::{Budget, pause};
use crate::types::{
    Found, NodeInfo, NodeStatus, PutOptions, Written, delete_written, found, node_info,
    node_status, put_written,
};
use crate::{Error, Options, Scan};

/// How much longer than the node the client waits, so that the node's own, more telling answer
/// to a deadline that passed arrives.
const PATIENCE: Duration = Duration::from_millis(250);
/// How an eventual keyspace refuses what only strong ones have, names for writes among it.
pub(crate) const NOT_STRONG: &str = "NOTSTRONG";
/// Answers up to this size are taken: a batch may hold many values.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    endpoints: Endpoints,
    budget: Budget,
    names: Names,
}

/// One attempt of a request: where it goes and how long it may take.
pub(crate) struct Attempt {
    pub(crate) channel: Channel,
    remaining: Duration,
    name: Option<MetadataValue<Ascii>>,
}

impl Attempt {
    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    /// A request under the name that it has in all its attempts, if it has one.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(name) = &self.name {
            request.metadata_mut().insert("idempotency-key", name.clone());
        }
        request
    }

    /// What is left of the deadline, in the unit of the messages.
    pub(crate) fn timeout_ms(&self) -> u32 {
        u32::try_from(self.remaining.as_millis()).unwrap_or(u32::MAX).max(1)
    }
}

impl Client {
    /// A client with the given options. Connections are made when they are needed; must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options make no sense.
    pub fn new(options: Options) -> Result<Client, Error> {
        options.validate()?;
        let first = usize::try_from(random()).unwrap_or_default();
        let endpoints = Endpoints::new(&options, first)?;
        let budget = Budget::new(options.retries_per_ten);
        let names = Names::default();
        Ok(Client { shared: Arc::new(Shared { options, endpoints, budget, names }) })
    }

    /// The names of its writes.
    pub(crate) fn names(&self) -> &Names {
        &self.shared.names
    }

    /// The options the client was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Found>, Error> {
        self.read(key.into(), false).await
    }

    /// What is known of a key's value without the value: version, length, expiry.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn header(&self, key: impl Into<Bytes>) -> Result<Option<Found>, Error> {
        self.read(key.into(), true).await
    }

    async fn read(&self, key: Bytes, header_only: bool) -> Result<Option<Found>, Error> {
        let answer = self
            .run(Effect::Reads, |attempt| {
                let mut request = self.get_request(key.clone(), attempt.timeout_ms());
                request.header_only = header_only;
                async move { attempt.kv().get(request).await }
            })
            .await?;
        found(key, answer)
    }

    /// Stores a value that never expires.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Written, Error> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// Stores a value.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_with(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Written, Error> {
        let (key, value) = (key.into(), value.into());
        let answer = self
            .run(Effect::Writes, |attempt| {
                let timeout = attempt.timeout_ms();
                let request = self.put_request(key.clone(), value.clone(), options, timeout);
                async move { attempt.kv().put(attempt.request(request)).await }
            })
            .await?;
        put_written(&answer)
    }

    /// Deletes a key. Deleting a key that has no value is no error.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Written, Error> {
        let key = key.into();
        let answer = self
            .run(Effect::Writes, |attempt| {
                let request = self.delete_request(key.clone(), attempt.timeout_ms());
                async move { attempt.kv().delete(attempt.request(request)).await }
            })
            .await?;
        delete_written(&answer)
    }

    /// Every live item whose key begins with `prefix`, in pages; the order is that of the slots.
    #[must_use]
    pub fn scan(&self, prefix: impl Into<Bytes>) -> Scan {
        Scan::new(self.clone(), prefix.into())
    }

    /// What the node that happens to be asked says of itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status(&self) -> Result<NodeStatus, Error> {
        let answer = self
            .run(Effect::Reads, async |attempt| attempt.admin().status(v1::StatusRequest {}).await);
        answer.await.map(node_status)
    }

    /// All nodes of the cluster, as the node that happens to be asked sees them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        let answer = self.run(Effect::Reads, |attempt| async move {
            attempt.admin().list_nodes(v1::ListNodesRequest {}).await
        });
        Ok(answer.await?.nodes.into_iter().map(node_info).collect())
    }

    /// How the node that happens to be asked keeps its copies equal to those of other nodes: of an
    /// eventual keyspace, or of all. What has been compared is counted since `since`, the clock of an
    /// earlier answer of the same node, or zero.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn repair_status(
        &self,
        keyspace: Option<&str>,
        since: u64,
    ) -> Result<RepairStatus, Error> {
        let keyspace = keyspace.unwrap_or_default().to_owned();
        let request = v1::RepairStatusRequest { since, keyspace };
        let answer = self.run(Effect::Reads, |attempt| {
            let request = request.clone();
            async move { attempt.admin().repair_status(request).await }
        });
        answer.await.map(repair_status)
    }

    /// Has the node that happens to be asked compare its copies with those of other nodes now, and
    /// repair what differs: with one node, or with all. Returns its clock, for
    /// [`Client::repair_status`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn repair(&self, peer: Option<u32>) -> Result<u64, Error> {
        let request = v1::RepairRequest { peer: peer.unwrap_or_default() };
        // It does the same twice, and is worth repeating as a read is.
        let answer =
            self.run(Effect::Reads, |attempt| async move { attempt.admin().repair(request).await });
        Ok(answer.await?.clock)
    }

    /// Runs a request until it succeeds, the deadline passes, the budget is spent, or repeating
    /// it would be wrong or useless. A write has the same name in all its attempts; where the
    /// keyspace knows no names, a write whose outcome is unknown is not repeated.
    pub(crate) async fn run<T, F>(
        &self,
        effect: Effect,
        call: impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Shared { options, endpoints, budget, names } = &*self.shared;
        let deadline = Instant::now() + options.timeout;
        budget.earn();
        // What is never repeated needs no name.
        let wants_name = effect == Effect::Writes && options.retries_per_ten > 0;
        let mut name = if wants_name { names.take() } else { None };
        let mut doubt = None;
        for repetition in 0.. {
            let now = Instant::now();
            let Some(choice) = endpoints.choose(now) else { break };
            let remaining = deadline.saturating_duration_since(now);
            let metadata = name.as_ref().and_then(Name::metadata);
            let named = metadata.is_some();
            let error = match self.attempt(effect, &choice, remaining, metadata, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if named && error.code() == NOT_STRONG {
                names.note_refusal();
                name = None;
                continue;
            }
            let wait = pause(repetition, random());
            let in_time = Instant::now() + wait < deadline;
            if !(error.is_worth_repeating(named) && in_time && budget.spend()) {
                return Err(error.after(doubt));
            }
            if error.executed() == Executed::Unknown {
                doubt = Some(error);
            }
            tokio::time::sleep(wait).await;
        }
        Err(Error::timeout(Effect::Reads).after(doubt))
    }

    async fn attempt<T, F>(
        &self,
        effect: Effect,
        choice: &Choice,
        remaining: Duration,
        name: Option<MetadataValue<Ascii>>,
        call: &impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let endpoints = &self.shared.endpoints;
        // What may be asked again elsewhere does not leave all the time to a node that hangs.
        let repeatable = effect == Effect::Reads || name.is_some();
        let elsewhere = repeatable && endpoints.has_alternatives();
        let limit = if elsewhere { remaining / 2 } else { remaining };
        let attempt = Attempt { channel: choice.channel.clone(), remaining: limit, name };
        let (result, failed) = match tokio::time::timeout(limit + PATIENCE, call(attempt)).await {
            Ok(Ok(answer)) => (Ok(answer.into_inner()), false),
            Ok(Err(status)) => {
                let error = Error::from_status(&status, effect).at(&choice.address);
                let failed = error.blames_endpoint();
                (Err(error), failed)
            }
            Err(_) => (Err(Error::timeout(effect)), true),
        };
        endpoints.note(choice, failed, Instant::now());
        result
    }

    /// The consistency of a write: what only says how to read says nothing of it.
    fn write_consistency(&self) -> i32 {
        let level = self.shared.options.consistency.filter(|level| !level.is_of_reads());
        convert::wire_consistency(level).0.into()
    }

    pub(crate) fn get_request(&self, key: Bytes, timeout_ms: u32) -> v1::GetRequest {
        let (level, max_stale_ms) = convert::wire_consistency(self.shared.options.consistency);
        v1::GetRequest {
            keyspace: self.shared.options.keyspace.clone(),
            key,
            consistency: level.into(),
            max_stale_ms,
            timeout_ms,
            ..v1::GetRequest::default()
        }
    }

    pub(crate) fn put_request(
        &self,
        key: Bytes,
        value: Bytes,
        options: PutOptions,
        timeout_ms: u32,
    ) -> v1::PutRequest {
        let ttl_ms = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        v1::PutRequest {
            keyspace: self.shared.options.keyspace.clone(),
            key,
            value,
            consistency: self.write_consistency(),
            timeout_ms,
            expiry: options.ttl.map(|ttl| v1::put_request::Expiry::TtlMs(ttl_ms(ttl))),
            tag: 0,
        }
    }

    pub(crate) fn delete_request(&self, key: Bytes, timeout_ms: u32) -> v1::DeleteRequest {
        v1::DeleteRequest {
            keyspace: self.shared.options.keyspace.clone(),
            key,
            consistency: self.write_consistency(),
            timeout_ms,
        }
    }
}

/// A random number for jitter; without a source of randomness there is simply less of it.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
