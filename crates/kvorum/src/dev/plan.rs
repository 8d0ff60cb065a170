//! Everything about a local cluster that is decided, and checked, before its first node starts.

use std::ffi::OsString;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use super::Options;
use super::holder::holder_of;
use super::ports::{self, Busy, NodePorts, loopback};
use super::process::NodePlan;
use crate::discovery::{Claim, LocalCluster, LocalNode, PortReservation};
use crate::exit::Refused;

/// A cluster that is about to run.
#[derive(Debug)]
pub struct Plan {
    /// Its nodes, by id.
    pub nodes: Vec<NodePlan>,
    /// How other commands find it.
    pub cluster: LocalCluster,
    /// Where the nodes' logs are.
    pub log_dir: PathBuf,
    /// Its data directory is ours.
    pub claim: Claim,
    // Kept until the cluster has stopped; dropped (and the directory deleted) after the claim.
    _ports: PortReservation,
    _temporary: Option<TempDir>,
}

impl Plan {
    /// Decides ports and directories.
    ///
    /// # Errors
    /// [`Refused`] in one sentence: busy ports, a data directory in use or of another cluster.
    pub fn new(options: &Options) -> anyhow::Result<Plan> {
        let temporary = options.ephemeral.then(temporary_dir).transpose()?;
        let data_dir = temporary.as_ref().map_or(options.data_dir.as_path(), TempDir::path);
        let claim = Claim::take(data_dir).map_err(|error| Refused::because(error.to_string()))?;
        let data_dir = claim.data_dir().to_owned();
        check_node_count(&data_dir, options.nodes)?;
        // After the claim: a cluster that runs there already is named as such, not by its ports.
        let (offset, reservation) = choose_offset(options)?;
        claim.make_newest().context("cannot note where the cluster is")?;
        let log_dir = data_dir.join("logs");
        let ports: Vec<(u32, NodePorts)> = (1..=options.nodes)
            .map(|id| Ok((id, NodePorts::of(id, offset)?)))
            .collect::<Result<_, ports::OffsetTooLarge>>()?;
        let nodes = plan_nodes(&ports, &data_dir, &log_dir, &options.server_flags)?;
        let cluster = LocalCluster {
            supervisor: std::process::id(),
            data_dir,
            base_port_offset: offset,
            nodes: ports.iter().map(|&(id, ports)| local_node(id, ports)).collect(),
        };
        Ok(Plan { nodes, cluster, log_dir, claim, _ports: reservation, _temporary: temporary })
    }
}

fn temporary_dir() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("kvorum-dev-")
        .tempdir()
        .context("cannot create a temporary directory")
}

/// The offset whose ports are free, and the right to use them.
fn choose_offset(options: &Options) -> anyhow::Result<(u16, PortReservation)> {
    let first = options.base_port_offset;
    let attempt = try_offset(options.nodes, first)?;
    let busy = match attempt {
        Attempt::Free(reservation) => return Ok((first, reservation)),
        Attempt::Busy(busy) => busy,
        Attempt::Reserved => Vec::new(),
    };
    if options.auto_ports {
        for offset in ports::candidate_offsets(options.nodes, first).skip(1) {
            if let Attempt::Free(reservation) = try_offset(options.nodes, offset)? {
                return Ok((offset, reservation));
            }
        }
    }
    Err(Refused::because(busy_ports_text(&busy)).into())
}

enum Attempt {
    Free(PortReservation),
    Busy(Vec<Busy>),
    /// By another `kvorum dev`, whose nodes have not bound them yet.
    Reserved,
}

fn try_offset(nodes: u32, offset: u16) -> anyhow::Result<Attempt> {
    let busy =
        ports::busy(nodes, offset, is_free).map_err(|error| Refused::because(error.to_string()))?;
    if !busy.is_empty() {
        return Ok(Attempt::Busy(busy));
    }
    let reservation = PortReservation::take(nodes, offset).context("cannot reserve ports")?;
    Ok(reservation.map_or(Attempt::Reserved, Attempt::Free))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok() && UdpSocket::bind(loopback(port)).is_ok()
}

