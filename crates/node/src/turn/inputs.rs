//! Brings what other threads say into the inbox.

use std::rc::Rc;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::MissedTickBehavior;

use super::inbox::{Arrival, Inbox};
use super::{Signal, TICK};
use crate::handle::Command;

/// How many commands are taken at once.
const AT_ONCE: usize = 256;

/// Brings the commands of the handles until the last handle is gone.
pub(crate) async fn commands(mut commands: Receiver<Command>, inbox: Rc<Inbox>) {
    let mut taken = Vec::with_capacity(AT_ONCE);
    loop {
        inbox.room().await;
        if commands.recv_many(&mut taken, AT_ONCE).await == 0 {
            return;
        }
        for command in taken.drain(..) {
            inbox.push(match command {
                Command::Run { requests, bytes, answer } => {
                    Arrival::Batch { requests, bytes, answer }
                }
                Command::Greet { announcement, answer } => {
                    Arrival::Greeted { announcement, answer }
                }
                Command::Repair { with, answer } => Arrival::Repair { with, answer },
                Command::Leave { answer } => Arrival::Leave { answer },
                Command::Stop => Arrival::Stop,
            });
        }
    }
}

/// Brings the signals of this node's threads.
pub(crate) async fn signals(mut signals: UnboundedReceiver<Signal>, inbox: Rc<Inbox>) {
    while let Some(signal) = signals.recv().await {
        inbox.push(match signal {
            Signal::Synced(done) => Arrival::Synced(done),
            Signal::Worked(done) => Arrival::Worked(done),
        });
    }
}

/// Says regularly that time passes.
pub(crate) async fn ticks(inbox: Rc<Inbox>) {
    let mut interval = tokio::time::interval(TICK);
    // After a pause of the process one tick says it all.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        inbox.push(Arrival::Tick);
    }
}
