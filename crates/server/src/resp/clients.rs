//! The connections of this node, as `CLIENT LIST` shows them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::arg::Arg;

/// What a connection tells about itself; changes seldom.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// `CLIENT SETNAME`.
    pub(super) name: Arg,
    /// `CLIENT SETINFO LIB-NAME`.
    pub(super) library: Arg,
    /// `CLIENT SETINFO LIB-VER`.
    pub(super) library_version: Arg,
    /// The number of its keyspace.
    pub(super) database: i64,
    /// The version of the protocol it speaks.
    pub(super) protocol: i64,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number, counted from one since the node started.
    pub(super) id: u64,
    /// Where it comes from.
    address: SocketAddr,
    opened_ms: AtomicU64,
    active_ms: AtomicU64,
    profile: Mutex<Profile>,
}

impl Entry {
    /// Notes that bytes arrived at `wall_ms`.
    pub(super) fn active(&self, wall_ms: u64) {
        if self.active_ms.swap(wall_ms, Ordering::Relaxed) == 0 {
            self.opened_ms.store(wall_ms, Ordering::Relaxed);
        }
    }

    /// Changes what the connection tells about itself.
    pub(super) fn edit(&self, change: impl FnOnce(&mut Profile)) {
        change(&mut self.profile.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the connection tells about itself.
    pub(super) fn profile(&self) -> Profile {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds its line, in the form of redis-server, to `text`. Figures that do not exist here are
    /// left out.
    pub(super) fn describe(&self, server_port: u16, wall_ms: u64, text: &mut String) {
        let profile = self.profile();
        let since = |then: &AtomicU64| {
            let then = then.load(Ordering::Relaxed);
            if then == 0 { 0 } else { wall_ms.saturating_sub(then) / 1000 }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "id={} addr={} laddr=:{server_port} name={} age={} idle={} flags=N db={} multi=-1 \
             user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            profile.name.text(),
            since(&self.opened_ms),
            since(&self.active_ms),
            profile.database,
            profile.protocol,
            profile.library.text(),
            profile.library_version.text(),
        );
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    open: Mutex<BTreeMap<u64, Arc<Entry>>>,
    opened: AtomicU64,
}

impl Clients {
    /// Adds a connection.
    pub(super) fn open(&self, address: SocketAddr) -> Arc<Entry> {
        let id = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let empty = Arg::copy(b"");
        let profile = Profile {
            name: empty.clone(),
            library: empty.clone(),
            library_version: empty,
            database: 0,
            protocol: 2,
        };
        let entry = Arc::new(Entry {
            id,
            address,
            opened_ms: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            profile: Mutex::new(profile),
        });
        self.lock().insert(id, Arc::clone(&entry));
        entry
    }

    /// Removes a connection.
    pub(super) fn close(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// How many connections were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The open connections, oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
