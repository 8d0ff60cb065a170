//! When the client repeats a request and when it must not, against a scripted server.

// Clippy allows these in test functions, but not in what they call.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvorum_client::{
    Client, Condition, Error, Executed, Operation, OperationResult, Options, PutOptions,
};
use kvorum_proto::kvorum::v1;
use tokio::net::TcpListener;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use v1::kv_server::{Kv, KvServer};

const VERSION: &str = "0000000000000001-00001001";

/// Answers each request by the next line of its script, and with success when that has ended.
#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<Vec<Status>>>,
    /// The idempotency key of each request, in their order; empty if it has none.
    asked: Arc<Mutex<Vec<String>>>,
    /// Whether it is an eventual keyspace, which knows no idempotency keys.
    eventual: bool,
}

impl Scripted {
    fn next<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let key = request.metadata().get("idempotency-key");
        let key = key.map(|key| key.to_str().unwrap().to_owned());
        let refused = self.eventual && key.is_some();
        self.asked.lock().unwrap().push(key.unwrap_or_default());
        if refused {
            return Err(failure("NOTSTRONG", "no"));
        }
        let mut script = self.script.lock().unwrap();
        if script.is_empty() { Ok(()) } else { Err(script.remove(0)) }
    }

    fn asked(&self) -> usize {
        self.keys().len()
    }

    fn keys(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Kv for Scripted {
    type ScanStream = BoxStream<v1::ScanResponse>;
    type WatchStream = BoxStream<v1::WatchResponse>;

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        self.next(&request)?;
        let value = request.into_inner().key;
        let version = VERSION.to_owned();
        Ok(Response::new(v1::GetResponse { found: true, value, version, ..Default::default() }))
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        self.next(&request)?;
        let version = VERSION.to_owned();
        Ok(Response::new(v1::PutResponse { version, acked: 2, was_live: false }))
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn batch(
        &self,
        request: Request<v1::BatchRequest>,
    ) -> Result<Response<v1::BatchResponse>, Status> {
        use v1::operation::Kind as Asked;
        use v1::operation_result::Kind as Given;
        let named = request.metadata().contains_key("idempotency-key");
        if !(self.eventual && named) {
            self.next(&request)?;
        } else {
            self.asked.lock().unwrap().push("batch".to_owned());
        }
        let answer = |operation: v1::Operation| {
            let version = VERSION.to_owned();
            let kind = match operation.kind.unwrap() {
                Asked::Get(_) => Given::Get(v1::GetResponse::default()),
                Asked::Put(_) if self.eventual && named => Given::Failure(v1::Failure {
                    code: "NOTSTRONG".to_owned(),
                    executed: "no".to_owned(),
                    ..Default::default()
                }),
                Asked::Put(_) => Given::Put(v1::PutResponse { version, acked: 3, was_live: true }),
                Asked::Delete(_) => Given::Failure(v1::Failure {
                    code: "TIMEOUT".to_owned(),
                    executed: "unknown".to_owned(),
                    message: "1 of the 2 replicas needed answered in time".to_owned(),
                }),
                // They are no operations of a batch.
                Asked::Increment(_) | Asked::Expire(_) => Given::Failure(v1::Failure::default()),
            };
            v1::OperationResult { kind: Some(kind) }
        };
        let results = request.into_inner().operations.into_iter().map(answer).collect();
        Ok(Response::new(v1::BatchResponse { results }))
    }

    /// Three pages of one item each. A scripted failure comes in the place of the page after the
    /// first one of a stream.
    async fn scan(
        &self,
        request: Request<v1::ScanRequest>,
    ) -> Result<Response<Self::ScanStream>, Status> {
        let asked = self.next(&request);
        let first: usize = request.into_inner().cursor.parse().unwrap_or(0);
        let page = |number: usize| v1::ScanResponse {
            items: vec![v1::Item {
                key: format!("k{number}").into(),
                version: VERSION.to_owned(),
                ..Default::default()
            }],
            cursor: if number == 2 { String::new() } else { (number + 1).to_string() },
        };
        let mut pages: Vec<Result<v1::ScanResponse, Status>> =
            (first..3).map(|number| Ok(page(number))).collect();
        if let Err(status) = asked {
            pages.truncate(1);
            pages.push(Err(status));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    /// Comparisons hold if they are for absence. Every number is 41; a value of that name refuses.
    async fn txn(
        &self,
        request: Request<v1::TxnRequest>,
    ) -> Result<Response<v1::TxnResponse>, Status> {
        use v1::operation::Kind as Asked;
        use v1::operation_result::Kind as Given;
        self.next(&request)?;
        let request = request.into_inner();
        let holds = v1::compare::Condition::Exists(false);
        let succeeded =
            request.compares.iter().all(|compare| compare.condition.as_ref() == Some(&holds));
        let answer = |operation: v1::Operation| {
            let version = VERSION.to_owned();
            let kind = match operation.kind.unwrap() {
                Asked::Increment(asked) if asked.key == "refused" => Given::Failure(v1::Failure {
                    code: "INVALID".to_owned(),
                    executed: "no".to_owned(),
                    message: "value is not an integer or out of range".to_owned(),
                }),
                Asked::Increment(asked) => Given::Increment(v1::IncrementResponse {
                    value: 41 + asked.by,
                    version,
                    acked: 2,
                }),
                Asked::Expire(asked) => Given::Expire(v1::ExpireResponse {
                    found: asked.expiry.is_some(),
                    version,
                    acked: 2,
                }),
                Asked::Put(_) => Given::Put(v1::PutResponse { version, acked: 2, was_live: false }),
                Asked::Get(_) => {
                    Given::Get(v1::GetResponse { found: true, version, ..Default::default() })
                }
                Asked::Delete(_) => Given::Delete(v1::DeleteResponse::default()),
            };
            v1::OperationResult { kind: Some(kind) }
        };
        let asked = if succeeded { request.success } else { request.failure };
        let results = asked.into_iter().map(answer).collect();
        Ok(Response::new(v1::TxnResponse { succeeded, results }))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

/// A strong keyspace on a port of its own.
async fn serve(script: Vec<Status>) -> (Scripted, String) {
    let script = Arc::new(Mutex::new(script));
    serve_as(Scripted { script, ..Scripted::default() }).await
}

/// An eventual keyspace on a port of its own.
async fn serve_eventual(script: Vec<Status>) -> (Scripted, String) {
    let script = Arc::new(Mutex::new(script));
    serve_as(Scripted { script, eventual: true, ..Scripted::default() }).await
}

async fn serve_as(scripted: Scripted) -> (Scripted, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = KvServer::new(scripted.clone());
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
    );
    (scripted, address)
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn failure(code: &'static str, executed: &'static str) -> Status {
    let mut status = Status::unavailable(code);
    status.metadata_mut().insert("kvorum-code", MetadataValue::from_static(code));
    status.metadata_mut().insert("kvorum-executed", MetadataValue::from_static(executed));
    status
}

#[tokio::test]
async fn what_was_not_executed_is_repeated() {
    let (server, address) =
        serve(vec![failure("UNAVAILABLE", "no"), failure("OVERLOAD", "no")]).await;
    let client = Client::new(Options::new([address])).unwrap();
    assert_eq!(client.put("k", "v").await.unwrap().acked, 2);
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn a_write_to_an_eventual_keyspace_whose_outcome_is_unknown_is_never_repeated() {
    let (server, address) = serve_eventual(vec![failure("TIMEOUT", "unknown")]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.executed(), error.code()), (Executed::Unknown, "TIMEOUT"));
    // Once with a name, which was refused, and once without.
    assert_eq!(server.asked(), 2);
    // From now on the client knows.
    client.put("k", "v").await.unwrap();
    let keys = server.keys();
    assert!(!keys[0].is_empty());
    assert_eq!(keys[1..], ["", ""]);
}

#[tokio::test]
async fn a_batch_of_which_an_eventual_keyspace_refuses_the_names_is_sent_without() {
    let (server, address) = serve_eventual(vec![]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let put = Operation::Put { key: "b".into(), value: "v".into(), options: PutOptions::default() };
    for _ in 0..2 {
        let results = client.batch(std::slice::from_ref(&put)).await.unwrap();
        assert!(matches!(results[..], [Ok(OperationResult::Written(_))]), "{results:?}");
    }
    assert_eq!(server.keys(), ["batch", "", ""]);
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_repeated_under_its_name_and_the_next_has_another() {
    let script = vec![failure("TIMEOUT", "unknown"), failure("UNAVAILABLE", "no")];
    let (server, address) = serve(script).await;
    let client = Client::new(Options::new([address])).unwrap();
    client.put("k", "v").await.unwrap();
    client.put("k", "v").await.unwrap();
    let keys = server.keys();
    assert_eq!(keys.len(), 4);
    assert!(!keys[0].is_empty() && keys[..3].iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_ne!(keys[3], keys[0]);
}

#[tokio::test]
async fn a_write_in_doubt_stays_in_doubt_when_its_repetition_is_refused() {
    let mut script = vec![failure("COORDINATORLOST", "unknown")];
    script.extend(vec![failure("UNAVAILABLE", "no"); 100]);
    let (server, address) = serve(script).await;
    let client = Client::new(Options::new([address])).unwrap();
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.executed(), error.code()), (Executed::Unknown, "COORDINATORLOST"));
    assert!(server.asked() > 1);
    let (server, address) = serve(vec![failure("SESSIONLOST", "unknown")]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code(), server.asked()), ("SESSIONLOST", 1));
}

#[tokio::test]
async fn without_repetitions_a_write_has_no_name() {
    let (server, address) = serve(vec![failure("TIMEOUT", "unknown")]).await;
    let mut options = Options::new([address]);
    options.retries_per_ten = 0;
    let client = Client::new(options).unwrap();
    assert_eq!(client.put("k", "v").await.unwrap_err().executed(), Executed::Unknown);
    assert_eq!(server.keys(), [""]);
}

#[tokio::test]
async fn what_reads_and_writes_in_one_step_is_repeated_like_a_write() {
    let script = vec![failure("UNAVAILABLE", "no"), failure("TIMEOUT", "unknown")];
    let (server, address) = serve(script).await;
    let client = Client::new(Options::new([address])).unwrap();
    assert_eq!(client.increment("n", 1).await.unwrap(), 42);
    let keys = server.keys();
    assert!(!keys[0].is_empty() && keys == vec![keys[0].clone(); 3], "{keys:?}");
    assert_eq!(client.increment("n", 1).await.unwrap(), 42);
    let refused = client.increment("refused", 1).await.unwrap_err();
    assert_eq!(
        (refused.executed(), matches!(refused, Error::Invalid { .. })),
        (Executed::No, true)
    );
    let version = VERSION.parse().unwrap();
    let swap = async |condition| {
        client.compare_and_swap("k", condition, "v", PutOptions::default()).await.unwrap()
    };
    assert_eq!(swap(Condition::Absent).await, Ok(version));
    assert_eq!(swap(Condition::Value("other".into())).await, Err(Some(version)));
    assert!(client.expire("k", Some(Duration::from_secs(1))).await.unwrap());
    assert!(!client.expire("k", None).await.unwrap());
}

#[tokio::test]
async fn what_is_wrong_is_not_repeated() {
    let (server, address) = serve(vec![failure("NOKEYSPACE", "no")]).await;
    let client = Client::new(Options::new([address])).unwrap();
    assert!(matches!(client.get("k").await, Err(Error::Invalid { .. })));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_passed_over_even_for_writes() {
    let (server, address) = serve(vec![]).await;
    let client = Client::new(Options::new([nobody().await, address])).unwrap();
    for _ in 0..4 {
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn what_may_be_repeated_is_asked_elsewhere_when_a_node_hangs_and_no_other_write() {
    let (server, address) = serve(vec![]).await;
    // The kernel accepts connections here; nobody ever reads from them.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = Options::new([address, frozen.local_addr().unwrap().to_string()]);
    options.timeout = Duration::from_secs(1);
    // Of two requests, one goes to each node.
    let client = Client::new(options.clone()).unwrap();
    for _ in 0..2 {
        assert!(client.get("k").await.unwrap().is_some());
    }
    let client = Client::new(options.clone()).unwrap();
    for _ in 0..2 {
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(server.asked(), 4);
    options.retries_per_ten = 0;
    let client = Client::new(options).unwrap();
    let outcomes = [client.put("k", "v").await, client.put("k", "v").await];
    let unknown = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert_eq!(unknown.map(Error::executed).collect::<Vec<_>>(), [Executed::Unknown]);
    assert_eq!(server.asked(), 5);
}

#[tokio::test]
async fn without_any_endpoint_the_request_is_not_executed_and_ends_before_its_deadline() {
    let mut options = Options::new([nobody().await]);
    options.timeout = Duration::from_secs(1);
    let client = Client::new(options).unwrap();
    let began = Instant::now();
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.executed(), error.code()), (Executed::No, "UNREACHABLE"));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn the_budget_limits_repetitions() {
    let refusals = vec![failure("OVERLOAD", "no"); 100];
    let (server, address) = serve(refusals).await;
    let mut options = Options::new([address]);
    options.retries_per_ten = 0;
    let client = Client::new(options).unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_eq!((error.executed(), server.asked()), (Executed::No, 1));
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_operation() {
    let (_, address) = serve(vec![]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let operations = [
        Operation::Get { key: "a".into() },
        Operation::Put { key: "b".into(), value: "v".into(), options: PutOptions::default() },
        Operation::Delete { key: "c".into() },
    ];
    let results = client.batch(&operations).await.unwrap();
    assert_eq!(results.first(), Some(&Ok(OperationResult::Got(None))));
    assert!(matches!(&results[1], Ok(OperationResult::Written(written)) if written.acked == 3));
    assert!(matches!(&results[2], Err(Error::Unknown { code, .. }) if code == "TIMEOUT"));
}

#[tokio::test]
async fn a_scan_goes_on_where_a_broken_stream_ended() {
    let (server, address) = serve(vec![failure("COORDINATORLOST", "no")]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let mut scan = client.scan("k");
    let mut keys = Vec::new();
    while let Some(found) = scan.next().await.unwrap() {
        keys.push(found.key);
    }
    assert_eq!(keys, ["k0", "k1", "k2"]);
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_scan_returns_no_more_than_its_limit() {
    let (_, address) = serve(vec![]).await;
    let client = Client::new(Options::new([address])).unwrap();
    let mut scan = client.scan("k").limit(2);
    let mut count = 0;
    while scan.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 2);
}
