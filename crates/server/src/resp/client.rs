//! What a connection has chosen: keyspace, consistency, protocol version, name.

use std::sync::Arc;

use kvorum_core::{Consistency, KeyspaceId, Mode};
use kvorum_node::NodeView;

use super::arg::Arg;
use super::clients::Entry;
use super::error::ErrorReply;
use super::queue::Aim;
use super::transactions::{Transaction, Watched};

/// Which replies a client wants (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// All but that of the next command.
    SkipNext,
}

/// The settings of one connection.
pub(super) struct Client {
    /// The keyspace of its commands.
    pub(super) keyspace: KeyspaceId,
    /// The consistency of its reads, if it chose one.
    pub(super) read: Option<Consistency>,
    /// The consistency of its writes, if it chose one.
    pub(super) write: Option<Consistency>,
    /// Its reads of strong keyspaces may go to any replica (`READONLY`), unless it chose otherwise.
    pub(super) by_any_replica: bool,
    /// Which replies it wants.
    pub(super) replies: Replies,
    /// The transaction it has begun (`MULTI`).
    pub(super) transaction: Option<Transaction>,
    /// The keys that the next transaction wants unchanged (`WATCH`).
    pub(super) watched: Vec<Watched>,
    /// How many replicas had acknowledged its last write when that was answered.
    pub(super) last_acked: usize,
    /// How it appears in `CLIENT LIST`.
    pub(super) entry: Arc<Entry>,
}

impl Client {
    /// The settings of a new connection.
    pub(super) const fn new(entry: Arc<Entry>) -> Client {
        Client {
            keyspace: KeyspaceId::DEFAULT,
            read: None,
            write: None,
            by_any_replica: false,
            replies: Replies::On,
            transaction: None,
            watched: Vec::new(),
            last_acked: 0,
            entry,
        }
    }

    /// Goes back to the settings of a new connection.
    pub(super) fn reset(&mut self) {
        self.entry.edit(|profile| {
            profile.name = Arg::copy(b"");
            profile.database = 0;
            profile.protocol = 2;
        });
        *self = Client::new(Arc::clone(&self.entry));
    }

    /// Lets the transaction that it has begun come to nothing, because of an error.
    pub(super) fn spoil(&mut self, error: ErrorReply) -> ErrorReply {
        if let Some(transaction) = &mut self.transaction {
            transaction.abort();
        }
        error
    }

    /// Whether the selected keyspace is strong.
    pub(super) fn is_strong(&self, node: &dyn NodeView) -> bool {
        let layout = node.layout();
        let own = layout.as_ref().and_then(|layout| layout.keyspace(self.keyspace));
        own.is_some_and(|own| own.mode == Mode::Strong)
    }

    /// Where its commands run.
    pub(super) fn aim(&self, node: &dyn NodeView) -> Aim {
        let follows = self.by_any_replica && self.is_strong(node);
        let read = self.read.or(follows.then_some(Consistency::Follower));
        Aim { keyspace: self.keyspace, read, write: self.write }
    }

    /// Selects a keyspace by number: 0 is `default`, the others follow in the order of their ids.
    ///
    /// # Errors
    /// redis-server's text for a number that is not in use.
    pub(super) fn select(&mut self, number: i64, node: &dyn NodeView) -> Result<(), ErrorReply> {
        self.keyspace = match number {
            0 => KeyspaceId::DEFAULT,
            _ => {
                numbered(number, node).ok_or_else(|| ErrorReply::err("DB index is out of range"))?
            }
        };
        self.entry.edit(|profile| profile.database = number);
        Ok(())
    }

    /// Selects a keyspace by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn select_named(
        &mut self,
        name: &str,
        node: &dyn NodeView,
    ) -> Result<(), ErrorReply> {
        let (number, keyspace) = named(name, node)
            .ok_or_else(|| kvorum_core::Error::NoKeyspace(name.to_owned()))
            .map_err(ErrorReply::from)?;
        self.keyspace = keyspace;
        self.entry.edit(|profile| profile.database = number);
        Ok(())
    }
}

fn numbered(number: i64, node: &dyn NodeView) -> Option<KeyspaceId> {
    let layout = node.layout()?;
    let keyspace = layout.keyspaces().get(usize::try_from(number).ok()?)?;
    Some(keyspace.id)
}

fn named(name: &str, node: &dyn NodeView) -> Option<(i64, KeyspaceId)> {
    let layout = node.layout()?;
    let mut numbered = (0..).zip(layout.keyspaces());
    numbered.find(|(_, ks)| ks.name == name).map(|(number, ks)| (number, ks.id))
}
