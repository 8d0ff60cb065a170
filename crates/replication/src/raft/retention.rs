//! Which entries are kept when they are applied.
//!
//! Kept entries lie in memory, so they must be few. But whoever lacks one that is gone needs a copy
//! of the whole partition, and whoever gets one goes on behind the place that it shows: so a leader
//! keeps what those lack that are up, as far as memory allows: its own part, and what all groups share.

use kvorum_core::{Change, NodeId};

use super::consensus::Consensus;
use super::options::Limits;

impl Consensus {
    /// Drops applied entries that are more than are to be kept. A leader keeps few that all replicas
    /// have, and many that one lacks which is up, or which a copy brings as far as `copied`.
    /// When memory is `short`, nobody who lags counts.
    pub(super) fn drop_log(
        &mut self,
        limits: &Limits,
        short: bool,
        is_up: impl Fn(NodeId) -> bool,
        copied: Option<u64>,
        out: &mut Vec<Change>,
    ) {
        let kept = limits.kept_log_bytes;
        let log = self.log();
        let mut index = log.excess(kept);
        if self.leads() {
            let others = self.others();
            if others.iter().all(|(_, matched)| *matched >= log.state.applied) {
                index = log.excess(kept / 8);
            }
            // One that lacks what is gone already needs a copy anyway.
            let lags = |at: &u64| *at >= log.state.dropped;
            let up = others.into_iter().filter(|(node, _)| is_up(*node));
            let needed = up.map(|(_, matched)| matched).filter(lags).chain(copied).min();
            let lagging = if short { kept } else { limits.lagging_log_bytes.max(kept) };
            let most = log.excess(lagging);
            index = index.min(needed.unwrap_or(u64::MAX)).max(most);
        }
        let index = index.min(log.state.applied);
        if index >= log.state.dropped + limits.least_dropped {
            self.log_mut().drop_to(index, out);
        }
    }
}
