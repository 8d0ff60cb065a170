//! Names for writes, under which a strong keyspace does them once however often they are sent.
//!
//! Each name is the metadata `idempotency-key: "session"; seq=N`. A session has one write under way
//! at a time, so its newest number is always among those that the keyspace remembers, and a client
//! has no more sessions than it ever had writes under way together: they are used again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tonic::metadata::{Ascii, MetadataValue};

/// How many idle sessions are kept. A client that had more writes under way makes new ones.
const MOST_IDLE: usize = 1024;

/// The sessions of a client.
#[derive(Debug, Default)]
pub(crate) struct Names {
    idle: Mutex<Vec<Session>>,
    refused: AtomicBool,
}

/// A session: random, so that no two clients have the same, and the number of its next write.
#[derive(Debug)]
struct Session {
    id: u128,
    next: u64,
}

/// The name of one write. Its session can be used again when it is dropped.
#[derive(Debug)]
pub(crate) struct Name<'a> {
    names: &'a Names,
    session: Session,
    seq: u64,
}

impl Names {
    /// A name for a new write; none if the keyspace knows no names, or without a source of
    /// randomness.
    pub(crate) fn take(&self) -> Option<Name<'_>> {
        if self.are_refused() {
            return None;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = idle.or_else(Session::new)?;
        let seq = session.next;
        session.next = seq.checked_add(1)?;
        Some(Name { names: self, session, seq })
    }

    /// Notes that the keyspace knows no names: it is an eventual one, and stays one.
    pub(crate) fn note_refusal(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether the keyspace is known to know no names.
    pub(crate) fn are_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Session {
    fn new() -> Option<Session> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).ok()?;
        Some(Session { id: u128::from_le_bytes(id), next: 0 })
    }
}

impl Name<'_> {
    /// The name as it is sent.
    pub(crate) fn metadata(&self) -> Option<MetadataValue<Ascii>> {
        format!("\"{:032x}\"; seq={}", self.session.id, self.seq).parse().ok()
    }
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        let mut idle = self.names.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(Session { id: self.session.id, next: self.session.next });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_under_way_together_have_sessions_of_their_own_that_are_used_again() {
        let names = Names::default();
        let text = |name: &Name<'_>| name.metadata().unwrap().to_str().unwrap().to_owned();
        let (one, two) = (names.take().unwrap(), names.take().unwrap());
        assert_ne!(one.session.id, two.session.id);
        assert_eq!(text(&one), format!("\"{:032x}\"; seq=0", one.session.id));
        let first = one.session.id;
        drop(one);
        let again = names.take().unwrap();
        assert_eq!(text(&again), format!("\"{first:032x}\"; seq=1"));
    }

    #[test]
    fn a_keyspace_that_refuses_names_is_sent_none() {
        let names = Names::default();
        names.note_refusal();
        assert!(names.take().is_none());
    }
}
