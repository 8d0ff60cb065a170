//! DBSIZE: the sum of the live keys of every partition, each counted by one of its replicas.

use std::vec;

use kvorum_core::{Op, Outcome, PartitionId, Reply};

use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::queue::{Aim, Calls, Finish, Job};
use super::scan::layout_unknown;
use super::strings::unexpected;

/// Partitions that are counted at the same time.
const WINDOW: usize = 256;

/// `DBSIZE`
pub(super) fn dbsize(call: &mut Call<'_, '_>) -> Handled {
    let layout = call.calls.node().layout().ok_or_else(layout_unknown)?;
    let partitions: Vec<PartitionId> = layout.partitions(call.client.keyspace).collect();
    let partitions = partitions.into_iter();
    let aim = call.client.aim(call.calls.node());
    let mut size = Size { aim, partitions, open: 0, keys: 0, failure: None };
    size.submit(&mut call.calls);
    if size.open == 0 {
        return Err(layout_unknown());
    }
    Ok(Step::Many(Box::new(size)))
}

struct Size {
    aim: Aim,
    partitions: vec::IntoIter<PartitionId>,
    open: usize,
    keys: u64,
    failure: Option<ErrorReply>,
}

impl Size {
    fn submit(&mut self, calls: &mut Calls<'_, '_>) {
        while self.open < WINDOW && self.failure.is_none() {
            let Some(partition) = self.partitions.next() else { break };
            calls.submit(self.aim, Op::Count { partition }, 0);
            self.open += 1;
        }
    }
}

impl Job for Size {
    fn answer(&mut self, _: u32, outcome: Outcome<Reply>, calls: &mut Calls<'_, '_>) -> bool {
        self.open -= 1;
        match outcome {
            Ok(Reply::Count(keys)) => self.keys += keys,
            Ok(other) => self.failure = Some(unexpected(&other)),
            Err(error) => self.failure = Some(ErrorReply::from(error)),
        }
        self.submit(calls);
        self.open == 0
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        finish.out.count(self.keys);
        Ok(())
    }
}
