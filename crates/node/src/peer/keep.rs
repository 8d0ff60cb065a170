//! Keeps a peer introduced and connected: one task per entry of the peer list.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kvorum_core::NodeId;
use tokio::time::timeout;

use super::Links;
use super::dial::connect;
use super::introduction::{Announcement, introduce};
use crate::PeerAddress;
use crate::founding::{Founding, Met};
use crate::turn::inbox::{Arrival, Inbox};

/// The pauses between attempts: doubling from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// While this node does not serve yet, pauses stay short.
const EAGER_PAUSE: Duration = Duration::from_millis(500);

/// Keeps one peer introduced and connected.
pub(crate) struct Keeper {
    /// The place of the peer in the list of peers.
    pub(crate) place: usize,
    pub(crate) address: PeerAddress,
    /// What this node says of itself, but for its founding state.
    pub(crate) ourselves: Announcement,
    pub(crate) founding: Rc<RefCell<Founding>>,
    pub(crate) links: Rc<Links>,
    pub(crate) inbox: Rc<Inbox>,
}

impl Keeper {
    /// Introduces this node until both serve, dials the peer if that is this node's part, and
    /// starts over when the connection is lost. Ends only if the peer is this node itself.
    pub(crate) async fn run(self) {
        let mut pause = Pause::new();
        let mut peer = self.address.id;
        let mut complaint = String::new();
        loop {
            let connected = peer.is_some_and(|id| self.links.is_up(id));
            if connected {
                pause = Pause::new();
                complaint.clear();
            } else {
                match self.attempt().await {
                    Ok(Met::Peer(id, _) | Met::Stranger(id)) => peer = Some(id),
                    Ok(Met::Myself) => return,
                    Err(reason) if reason == complaint => {}
                    Err(reason) => {
                        let PeerAddress { host, port, .. } = &self.address;
                        tracing::warn!("[GOSSIP] no connection to {host}:{port}: {reason}");
                        complaint = reason;
                    }
                }
            }
            let knock = peer.and_then(|id| self.links.knocker(id));
            let wait = pause.next(self.links.is_open());
            match knock {
                // The loss of the connection ends the wait.
                Some(knock) if connected => knock.notified().await,
                // News of the peer end the pause.
                Some(knock) => {
                    if timeout(wait, knock.notified()).await.is_ok() {
                        pause = Pause::new();
                    }
                }
                None => tokio::time::sleep(wait).await,
            }
        }
    }

    async fn attempt(&self) -> Result<Met, String> {
        let body = self.founding.borrow().hello(self.place);
        let ours = Announcement { body, ..self.ourselves.clone() };
        let answer = introduce(&self.address, ours).await?;
        let now = self.links.mono();
        let met = self.founding.borrow_mut().answered(self.place, &answer, now);
        self.inbox.push(Arrival::News);
        if let Ok(Met::Peer(id, process)) = met {
            self.links.introduced(id, process);
            // The node with the lower id dials, so that there is one connection; the other one
            // has knocked by its introduction.
            if self.links.node().me < id && self.links.is_open() && !self.links.is_up(id) {
                self.dial(id, answer.advertised.peer_port).await?;
            }
        }
        met
    }

    async fn dial(&self, id: NodeId, port: u16) -> Result<(), String> {
        connect(&self.links, id, &self.address.host, port).await
    }
}

/// Pauses that double, each drawn at random from its second half so that nodes do not march in
/// step.
struct Pause {
    next: Duration,
}

impl Pause {
    const fn new() -> Pause {
        Pause { next: PAUSES.0 }
    }

    fn next(&mut self, open: bool) -> Duration {
        let longest = if open { PAUSES.1 } else { EAGER_PAUSE };
        let full = self.next.min(longest);
        self.next = (full * 2).min(PAUSES.1);
        let half = full / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        // Without randomness the pauses are merely regular.
        half + Duration::from_micros(super::random().map_or(0, |number| number % micros))
    }
}
