//! What is measured: latencies by kind of operation, and errors by code.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::transport::code_of;
use super::workload::Kind;

/// Latencies are kept in microseconds up to this one, to three digits (Tene, "HdrHistogram").
const LONGEST_US: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// What one client, or all of them together, measured.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    latencies: BTreeMap<Kind, Histogram<u64>>,
    errors: BTreeMap<String, Failures>,
    missing: u64,
}

/// The failures with one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many there were.
    pub count: u64,
    /// The text of one of them, its code first.
    pub example: String,
}

/// Percentiles of latencies, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half were at most this.
    pub p50_us: u64,
    /// 95 % were at most this.
    pub p95_us: u64,
    /// 99 % were at most this.
    pub p99_us: u64,
    /// 99.9 % were at most this.
    pub p999_us: u64,
    /// None was longer.
    pub max_us: u64,
}

impl Recorder {
    /// Notes an operation that succeeded.
    pub fn success(&mut self, kind: Kind, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        let histogram = match self.latencies.entry(kind) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // The bounds are constants, for which this never fails.
                let Ok(empty) = Histogram::new_with_bounds(1, LONGEST_US, DIGITS) else { return };
                entry.insert(empty)
            }
        };
        histogram.saturating_record(micros.max(1));
    }

    /// Notes that a read found nothing; it is a success all the same.
    pub const fn missing(&mut self) {
        self.missing += 1;
    }

    /// Notes an operation that failed with a text that begins with a code.
    pub fn error(&mut self, text: &str) {
        let code = code_of(text);
        match self.errors.get_mut(code) {
            Some(failures) => failures.count += 1,
            None => {
                let failures = Failures { count: 1, example: text.to_owned() };
                self.errors.insert(code.to_owned(), failures);
            }
        }
    }

    /// Adds what another client measured.
    pub fn merge(&mut self, other: Recorder) {
        for (kind, histogram) in other.latencies {
            match self.latencies.get_mut(&kind) {
                // Equal bounds: nothing can be out of range.
                Some(mine) => drop(mine.add(histogram)),
                None => drop(self.latencies.insert(kind, histogram)),
            }
        }
        for (code, theirs) in other.errors {
            match self.errors.entry(code) {
                Entry::Occupied(mut ours) => ours.get_mut().count += theirs.count,
                Entry::Vacant(ours) => drop(ours.insert(theirs)),
            }
        }
        self.missing += other.missing;
    }

    /// How many operations succeeded.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.latencies.values().map(Histogram::len).sum()
    }

    /// How many reads found nothing.
    #[must_use]
    pub const fn reads_of_nothing(&self) -> u64 {
        self.missing
    }

    /// Errors by code.
    #[must_use]
    pub const fn errors(&self) -> &BTreeMap<String, Failures> {
        &self.errors
    }

    /// The percentiles of one kind, if there were any.
    #[must_use]
    pub fn percentiles(&self, kind: Kind) -> Option<Percentiles> {
        self.latencies.get(&kind).map(percentiles_of)
    }

    /// The percentiles of all kinds together.
    #[must_use]
    pub fn all_percentiles(&self) -> Option<Percentiles> {
        let mut histograms = self.latencies.values();
        let mut all = histograms.next()?.clone();
        for histogram in histograms {
            all.add(histogram).ok()?;
        }
        Some(percentiles_of(&all))
    }
}

fn percentiles_of(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        count: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p95_us: histogram.value_at_quantile(0.95),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(kind: Kind, micros: std::ops::RangeInclusive<u64>) -> Recorder {
        let mut recorder = Recorder::default();
        for latency in micros {
            recorder.success(kind, Duration::from_micros(latency));
        }
        recorder
    }

    #[test]
    fn percentiles_are_those_of_the_latencies_to_three_digits() {
        let seen = recorder(Kind::Read, 1..=10_000).percentiles(Kind::Read).unwrap();
        assert_eq!(seen.count, 10_000);
        for (value, expected) in [
            (seen.p50_us, 5_000),
            (seen.p95_us, 9_500),
            (seen.p99_us, 9_900),
            (seen.max_us, 10_000),
        ] {
            assert!(value.abs_diff(expected) * 1000 <= expected, "{value} for {expected}");
        }
    }

    #[test]
    fn clients_are_merged_by_kind_and_all_together() {
        let mut all = recorder(Kind::Read, 1..=100);
        all.merge(recorder(Kind::Read, 101..=200));
        all.merge(recorder(Kind::Update, 1001..=1200));
        assert_eq!(all.percentiles(Kind::Read).unwrap().max_us, 200);
        assert_eq!(all.percentiles(Kind::Update).unwrap().count, 200);
        assert_eq!(all.percentiles(Kind::Scan), None);
        let together = all.all_percentiles().unwrap();
        assert_eq!((together.count, together.p50_us), (400, 200));
        assert_eq!(all.successes(), 400);
    }

    #[test]
    fn errors_are_counted_by_code() {
        let mut all = Recorder::default();
        all.error("TIMEOUT 1 of 2 answered");
        let mut other = Recorder::default();
        other.error("TIMEOUT 0 of 2 answered");
        other.error("OVERLOAD the queue is full");
        all.merge(other);
        let seen: Vec<_> = all
            .errors()
            .values()
            .map(|of_code| (of_code.example.as_str(), of_code.count))
            .collect();
        assert_eq!(seen, [("OVERLOAD the queue is full", 1), ("TIMEOUT 1 of 2 answered", 2)]);
        assert_eq!(all.all_percentiles(), None);
    }

    #[test]
    fn a_latency_beyond_the_longest_is_kept_as_the_longest() {
        let mut recorder = Recorder::default();
        recorder.success(Kind::Read, Duration::from_secs(600));
        recorder.success(Kind::Read, Duration::ZERO);
        let seen = recorder.percentiles(Kind::Read).unwrap();
        assert!(seen.max_us >= LONGEST_US && seen.max_us < LONGEST_US + LONGEST_US / 500);
        assert_eq!(seen.count, 2);
    }
}
