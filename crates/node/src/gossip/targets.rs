//! Where the datagrams to each node go.
//!
//! A node that is alive is answered where its last datagram came from. One that is not is looked
//! for where it says it is, by its host name if it has one, which may lead elsewhere than before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kvorum_core::{Mono, NodeId};
use tokio::task::spawn_local;

use crate::Advertised;

/// How often the host name of a node that is not alive is looked up.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

/// Where the datagrams go, by node.
pub(super) struct Targets {
    /// The family of the addresses that the socket can send to.
    ipv6: bool,
    targets: RefCell<BTreeMap<NodeId, Target>>,
}

#[derive(Default)]
struct Target {
    host: String,
    port: u16,
    /// What the host stands for.
    resolved: Option<SocketAddr>,
    looked_up: Mono,
    /// Where its last datagram came from.
    learned: Option<SocketAddr>,
}

impl Targets {
    pub(super) fn new(ipv6: bool) -> Targets {
        Targets { ipv6, targets: RefCell::default() }
    }

    /// Where a node is to be found, if anything is known.
    pub(super) fn of(&self, node: NodeId, alive: bool) -> Option<SocketAddr> {
        let targets = self.targets.borrow();
        let target = targets.get(&node)?;
        let (first, second) = match alive {
            true => (target.learned, target.resolved),
            false => (target.resolved, target.learned),
        };
        first.or(second)
    }

    /// A datagram of a node came from here.
    pub(super) fn learn(&self, node: NodeId, source: SocketAddr) {
        self.targets.borrow_mut().entry(node).or_default().learned = Some(source);
    }

    /// Takes note of where a node says it is, and looks its host up if that is new, or if the node
    /// was lost and may have moved.
    pub(super) fn look(this: &Rc<Targets>, node: NodeId, said: &Advertised, lost: bool, now: Mono) {
        // Before gossip had a port of its own it was not told.
        let port = if said.gossip_port == 0 { said.http_port } else { said.gossip_port };
        if said.host.is_empty() || port == 0 {
            return;
        }
        {
            let mut targets = this.targets.borrow_mut();
            let target = targets.entry(node).or_default();
            let moved = (target.host.as_str(), target.port) != (said.host.as_str(), port);
            let stale = lost && now.since(target.looked_up) >= LOOK_UP_AGAIN;
            if !moved && !stale {
                return;
            }
            (target.host, target.port) = (said.host.clone(), port);
            target.looked_up = now;
            if let Ok(address) = said.host.parse::<IpAddr>() {
                target.resolved = Some(SocketAddr::new(address, port));
                return;
            }
        }
        let (this, host) = (Rc::clone(this), said.host.clone());
        spawn_local(async move { this.look_up(node, host, port).await });
    }

    async fn look_up(&self, node: NodeId, host: String, port: u16) {
        match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(mut found) => {
                let found = found.find(|address| address.is_ipv6() == self.ipv6);
                if let Some(target) = self.targets.borrow_mut().get_mut(&node)
                    && target.host == host
                {
                    target.resolved = found.or(target.resolved);
                }
            }
            Err(error) => tracing::debug!("[GOSSIP] the host {host} cannot be found: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(host: &str, gossip_port: u16) -> Advertised {
        Advertised { host: host.to_owned(), http_port: 80, gossip_port, ..Advertised::default() }
    }

    #[test]
    fn a_node_is_answered_where_it_speaks_from_and_sought_where_it_says_it_is() {
        let targets = Rc::new(Targets::new(false));
        let node = NodeId::new(2).unwrap();
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        assert_eq!(targets.of(node, false), None);
        Targets::look(&targets, node, &said("", 1), false, Mono(1));
        assert_eq!(targets.of(node, false), None);
        Targets::look(&targets, node, &said("10.0.0.1", 0), false, Mono(1));
        assert_eq!(targets.of(node, true), address("10.0.0.1:80"));
        targets.learn(node, "10.9.9.9:7".parse().unwrap());
        assert_eq!(targets.of(node, true), address("10.9.9.9:7"));
        assert_eq!(targets.of(node, false), address("10.0.0.1:80"));
        Targets::look(&targets, node, &said("10.0.0.2", 81), false, Mono(2));
        assert_eq!(targets.of(node, false), address("10.0.0.2:81"));
    }
}
