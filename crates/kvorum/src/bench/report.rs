//! The result of a measurement: a table for people, a document for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Options;
use super::recorder::{Failures, Percentiles, Recorder};
use super::workload::Kind;

/// What was measured.
#[derive(Debug)]
pub struct Report<'a> {
    /// How.
    pub options: &'a Options,
    /// At which nodes.
    pub addresses: &'a [String],
    /// For how long, without the warm-up.
    pub took: Duration,
    /// The figures of all clients.
    pub recorder: &'a Recorder,
}

impl Report<'_> {
    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let Report { options, took, recorder, .. } = self;
        let mut lines = vec![
            format!(
                "{} over {}: {} clients x {} in flight, {} keys, values of {} bytes, {:.1} s",
                options.workload_name(),
                options.protocol_name(),
                options.clients,
                options.pipeline,
                options.keys,
                options.value_size,
                took.as_secs_f64()
            ),
            String::new(),
            format!(
                "  {:<18}{:>11}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}",
                "milliseconds", "count", "per s", "p50", "p95", "p99", "p99.9", "max"
            ),
        ];
        let rows: Vec<(String, Percentiles)> = self.rows().collect();
        // With one kind of operation, the sum would say the same again.
        let shown = if rows.len() == 2 { rows.get(..1).unwrap_or(&rows) } else { &rows };
        for (name, seen) in shown {
            let ms = |us: u64| format!("{}.{:03}", us / 1000, us % 1000);
            lines.push(format!(
                "  {name:<18}{:>11}{:>11.0}{:>10}{:>10}{:>10}{:>10}{:>10}",
                seen.count,
                self.per_second(seen.count),
                ms(seen.p50_us),
                ms(seen.p95_us),
                ms(seen.p99_us),
                ms(seen.p999_us),
                ms(seen.max_us),
            ));
        }
        lines.push(String::new());
        if recorder.reads_of_nothing() > 0 {
            lines.push(format!("{} reads found nothing", recorder.reads_of_nothing()));
        }
        for Failures { count, example } in recorder.errors().values() {
            lines.push(format!("{count} operations failed: {example}"));
        }
        lines.push(CLOSED_LOOP.to_owned());
        lines.join("\n")
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> Value {
        let Report { options, addresses, took, recorder } = self;
        let latencies: Map<String, Value> = self
            .rows()
            .map(|(name, seen)| {
                let row = json!({
                    "count": seen.count,
                    "per_second": self.per_second(seen.count),
                    "p50_us": seen.p50_us,
                    "p95_us": seen.p95_us,
                    "p99_us": seen.p99_us,
                    "p999_us": seen.p999_us,
                    "max_us": seen.max_us,
                });
                (name, row)
            })
            .collect();
        let errors: Map<String, Value> = recorder
            .errors()
            .iter()
            .map(|(code, seen)| (code.clone(), seen.count.into()))
            .collect();
        json!({
            "workload": options.workload_name(),
            "protocol": options.protocol_name(),
            "addresses": addresses,
            "clients": options.clients,
            "pipeline": options.pipeline,
            "keys": options.keys,
            "value_size": options.value_size,
            "seed": options.seed,
            "closed_loop": true,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "operations": recorder.successes(),
            "per_second": self.per_second(recorder.successes()),
            "latencies": latencies,
            "reads_of_nothing": recorder.reads_of_nothing(),
            "errors": errors,
        })
    }

    /// Every kind there was, and all of them together last.
    fn rows(&self) -> impl Iterator<Item = (String, Percentiles)> {
        let kinds = Kind::ALL.into_iter();
        let each =
            kinds.filter_map(|kind| Some((kind.to_string(), self.recorder.percentiles(kind)?)));
        each.chain(self.recorder.all_percentiles().map(|seen| ("all".to_owned(), seen)))
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}

/// Said with every result, because it is the usual mistake of reading one (Tene, "How NOT to
/// Measure Latency", coordinated omission).
const CLOSED_LOOP: &str = "\
Closed loop: a client sends again when it has its answers. A server that stalls is asked less
meanwhile, so that high percentiles look better than an open stream of requests would see them.";
