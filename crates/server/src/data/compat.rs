//! What the interfaces of the reference systems have in common: texts in the keyspace that was
//! configured for them.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Expiry, Header, Identity, Op, Outcome, Reply, Want};

use super::{Call, Data, Lookup, Written};

/// The answer to a read of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// There is a text.
    Found(Header, String),
    /// There is a value that is not UTF-8: another interface stored it.
    Bytes,
    /// There is no value.
    Missing,
}

impl Data {
    /// Reads a text.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn get_text(
        &self,
        identity: &Identity,
        key: Bytes,
        timeout: Option<Duration>,
    ) -> Outcome<Text> {
        let reply = self.run_compat(identity, Op::Get { key, want: Want::Value }, timeout).await?;
        Ok(match reply.try_into()? {
            Lookup::Missing(_) => Text::Missing,
            Lookup::Found(item) => match String::from_utf8(item.value.into()) {
                Ok(text) => Text::Found(item.header, text),
                Err(_) => Text::Bytes,
            },
        })
    }

    /// Stores a text; the tag is an integer of the client's own.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn put_text(
        &self,
        identity: &Identity,
        key: Bytes,
        text: String,
        tag: u32,
        timeout: Option<Duration>,
    ) -> Outcome<Written> {
        let op = Op::Put { key, value: text.into(), expiry: Expiry::Never, tag };
        self.run_compat(identity, op, timeout).await?.try_into()
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn delete_text(
        &self,
        identity: &Identity,
        key: Bytes,
        timeout: Option<Duration>,
    ) -> Outcome<Written> {
        self.run_compat(identity, Op::Delete { key }, timeout).await?.try_into()
    }

    async fn run_compat(
        &self,
        identity: &Identity,
        op: Op,
        timeout: Option<Duration>,
    ) -> Outcome<Reply> {
        let call = Call { timeout, ..Call::new(self.compat_keyspace(), op) };
        self.run(identity, call).await
    }
}
