//! The metrics of the gossip.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_cluster::membership::{Kind, Refusal, Standing};
use kvorum_core::Mono;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// How often datagrams that are refused for the same reason are logged.
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);

/// Counts what is sent, taken and refused.
pub(super) struct GossipMetrics {
    /// Under the name that the dashboards of a3.store know.
    all: Counter,
    sent: BTreeMap<Kind, Counter>,
    received: BTreeMap<Kind, Counter>,
    refused: BTreeMap<Refusal, Counter>,
    members: BTreeMap<Standing, Gauge>,
    complaints: RefCell<BTreeMap<Refusal, Complaint>>,
}

/// Datagrams refused for one reason since that was logged last.
#[derive(Default)]
struct Complaint {
    count: u64,
    logged: Option<Mono>,
}

impl GossipMetrics {
    pub(super) fn new() -> GossipMetrics {
        describe_counter!("kvorum_gossip_sent_total", "Datagrams of gossip sent, by kind");
        describe_counter!("kvorum_gossip_received_total", "Datagrams of gossip taken, by kind");
        describe_counter!("kvorum_gossip_refused_total", "Datagrams dropped, by reason");
        describe_gauge!("kvorum_members", "The other nodes, by what this node thinks of them");
        let by_kind = |name: &'static str| {
            Kind::ALL.map(|kind| (kind, counter!(name, "kind" => kind.name()))).into()
        };
        let refused = |reason: Refusal| {
            (reason, counter!("kvorum_gossip_refused_total", "reason" => reason.name()))
        };
        let members = |state: Standing| (state, gauge!("kvorum_members", "state" => state.name()));
        GossipMetrics {
            all: counter!("kv_gossip_messages_total"),
            sent: by_kind("kvorum_gossip_sent_total"),
            received: by_kind("kvorum_gossip_received_total"),
            refused: Refusal::ALL.map(refused).into(),
            members: Standing::ALL.map(members).into(),
            complaints: RefCell::default(),
        }
    }

    pub(super) fn sent(&self, kind: Kind) {
        self.all.increment(1);
        if let Some(counter) = self.sent.get(&kind) {
            counter.increment(1);
        }
    }

    pub(super) fn received(&self, kind: Kind) {
        if let Some(counter) = self.received.get(&kind) {
            counter.increment(1);
        }
    }

    /// Counts a datagram that was refused. How many were, for the log, if it is time to say so.
    pub(super) fn refused(&self, reason: Refusal, now: Mono) -> Option<u64> {
        if let Some(counter) = self.refused.get(&reason) {
            counter.increment(1);
        }
        let mut complaints = self.complaints.borrow_mut();
        let complaint = complaints.entry(reason).or_default();
        complaint.count += 1;
        if complaint.logged.is_some_and(|logged| now.since(logged) < COMPLAINT_PERIOD) {
            return None;
        }
        complaint.logged = Some(now);
        Some(std::mem::take(&mut complaint.count))
    }

    /// Shows how many nodes are judged how.
    pub(super) fn show(&self, count: impl Fn(Standing) -> usize) {
        for (standing, gauge) in &self.members {
            gauge.set(count(*standing) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_datagrams_are_all_counted_and_seldom_logged() {
        let metrics = GossipMetrics::new();
        let at = |seconds: u64| Mono(seconds * 1_000_000);
        assert_eq!(metrics.refused(Refusal::Malformed, at(1)), Some(1));
        assert_eq!(metrics.refused(Refusal::Malformed, at(2)), None);
        assert_eq!(metrics.refused(Refusal::OtherCluster, at(3)), Some(1));
        assert_eq!(metrics.refused(Refusal::Malformed, at(11)), Some(2));
    }
}
