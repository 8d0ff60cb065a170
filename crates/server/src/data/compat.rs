//! What the interfaces of the reference systems have in common: texts in the keyspace that was
//! configured for them.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Compare, Condition, Expiry, Header, Identity, Op, Outcome, Reply, Step, Txn, Want,
};

use super::{Call, Data, Lookup, StepResult, Written, put};

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

/// A larger tag is stored: this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale(pub u32);

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

    /// Stores a text unless a larger tag is stored. An eventual keyspace cannot compare: there it
    /// is stored whatever there is.
    ///
    /// # Errors
    /// Those of the operation. [`Stale`] inside if a larger tag is stored, with that one.
    pub async fn put_text_in_order(
        &self,
        identity: &Identity,
        key: Bytes,
        text: String,
        tag: u32,
    ) -> Outcome<Result<(), Stale>> {
        let keyspace = self.compat_keyspace();
        let Ok(()) = self.require_strong(keyspace, "a comparison") else {
            return self.put_text(identity, key, text, tag, None).await.map(|_| Ok(()));
        };
        // An equal tag may be stored again.
        let condition = tag.checked_add(1).map(Condition::TagBelow);
        let compare = condition.map(|condition| Compare { key: key.clone(), condition });
        let txn = Txn {
            compare: compare.into_iter().collect(),
            then: vec![put(key.clone(), text.into(), Expiry::Never, tag)],
            otherwise: vec![Step::read(key)],
        };
        let done = self.transact(identity, Call::new(keyspace, Op::Txn(txn))).await?;
        Ok(match done.steps.first() {
            Some(StepResult::Read { item: Some(item), .. }) => Err(Stale(item.header.tag)),
            _ => Ok(()),
        })
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
