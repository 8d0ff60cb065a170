//! `grpc.health.v1`: follows what the node says of itself.

use std::convert::Infallible;
use std::time::Duration;

use kvorum_node::Serving;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use crate::data::Data;

/// How often the node is asked.
const EVERY: Duration = Duration::from_millis(500);

/// The services whose health can be asked for; the empty name stands for all.
const SERVICES: [&str; 5] = ["", "kvorum.v1.Kv", "kvorum.v1.Admin", "kv.KeyValue", "kv.KVStore"];

/// Reports the node's health.
#[derive(Debug)]
pub struct Reporter(HealthReporter);

impl Reporter {
    /// A reporter and the service it feeds.
    pub fn new() -> (Reporter, HealthServer<impl Health>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        (Reporter(reporter), service)
    }

    /// Reports what the node says of itself now; before the first call no service is known.
    pub async fn report(&self, data: &Data) {
        let now = status(&data.status().serving);
        for service in SERVICES {
            self.0.set_service_status(service, now).await;
        }
    }

    /// Follows the node for ever.
    pub async fn follow(&self, data: &Data) -> Infallible {
        let mut ticks = tokio::time::interval(EVERY);
        let mut last = None;
        loop {
            ticks.tick().await;
            // Every report wakes the watching clients, so only changes are reported.
            let now = status(&data.status().serving);
            if last.replace(now) != Some(now) {
                self.report(data).await;
            }
        }
    }
}

const fn status(serving: &Serving) -> ServingStatus {
    match serving {
        Serving::Yes | Serving::Rebuilding(_) => ServingStatus::Serving,
        Serving::No(_) => ServingStatus::NotServing,
    }
}
