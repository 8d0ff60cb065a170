//! What an input of a turn costs, and what becomes of it before the node serves.

use kvorum_core::Error;
use kvorum_shard::{In, Out};

/// About how many bytes of log a record takes besides its key and value.
const RECORD_OVERHEAD: usize = 96;

/// About how many bytes of log an input makes this node write.
pub(super) fn cost(input: &In) -> usize {
    match input {
        In::Request { request, .. } if request.op.is_write() => {
            request.op.weight() + RECORD_OVERHEAD
        }
        In::Frame { body, .. } => body.len() + body.len() / 2,
        _ => 0,
    }
}

/// The answer of a node that does not serve yet.
pub(super) fn not_serving(input: &In) -> Option<Out> {
    match input {
        In::Request { ticket, .. } => {
            let outcome = Err(Error::NotServing("starting".into()));
            Some(Out::Reply { ticket: *ticket, outcome })
        }
        _ => None,
    }
}
