//! What a client needs to know.

use std::time::Duration;

use kvorum_core::{Consistency, limits};

use crate::Error;

/// Options of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// gRPC addresses, `host:port` or `http://host:port`; one is enough, several survive the loss
    /// of one.
    pub endpoints: Vec<String>,
    /// The keyspace; `default` unless set.
    pub keyspace: String,
    /// What answers must promise; the keyspace's default unless set. A level that only says how to
    /// read ([`Consistency::is_of_reads`]) says nothing of writes.
    pub consistency: Option<Consistency>,
    /// How long a request may take, repetitions included: up to 30 s, 2 s unless set.
    pub timeout: Duration,
    /// How many requests in ten may be repeated over the long run; zero turns repeating off, and
    /// with it the names that writes to strong keyspaces have for it. A limit, because repeating
    /// everything is the wrong answer to an overloaded cluster.
    pub retries_per_ten: u32,
}

impl Options {
    /// The default options with these endpoints.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Options {
        Options {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            keyspace: "default".to_owned(),
            consistency: None,
            timeout: limits::DEFAULT_DEADLINE,
            retries_per_ten: 2,
        }
    }

    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names what is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("a client needs at least one endpoint"));
        }
        if self.timeout.is_zero() || self.timeout > limits::MAX_DEADLINE {
            let limit = limits::MAX_DEADLINE.as_secs();
            return Err(Error::invalid(format!("the timeout lies between 1 ms and {limit} s")));
        }
        Ok(())
    }
}