fn busy_ports_text(busy: &[Busy]) -> String {
    let name = |busy: &Busy| match holder_of(busy.port) {
        Some(holder) => format!("{busy} is held by {holder}"),
        None => format!("{busy} is in use"),
    };
    let mut texts: Vec<String> = busy.iter().take(3).map(name).collect();
    if busy.len() > texts.len() {
        texts.push(format!("{} more are busy", busy.len() - texts.len()));
    }
    if texts.is_empty() {
        texts.push("another kvorum dev is about to use these ports".to_owned());
    }
    format!("{}; use --auto-ports, or --base-port-offset to move all ports", texts.join(", "))
}

/// The number of nodes is part of a cluster's data: fewer or more would be another cluster.
fn check_node_count(data_dir: &Path, nodes: u32) -> Result<(), Refused> {
    let present = (1..).take_while(|id| node_dir(data_dir, *id).exists()).count();
    if present == 0 || u32::try_from(present) == Ok(nodes) {
        return Ok(());
    }
    Err(Refused::because(format!(
        "{} holds the data of a cluster of {present} nodes; use --nodes {present} or another \
         --data-dir",
        data_dir.display()
    )))
}

fn node_dir(data_dir: &Path, id: u32) -> PathBuf {
    data_dir.join(format!("node{id}"))
}

fn local_node(id: u32, ports: NodePorts) -> LocalNode {
    LocalNode {
        id,
        pid: None,
        resp: loopback(ports.resp).to_string(),
        grpc: loopback(ports.grpc).to_string(),
        http: loopback(ports.http).to_string(),
    }
}

fn plan_nodes(
    ports: &[(u32, NodePorts)],
    data_dir: &Path,
    log_dir: &Path,
    server_flags: &[OsString],
) -> anyhow::Result<Vec<NodePlan>> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    fs::create_dir_all(log_dir).with_context(|| format!("cannot create {}", log_dir.display()))?;
    let peers: Vec<String> =
        ports.iter().map(|(id, ports)| format!("{id}={}", loopback(ports.grpc))).collect();
    let plan = |&(id, ports): &(u32, NodePorts)| {
        let log = log_dir.join(format!("node{id}.log"));
        // The log of the run before is kept beside it; there is none the first time.
        let _ = fs::rename(&log, log.with_extension("log.1"));
        let mut arguments = server_arguments(id, ports, &peers, &node_dir(data_dir, id));
        arguments.extend(server_flags.iter().cloned());
        NodePlan {
            id,
            program: program.clone(),
            arguments,
            log,
            http: loopback(ports.http).to_string(),
        }
    };
    Ok(ports.iter().map(plan).collect())
}

/// The flags of `kvorum server` for one node. Flags win over the environment, so that what the
/// user has exported for other systems does not get in here.
fn server_arguments(id: u32, ports: NodePorts, peers: &[String], data_dir: &Path) -> Vec<OsString> {
    let settings: [(&str, OsString); 10] = [
        ("--die-with-parent", std::process::id().to_string().into()),
        ("--node-num", id.to_string().into()),
        ("--peers", peers.join(",").into()),
        ("--data-dir", data_dir.into()),
        ("--resp-port", ports.resp.to_string().into()),
        ("--grpc-port", ports.grpc.to_string().into()),
        ("--http-port", ports.http.to_string().into()),
        ("--peer-port", ports.peer.to_string().into()),
        ("--gossip-port", ports.http.to_string().into()),
        ("--total-nodes", peers.len().to_string().into()),
    ];
    let mut arguments: Vec<OsString> = vec!["server".into(), "--showcase".into()];
    for (flag, value) in settings {
        arguments.extend([flag.into(), value]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_its_holder_and_the_remedy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = busy_ports_text(&[Busy { node: 2, purpose: "resp", port }]);
        let expected = format!("port {port} (resp of node 2) is held by ");
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert!(text.contains("--base-port-offset"), "{text}");
    }

    #[test]
    fn only_a_few_busy_ports_are_named() {
        let busy: Vec<Busy> = (1..=5).map(|node| Busy { node, purpose: "grpc", port: 1 }).collect();
        assert!(busy_ports_text(&busy).contains("2 more are busy"));
    }

    #[test]
    fn the_data_of_a_cluster_of_another_size_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check_node_count(directory.path(), 5).is_ok());
        for id in 1..=3 {
            fs::create_dir(node_dir(directory.path(), id)).unwrap();
        }
        assert!(check_node_count(directory.path(), 3).is_ok());
        let refusal = check_node_count(directory.path(), 5).unwrap_err().to_string();
        assert!(refusal.contains("--nodes 3"), "{refusal}");
    }
}
