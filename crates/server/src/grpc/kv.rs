//! `kvorum.v1.Kv`.

mod calls;
mod txn;

use kvorum_core::{Error, Identity, Reply};
use kvorum_proto::convert::{self, wire_version};
use kvorum_proto::kvorum::v1;
use kvorum_proto::kvorum::v1::kv_server::Kv;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Answered;
use super::caller::{Caller, Gate};
use super::status::{refuse, unimplemented};
use crate::data::{Data, Lookup, NO_WATCH, Scan, ScanPage, Written, decode_cursor, encode_cursor};
use calls::{Answer, IntoCall};

/// How many items a page of a scan has at most.
const PAGE_ITEMS: usize = 1000;

/// The service.
#[derive(Debug)]
pub struct KvService {
    gate: Gate,
}

impl KvService {
    pub fn new(gate: Gate) -> KvService {
        KvService { gate }
    }

    async fn run<R: IntoCall>(&self, request: Request<R>) -> Result<Reply, Status> {
        let caller = self.gate.caller(request.metadata()).map_err(refuse)?;
        let call = request.into_inner().into_call(&caller).map_err(refuse)?;
        self.gate.data.run(&caller.identity, call).await.map_err(refuse)
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type ScanStream = ReceiverStream<Result<v1::ScanResponse, Status>>;
    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Answered<v1::GetResponse> {
        let reply = self.run(request).await?;
        Ok(Response::new(Lookup::try_from(reply).map_err(refuse)?.into()))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answered<v1::PutResponse> {
        let reply = self.run(request).await?;
        Ok(Response::new(Written::try_from(reply).map_err(refuse)?.into()))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answered<v1::DeleteResponse> {
        let reply = self.run(request).await?;
        Ok(Response::new(Written::try_from(reply).map_err(refuse)?.into()))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Answered<v1::BatchResponse> {
        let caller = self.gate.caller(request.metadata()).map_err(refuse)?;
        let operations = request.into_inner().operations;
        let answers: Vec<Answer> = operations.iter().map(Answer::to).collect();
        let calls = operations.into_iter().map(|one| one.into_call(&caller)).collect();
        let replies = self.gate.data.run_all(&caller.identity, calls).await.map_err(refuse)?;
        let results = answers.into_iter().zip(replies);
        let results = results.map(|(answer, reply)| answer.result(reply)).collect();
        Ok(Response::new(v1::BatchResponse { results }))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Answered<Self::ScanStream> {
        let caller = self.gate.caller(request.metadata()).map_err(refuse)?;
        let request = request.into_inner();
        let left =
            (request.limit > 0).then(|| usize::try_from(request.limit).unwrap_or(usize::MAX));
        let scan = scan_of(request, &caller).map_err(refuse)?;
        // One page waits while the client reads the one before: the bound in bytes of a scan.
        let (pages, stream) = mpsc::channel(1);
        tokio::spawn(send_pages(self.gate.data.clone(), caller.identity, scan, left, pages));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Answered<v1::TxnResponse> {
        let caller = self.gate.caller(request.metadata()).map_err(refuse)?;
        let call = request.into_inner().into_call(&caller).map_err(refuse)?;
        let done = self.gate.data.transact(&caller.identity, call).await.map_err(refuse)?;
        Ok(Response::new(done.into()))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        self.gate.data.require_strong(&request.get_ref().keyspace, "Watch").map_err(refuse)?;
        Err(unimplemented(NO_WATCH))
    }
}

fn scan_of(request: v1::ScanRequest, caller: &Caller) -> Result<Scan, Error> {
    Ok(Scan {
        from: decode_cursor(&request.cursor)?,
        limit: PAGE_ITEMS,
        want: convert::want(request.header_only),
        consistency: convert::consistency(request.consistency, request.max_stale_ms)?,
        timeout: caller.timeout(request.timeout_ms),
        keyspace: request.keyspace,
        prefix: request.prefix,
    })
}

/// Sends page after page, until the end, the limit, an error, or the client's leaving.
async fn send_pages(
    data: Data,
    identity: Identity,
    mut scan: Scan,
    mut left: Option<usize>,
    pages: mpsc::Sender<Result<v1::ScanResponse, Status>>,
) {
    loop {
        scan.limit = left.unwrap_or(PAGE_ITEMS).min(PAGE_ITEMS);
        // A place in the queue first: no page is read for a client that does not take it.
        let Ok(place) = pages.reserve().await else { return };
        let page = match data.scan(&identity, &scan).await {
            Ok(page) => page,
            Err(error) => return place.send(Err(refuse(error))),
        };
        left = left.map(|left| left.saturating_sub(page.items.len()));
        scan.from.clone_from(&page.next);
        place.send(Ok(page.into()));
        if scan.from.is_none() || left == Some(0) {
            return;
        }
    }
}

impl From<ScanPage> for v1::ScanResponse {
    fn from(page: ScanPage) -> v1::ScanResponse {
        v1::ScanResponse {
            items: page.items.into_iter().map(v1::Item::from).collect(),
            cursor: page.next.as_ref().map(encode_cursor).unwrap_or_default(),
        }
    }
}

impl From<Lookup> for v1::GetResponse {
    fn from(lookup: Lookup) -> v1::GetResponse {
        match lookup {
            Lookup::Found(item) => item.into(),
            Lookup::Missing(version) => {
                v1::GetResponse { version: wire_version(version), ..Default::default() }
            }
        }
    }
}

impl From<Written> for v1::PutResponse {
    fn from(written: Written) -> v1::PutResponse {
        let Written { version, acked, was_live } = written;
        v1::PutResponse { version: version.to_string(), acked, was_live }
    }
}

impl From<Written> for v1::DeleteResponse {
    fn from(written: Written) -> v1::DeleteResponse {
        let Written { version, acked, was_live } = written;
        v1::DeleteResponse { version: version.to_string(), acked, was_live }
    }
}

#[cfg(test)]
mod tests;
