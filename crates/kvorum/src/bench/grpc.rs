//! The gRPC side of the load generator: the product's own client.

use kvorum_client::{Client, Error, Found, Operation, OperationResult, Options, PutOptions};

use crate::exit::Failure;

use super::transport::{Command, Connect, Outcome};

/// A client with one connection of its own.
#[derive(Debug)]
pub struct GrpcConnection {
    client: Client,
}

impl GrpcConnection {
    /// A client that repeats nothing: what fails is counted.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn connect(connect: &Connect) -> Result<GrpcConnection, Failure> {
        let mut options = Options::new([connect.address.clone()]);
        options.keyspace.clone_from(&connect.keyspace);
        options.consistency = connect.consistency;
        options.timeout = connect.timeout;
        options.retries_per_ten = 0;
        let client = Client::new(options)?;
        client.status().await?;
        Ok(GrpcConnection { client })
    }

    /// Runs one command as a call of its own, several reads and writes as one batch.
    ///
    /// # Errors
    /// Never: the client makes its connections anew by itself, and every request has an outcome.
    pub async fn run(
        &self,
        commands: &[Command],
        mut report: impl FnMut(usize, Outcome),
    ) -> anyhow::Result<()> {
        let batch: Option<Vec<Operation>> = match commands {
            [_] => None,
            _ => commands.iter().map(operation).collect(),
        };
        let Some(batch) = batch else {
            for (index, command) in commands.iter().enumerate() {
                report(index, self.run_alone(command).await);
            }
            return Ok(());
        };
        match self.client.batch(&batch).await {
            Ok(results) => {
                for (index, result) in results.into_iter().enumerate() {
                    report(index, result.map_or_else(|error| failed(&error), |r| outcome(&r)));
                }
            }
            Err(error) => (0..commands.len()).for_each(|index| report(index, failed(&error))),
        }
        Ok(())
    }

    async fn run_alone(&self, command: &Command) -> Outcome {
        let result = match command {
            Command::Get { key } => self.client.get(key.clone()).await.map(|found| read(&found)),
            Command::Put { key, value } => {
                self.client.put(key.clone(), value.clone()).await.map(|_| Outcome::Done)
            }
            Command::Scan { prefix, limit } => self.scan(prefix.clone(), *limit).await,
        };
        result.unwrap_or_else(|error| failed(&error))
    }

    async fn scan(&self, prefix: bytes::Bytes, limit: u32) -> Result<Outcome, Error> {
        let mut scan = self.client.scan(prefix).limit(limit);
        let mut any = Outcome::Missing;
        while scan.next().await?.is_some() {
            any = Outcome::Done;
        }
        Ok(any)
    }
}

fn operation(command: &Command) -> Option<Operation> {
    match command {
        Command::Get { key } => Some(Operation::Get { key: key.clone() }),
        Command::Put { key, value } => Some(Operation::Put {
            key: key.clone(),
            value: value.clone(),
            options: PutOptions::default(),
        }),
        Command::Scan { .. } => None,
    }
}

const fn read(found: &Option<Found>) -> Outcome {
    if found.is_some() { Outcome::Done } else { Outcome::Missing }
}

const fn outcome(result: &OperationResult) -> Outcome {
    match result {
        OperationResult::Got(found) => read(found),
        OperationResult::Written(_) => Outcome::Done,
    }
}

fn failed(error: &Error) -> Outcome {
    Outcome::Failed(format!("{} {error}", error.code()))
}
