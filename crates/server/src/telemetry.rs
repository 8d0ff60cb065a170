//! What the process tells about itself: logs on standard error, metrics for Prometheus.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Latencies in seconds, from the cost of a turn to the longest deadline.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0, 30.0,
];
/// Sizes in bytes.
const BYTES: [f64; 10] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
/// Everything else that is counted per turn or per batch.
const COUNTS: [f64; 12] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

/// How often finished observations are folded into their histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder belongs to the process, so there is one.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct TelemetryError(String);

impl Metrics {
    /// The metrics of this process; the first call installs their recorder. It comes before
    /// everything that counts.
    ///
    /// # Errors
    /// [`TelemetryError`] if somebody else has installed a recorder.
    pub fn of_process() -> Result<Metrics, TelemetryError> {
        if let Some(handle) = RECORDER.get() {
            return Ok(Metrics(handle.clone()));
        }
        let failed = |error: String| TelemetryError(error);
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)
            })
            .and_then(|builder| builder.set_buckets(&COUNTS))
            .map_err(|error| failed(error.to_string()))?
            .build_recorder();
        let handle = RECORDER.get_or_init(|| recorder.handle());
        // Of two threads that come here at once, one installs the recorder of the handle.
        match metrics::set_global_recorder(recorder) {
            Ok(()) => describe(),
            Err(_) if RECORDER.get().is_some() => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        Ok(Metrics(handle.clone()))
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the histograms small, for ever.
    pub async fn upkeep(self) -> Infallible {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

/// Describes the series that dashboards of the reference systems query, and makes them exist
/// from the first scrape on.
fn describe() {
    describe_counter!("kv_http_requests_total", "HTTP requests by method and route");
    describe_counter!("kv_grpc_requests_total", "gRPC calls by method");
    describe_counter!("kv_grpc_errors_total", "gRPC calls that failed, by method");
    describe_histogram!("kv_grpc_latency_seconds", "Time to answer a gRPC call, by method");
    describe_histogram!("kvorum_http_seconds", "Time to answer an HTTP request, by route");
    describe_gauge!("kv_node_up", "Whether this node is connected to that node");
    describe_counter!(
        "kv_replication_attempts_total",
        "Writes and log entries for other replicas, one for each"
    );
    describe_counter!(
        "kv_replication_failures_total",
        "Writes not sent to a replica: down or full"
    );
    describe_counter!("kv_anti_entropy_runs_total", "Rounds of comparing replicas");
    describe_counter!("kv_anti_entropy_keys_repaired_total", "Keys such rounds repaired");
    describe_counter!("kv_gossip_messages_total", "Messages that watch over other nodes");
    for name in [
        "kv_replication_attempts_total",
        "kv_replication_failures_total",
        "kv_anti_entropy_runs_total",
        "kv_anti_entropy_keys_repaired_total",
        "kv_gossip_messages_total",
    ] {
        counter!(name).absolute(0);
    }
    for method in ["Put", "Get", "Delete", "Replicate"] {
        counter!("kv_grpc_requests_total", "method" => method).absolute(0);
        counter!("kv_grpc_errors_total", "method" => method).absolute(0);
    }
    gauge!("kvorum_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Starts logging to standard error. A second call in a process changes nothing.
pub fn start_logging(config: &Config) {
    let (level, json) = config.logging();
    // The libraries below speak of single frames at levels where we speak of requests.
    let filter = EnvFilter::new(format!("{level},h2=warn,hyper=warn,hyper_util=warn,tower=warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = if json { lines.json().try_init() } else { lines.try_init() };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_series_exist_before_anything_happens() {
        let metrics = Metrics::of_process().unwrap();
        let text = metrics.render();
        for series in [
            "kv_replication_attempts_total 0",
            "kv_replication_failures_total 0",
            "kv_anti_entropy_runs_total 0",
            "kv_anti_entropy_keys_repaired_total 0",
            "kv_gossip_messages_total 0",
            "kv_grpc_errors_total{method=\"Replicate\"} 0",
            "kvorum_build_info{version=",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
    }

    #[test]
    fn latencies_are_histograms() {
        let metrics = Metrics::of_process().unwrap();
        metrics::histogram!("kvorum_probe_seconds").record(0.003);
        let text = metrics.render();
        assert!(text.contains("kvorum_probe_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
