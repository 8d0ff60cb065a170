//! The load for etcd: as much of its v3 interface as a benchmark needs, and clients that wait for
//! each answer before they ask again, each on a connection of its own, in turns to all members.
//!
//! The messages are those of etcd's `rpc.proto` (`etcdserverpb.KV`), written by hand: a field that
//! is not named here is not sent, and skipped where it is received. A range without `serializable`
//! is linearizable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::load::{Case, Figures, KEYS, VALUE_BYTES};

/// An answer may take this long; longer means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    /// How many keys were found.
    #[prost(int64, tag = "4")]
    count: i64,
}

/// One client.
struct Client {
    grpc: tonic::client::Grpc<Channel>,
    /// Where it is in its sequence of keys.
    draw: u32,
    value: Vec<u8>,
}

impl Client {
    async fn connect(port: u16, number: u32) -> Result<Client> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        let channel = endpoint.timeout(PATIENCE).tcp_nodelay(true).connect().await?;
        let value = vec![b'x'; VALUE_BYTES as usize];
        Ok(Client { grpc: tonic::client::Grpc::new(channel), draw: number + 1, value })
    }

    /// The next key; the sequence is a linear congruential one (Numerical Recipes).
    fn key(&mut self) -> Vec<u8> {
        self.draw = self.draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("key:{:012}", (self.draw >> 8) % KEYS).into_bytes()
    }

    async fn put(&mut self) -> Result<()> {
        let request = PutRequest { key: self.key(), value: self.value.clone() };
        self.call::<_, PutResponse>("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    async fn get(&mut self) -> Result<()> {
        let request = RangeRequest { key: self.key() };
        let found: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        if found.count > 1 {
            bail!("one key was asked for, {} were found", found.count);
        }
        Ok(())
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.context("the connection is lost")?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        let answer = self.grpc.unary(tonic::Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }
}

/// Runs one round; the CPU time is not in the figures.
pub(super) fn run(case: &Case, requests: u32, ports: &[u16]) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(case, requests, ports))
}

async fn load(case: &Case, requests: u32, ports: &[u16]) -> Result<Figures> {
    let writes = match case.command {
        "set" => true,
        "get" => false,
        other => bail!("no load for etcd does what {other} does"),
    };
    let mut clients = Vec::new();
    for (number, &port) in (0..case.clients).zip(ports.iter().cycle()) {
        clients.push(Client::connect(port, number).await?);
    }
    let left = Arc::new(AtomicU32::new(requests));
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(ask(client, writes, Arc::clone(&left))))
        .collect();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    let took = begun.elapsed();
    micros.sort_unstable();
    Ok(Figures {
        per_second: f64::from(requests) / took.as_secs_f64(),
        p50_ms: percentile(&micros, 50).context("nothing was measured")?,
        p99_ms: percentile(&micros, 99).context("nothing was measured")?,
        cpu_seconds: 0.0,
    })
}

/// Asks until nothing is left; how many microseconds each answer took.
async fn ask(mut client: Client, writes: bool, left: Arc<AtomicU32>) -> Result<Vec<u32>> {
    let mut micros = Vec::new();
    let one_less = |left: u32| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let asked = Instant::now();
        if writes {
            client.put().await?;
        } else {
            client.get().await?;
        }
        micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(micros)
}

/// A percentile of sorted microseconds, in milliseconds.
fn percentile(sorted: &[u32], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(last * percent / 100).map(|&micros| f64::from(micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let sorted: Vec<u32> = (1..=101).map(|n| n * 1000).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (Some(51.0), Some(100.0)));
        assert_eq!(percentile(&[], 50), None);
    }
}
