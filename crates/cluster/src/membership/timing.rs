//! How often and how patiently: all times are multiples of one interval.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;

use super::datagram::MOST_CONTENT;
use super::peer::Patience;

/// Through how many others a node that does not answer is probed.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);
/// How many nodes that are alive are asked for an echo at once.
pub(super) const ECHOES_AT_ONCE: usize = 8;
/// Every so many intervals, those who are alive are asked for an echo.
pub(super) const ECHO_ROUNDS: u64 = 2;
/// Every so many intervals a node reports even if nothing has changed.
pub(super) const REPORT_ROUNDS: u64 = 20;

pub(super) fn patience(interval: Duration, peers: usize) -> Patience {
    let echo_rounds = u32::try_from(peers.div_ceil(ECHOES_AT_ONCE)).unwrap_or(u32::MAX);
    let echo_every = interval * u32::try_from(ECHO_ROUNDS).unwrap_or(1);
    Patience {
        fresh: interval * 3,
        quiet: interval * 2,
        answer: interval,
        down: interval * 6,
        path: echo_every.saturating_mul(echo_rounds.max(1)).saturating_mul(3),
    }
}

pub(super) fn swim_config(interval: Duration, nodes: usize) -> foca::Config {
    let spread = u8::try_from(nodes.max(1).ilog2()).unwrap_or(u8::MAX);
    foca::Config {
        probe_period: interval,
        probe_rtt: interval * 2 / 5,
        num_indirect_probes: INDIRECT_PROBES,
        // Twice what epidemics need on average.
        max_transmissions: NonZeroU8::MIN
            .saturating_add(spread.saturating_mul(2))
            .saturating_add(2),
        suspect_to_down_after: interval * 6,
        // The list of members is as long as the list of nodes.
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(MOST_CONTENT).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        // Who speaks and does not take part is invited here.
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams { frequency: interval, num_members: INDIRECT_PROBES }),
    }
}
