//! Batches: independent operations that travel together.

use kvorum_proto::kvorum::v1;

use crate::client::NOT_STRONG;
use crate::error::Effect;
use crate::types::{Operation, OperationResult, delete_written, found, put_written};
use crate::{Client, Error};

impl Client {
    /// Runs several independent operations in one call. Results are in the order of the
    /// operations; operations that fail are not repeated one by one.
    ///
    /// # Errors
    /// [`Error`] if the call as a whole failed.
    pub async fn batch(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<OperationResult, Error>>, Error> {
        let names = self.names();
        let named = !names.are_refused();
        let mut answer = self.send_batch(operations).await?;
        if named && answer.results.iter().any(refuses_names) {
            names.note_refusal();
            answer = self.send_batch(operations).await?;
        }
        if answer.results.len() != operations.len() {
            let (got, asked) = (answer.results.len(), operations.len());
            return Err(Error::Unknown {
                code: "BROKEN".into(),
                message: format!("{got} answers to {asked} operations; the outcome is unknown"),
            });
        }
        let pairs = operations.iter().zip(answer.results);
        Ok(pairs.map(|(operation, result)| operation_result(operation, result)).collect())
    }

    async fn send_batch(&self, operations: &[Operation]) -> Result<v1::BatchResponse, Error> {
        let writes = operations.iter().any(|operation| effect_of(operation) == Effect::Writes);
        let effect = if writes { Effect::Writes } else { Effect::Reads };
        self.run(effect, |attempt| {
            let timeout = attempt.timeout_ms();
            let wire = operations.iter().map(|operation| self.wire_operation(operation, timeout));
            let request = v1::BatchRequest { operations: wire.collect() };
            async move { attempt.kv().batch(attempt.request(request)).await }
        })
        .await
    }

    fn wire_operation(&self, operation: &Operation, timeout_ms: u32) -> v1::Operation {
        use v1::operation::Kind as Wire;
        let wire = match operation {
            Operation::Get { key } => Wire::Get(self.get_request(key.clone(), timeout_ms)),
            Operation::Put { key, value, options } => {
                Wire::Put(self.put_request(key.clone(), value.clone(), *options, timeout_ms))
            }
            Operation::Delete { key } => Wire::Delete(self.delete_request(key.clone(), timeout_ms)),
        };
        v1::Operation { kind: Some(wire) }
    }
}

const fn effect_of(operation: &Operation) -> Effect {
    match operation {
        Operation::Get { .. } => Effect::Reads,
        Operation::Put { .. } | Operation::Delete { .. } => Effect::Writes,
    }
}

fn operation_result(
    operation: &Operation,
    result: v1::OperationResult,
) -> Result<OperationResult, Error> {
    use v1::operation_result::Kind as Wire;
    match (operation, result.kind) {
        (Operation::Get { key }, Some(Wire::Get(answer))) => {
            found(key.clone(), answer).map(OperationResult::Got)
        }
        (Operation::Put { .. }, Some(Wire::Put(answer))) => {
            put_written(&answer).map(OperationResult::Written)
        }
        (Operation::Delete { .. }, Some(Wire::Delete(answer))) => {
            delete_written(&answer).map(OperationResult::Written)
        }
        (operation, Some(Wire::Failure(failure))) => {
            let v1::Failure { code, executed, message } = failure;
            Err(Error::of_code(code, Some(&executed), message, effect_of(operation)))
        }
        (operation, _) => Err(Error::of_code(
            "BROKEN".to_owned(),
            None,
            "the answer is not one to the operation".to_owned(),
            effect_of(operation),
        )),
    }
}

/// Whether an operation of a batch was refused because it had a name.
fn refuses_names(result: &v1::OperationResult) -> bool {
    use v1::operation_result::Kind;
    matches!(&result.kind, Some(Kind::Failure(failure)) if failure.code == NOT_STRONG)
}
