//! Batches: many operations at once, with bounds on what they ask and on what they read.

use kvorum_core::{Error, Executed, Identity, Outcome, Reply, Request};

use super::{Call, Data, answer};

/// How many operations a batch may have.
pub const MAX_BATCH: usize = 4096;

/// How many operations of a batch run at once.
const ROUND: usize = 128;

/// Bytes of values after which a batch reads no more.
const MAX_BATCH_ANSWER: usize = 16 << 20;

/// Why a read of a batch was left out.
const ANSWER_FULL: Error =
    Error::Overloaded { what: "the answer of the batch", executed: Executed::No };

impl Data {
    /// Runs operations that are independent of each other; answers are in their order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are more than [`MAX_BATCH`]; nothing was executed.
    pub async fn run_all(
        &self,
        identity: &Identity,
        calls: Vec<Outcome<Call>>,
    ) -> Outcome<Vec<Outcome<Reply>>> {
        if calls.len() > MAX_BATCH {
            let count = calls.len();
            return Err(Error::invalid(format!(
                "the batch has {count} operations; the limit is {MAX_BATCH}"
            )));
        }
        let mut admitted = Vec::with_capacity(calls.len());
        let mut refusals = Vec::with_capacity(calls.len());
        for (part, call) in calls.into_iter().enumerate() {
            // Operations are independent of each other, so each has a name of its own.
            let named = |call: Call| Call { key: call.key.map(|key| key.of_part(part)), ..call };
            match call.and_then(|call| self.request(identity, named(call))) {
                Ok(request) => {
                    admitted.push(request);
                    refusals.push(None);
                }
                Err(error) => refusals.push(Some(error)),
            }
        }
        let mut answers = self.rounds(admitted).await.into_iter();
        let in_order = refusals.into_iter().map(|refusal| match refusal {
            Some(error) => Err(error),
            None => answers.next().unwrap_or_else(|| Err(answer::lost(true))),
        });
        Ok(in_order.collect())
    }

    /// Runs requests in rounds, and leaves out the reads once the answers so far are long: what a
    /// batch reads is bounded although what it asks for is not.
    async fn rounds(&self, requests: Vec<Request>) -> Vec<Outcome<Reply>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut bytes = 0;
        let mut rest = requests.into_iter().peekable();
        while rest.peek().is_some() {
            let mut places = Vec::with_capacity(ROUND);
            let mut round = Vec::with_capacity(ROUND);
            for request in rest.by_ref().take(ROUND) {
                let refused = bytes > MAX_BATCH_ANSWER && !request.op.is_write();
                places.push(refused);
                if !refused {
                    round.push(request);
                }
            }
            let mut replies = self.backend.run_all(round).await.into_iter();
            for refused in places {
                let reply = match refused {
                    true => Err(ANSWER_FULL),
                    false => replies.next().unwrap_or_else(|| Err(answer::lost(true))),
                };
                if let Ok(Reply::Found(item)) = &reply {
                    bytes += item.value.len();
                }
                answers.push(reply);
            }
        }
        answers
    }
}
