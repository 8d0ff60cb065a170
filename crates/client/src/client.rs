//! The client: each request, and the one place where requests are repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_proto::convert;
use kvorum_proto::kvorum::v1;
use tonic::transport::Channel;
use tonic::{Response, Status};
use v1::admin_client::AdminClient;
use v1::kv_client::KvClient;

use crate::endpoints::{Choice, Endpoints};
use crate::error::Effect;
use crate::retry::{Budget, pause};
use crate::types::{
    Found, NodeInfo, NodeStatus, Operation, OperationResult, PutOptions, Written, delete_written,
    found, node_info, node_status, put_written,
};
use crate::{Error, Options, Scan};

/// How much longer than the node the client waits, so that the node's own, more telling answer
/// to a deadline that passed arrives.
const PATIENCE: Duration = Duration::from_millis(250);
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
}

/// One attempt of a request: where it goes and how long it may take.
pub(crate) struct Attempt {
    pub(crate) channel: Channel,
    remaining: Duration,
}

impl Attempt {
    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
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
        Ok(Client { shared: Arc::new(Shared { options, endpoints, budget }) })
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
                async move { attempt.kv().put(request).await }
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
                async move { attempt.kv().delete(request).await }
            })
            .await?;
        delete_written(&answer)
    }

    /// Runs several independent operations in one call. Results are in the order of the
    /// operations; operations that fail are not repeated one by one.
    ///
    /// # Errors
    /// [`Error`] if the call as a whole failed.
    pub async fn batch(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<OperationResult, Error>>, Error> {
        let writes = operations.iter().any(|operation| effect_of(operation) == Effect::Writes);
        let effect = if writes { Effect::Writes } else { Effect::Reads };
        let answer = self
            .run(effect, |attempt| {
                let timeout = attempt.timeout_ms();
                let wire =
                    operations.iter().map(|operation| self.wire_operation(operation, timeout));
                let request = v1::BatchRequest { operations: wire.collect() };
                async move { attempt.kv().batch(request).await }
            })
            .await?;
        if answer.results.len() != operations.len() {
            let (got, asked) = (answer.results.len(), operations.len());
            return Err(Error::Unknown {
                code: "BROKEN".into(),
                message: format!("{got} answers to {asked} operations; the outcome is unknown"),
            });
        }
        let pairs = operations.iter().zip(answer.results);
        Ok(pairs.map(|(operation, result)| operation_result(operation, result)).collect())
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

    /// Runs a request until it succeeds, the deadline passes, the budget is spent, or repeating
    /// it would be wrong or useless.
    pub(crate) async fn run<T, F>(
        &self,
        effect: Effect,
        call: impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Shared { options, endpoints, budget } = &*self.shared;
        let deadline = Instant::now() + options.timeout;
        budget.earn();
        for repetition in 0.. {
            let now = Instant::now();
            let Some(choice) = endpoints.choose(now) else { break };
            let remaining = deadline.saturating_duration_since(now);
            let error = match self.attempt(effect, &choice, remaining, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = pause(repetition, random());
            let in_time = Instant::now() + wait < deadline;
            if !(error.is_worth_repeating() && in_time && budget.spend()) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
        Err(Error::timeout(Effect::Reads))
    }

    async fn attempt<T, F>(
        &self,
        effect: Effect,
        choice: &Choice,
        remaining: Duration,
        call: &impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let endpoints = &self.shared.endpoints;
        // A read may be asked again elsewhere, so a node that hangs does not get all the time.
        let elsewhere = effect == Effect::Reads && endpoints.has_alternatives();
        let limit = if elsewhere { remaining / 2 } else { remaining };
        let attempt = Attempt { channel: choice.channel.clone(), remaining: limit };
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

    fn get_request(&self, key: Bytes, timeout_ms: u32) -> v1::GetRequest {
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

    fn put_request(
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

    fn delete_request(&self, key: Bytes, timeout_ms: u32) -> v1::DeleteRequest {
        v1::DeleteRequest {
            keyspace: self.shared.options.keyspace.clone(),
            key,
            consistency: self.write_consistency(),
            timeout_ms,
        }
    }

    fn wire_operation(&self, operation: &Operation, timeout_ms: u32) -> v1::Operation {
        use v1::operation::Kind as Wire;
        let wire = match operation {
            Operation::Get { key } => Wire::Get(self.get_request(key.clone(), timeout_ms)),
            Operation::Put { key, value, options } => {
                Wire::Put(self.put_request(key.clone(), value.clone(), *options, timeout_ms))
            }
            Operation::Delete { key } => Wire::Delete(self.delete_request(key.clone(), timeout_ms)),
        };
        v1::Operation { kind: Some(wire) }
    }
}

const fn effect_of(operation: &Operation) -> Effect {
    match operation {
        Operation::Get { .. } => Effect::Reads,
        Operation::Put { .. } | Operation::Delete { .. } => Effect::Writes,
    }
}

fn operation_result(
    operation: &Operation,
    result: v1::OperationResult,
) -> Result<OperationResult, Error> {
    use v1::operation_result::Kind as Wire;
    match (operation, result.kind) {
        (Operation::Get { key }, Some(Wire::Get(answer))) => {
            found(key.clone(), answer).map(OperationResult::Got)
        }
        (Operation::Put { .. }, Some(Wire::Put(answer))) => {
            put_written(&answer).map(OperationResult::Written)
        }
        (Operation::Delete { .. }, Some(Wire::Delete(answer))) => {
            delete_written(&answer).map(OperationResult::Written)
        }
        (operation, Some(Wire::Failure(failure))) => {
            let v1::Failure { code, executed, message } = failure;
            Err(Error::of_code(code, Some(&executed), message, effect_of(operation)))
        }
        (operation, _) => Err(Error::of_code(
            "BROKEN".to_owned(),
            None,
            "the answer is not one to the operation".to_owned(),
            effect_of(operation),
        )),
    }
}

/// A random number for jitter; without a source of randomness there is simply less of it.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
