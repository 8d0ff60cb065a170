//! The nodes a client was told about, and which of them to ask next.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

use crate::{Error, Options};

/// How long an endpoint that failed is left alone while others are there.
const REST: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose other end is frozen is given up after these two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// All endpoints of a client. Connections are made when they are first needed.
#[derive(Debug)]
pub(crate) struct Endpoints {
    nodes: Vec<Node>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    address: String,
    channel: Channel,
    rests_until: Mutex<Option<Instant>>,
}

/// One endpoint, chosen for one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    index: usize,
    pub(crate) address: String,
    pub(crate) channel: Channel,
}

impl Endpoints {
    /// The endpoints of the options; `first` says with which to begin, so that many short-lived
    /// clients do not all ask the same node.
    pub(crate) fn new(options: &Options, first: usize) -> Result<Endpoints, Error> {
        let nodes = options.endpoints.iter().map(|address| {
            let uri =
                if address.contains("://") { address.clone() } else { format!("http://{address}") };
            let endpoint = Endpoint::from_shared(uri)
                .map_err(|error| Error::invalid(format!("{address:?} is no endpoint: {error}")))?;
            let channel = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .connect_lazy();
            Ok(Node { address: address.clone(), channel, rests_until: Mutex::new(None) })
        });
        Ok(Endpoints { nodes: nodes.collect::<Result<_, Error>>()?, next: AtomicUsize::new(first) })
    }

    /// The next endpoint in turn that has not just failed; if all have, simply the next.
    pub(crate) fn choose(&self, now: Instant) -> Option<Choice> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let index = turn_order(first, self.nodes.len())
            .find(|&index| !self.rests(index, now))
            .or_else(|| first.checked_rem(self.nodes.len()))?;
        let Node { address, channel, .. } = self.nodes.get(index)?;
        Some(Choice { index, address: address.clone(), channel: channel.clone() })
    }

    /// Whether there is another endpoint to turn to.
    pub(crate) const fn has_alternatives(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Notes how an attempt at an endpoint ended.
    pub(crate) fn note(&self, choice: &Choice, failed: bool, now: Instant) {
        let Some(node) = self.nodes.get(choice.index) else { return };
        if let Ok(mut rests_until) = node.rests_until.lock() {
            *rests_until = failed.then(|| now + REST);
        }
    }

    fn rests(&self, index: usize, now: Instant) -> bool {
        let until =
            self.nodes.get(index).and_then(|node| node.rests_until.lock().ok().map(|at| *at));
        until.flatten().is_some_and(|until| until > now)
    }
}

fn turn_order(first: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| first.wrapping_add(step) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(endpoints: &Endpoints, now: Instant, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| endpoints.choose(now)).map(|choice| choice.index).collect()
    }

    #[tokio::test]
    async fn requests_go_round_and_leave_out_an_endpoint_that_failed() {
        let options = Options::new(["127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3"]);
        let endpoints = Endpoints::new(&options, 0).unwrap();
        let now = Instant::now();
        assert_eq!(chosen(&endpoints, now, 4), [0, 1, 2, 0]);
        let failed = endpoints.choose(now).unwrap();
        assert_eq!(failed.index, 1);
        endpoints.note(&failed, true, now);
        assert_eq!(chosen(&endpoints, now, 3), [2, 0, 2]);
        let later = now + REST;
        assert!(chosen(&endpoints, later, 3).contains(&1));
    }

    #[tokio::test]
    async fn when_all_have_failed_they_are_all_tried_again() {
        let endpoints = Endpoints::new(&Options::new(["127.0.0.1:1", "127.0.0.1:2"]), 0).unwrap();
        let now = Instant::now();
        for _ in 0..2 {
            let choice = endpoints.choose(now).unwrap();
            endpoints.note(&choice, true, now);
        }
        assert_eq!(chosen(&endpoints, now, 2), [0, 1]);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_named() {
        let error = Endpoints::new(&Options::new(["not an address"]), 0).unwrap_err();
        assert!(error.to_string().contains("not an address"), "{error}");
    }
}
