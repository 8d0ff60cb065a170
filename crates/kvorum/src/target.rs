//! Which cluster a command talks to, and how.

use std::time::Duration;

use clap::Args;
use kvorum_client::{Client, Consistency};
use tokio::runtime::Runtime;

use crate::dev::ports::{NodePorts, loopback};
use crate::discovery::{self, LocalNode};
use crate::duration;
use crate::exit::WrongUsage;
use crate::output::Format;

/// Options of every command that talks to a cluster.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Address of a node (host:port), several separated by commas: gRPC, except for a bench over
    /// resp. Without it: the cluster that `kvorum dev` runs, else this machine's default port.
    #[arg(
        long,
        env = "KVORUM_ENDPOINT",
        hide_env_values = true,
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    endpoint: Vec<String>,
    /// Ask this node of the cluster that `kvorum dev` runs.
    #[arg(long, value_name = "ID", conflicts_with = "endpoint")]
    node: Option<u32>,
    /// How long a request may take.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Duration,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Options of every command that reads or writes data.
#[derive(Args, Clone, Debug)]
pub struct Scope {
    /// The keyspace.
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    pub keyspace: String,
    /// What an answer promises: for reads of strong keyspaces lease, safe, follower or
    /// stale:MILLISECONDS; in eventual keyspaces one, quorum or all. Without it: the keyspace's
    /// default.
    #[arg(long, short, value_name = "LEVEL")]
    pub consistency: Option<Consistency>,
}

/// Which data of which cluster a command reads or writes.
#[derive(Args, Clone, Debug)]
pub struct Access {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

impl Access {
    /// A client, and the runtime it lives in.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub fn connect(&self) -> anyhow::Result<(Client, Runtime)> {
        let mut options = self.target.client_options()?;
        options.keyspace.clone_from(&self.scope.keyspace);
        options.consistency = self.scope.consistency;
        connect(options)
    }

    /// The form of the output.
    #[must_use]
    pub const fn output(&self) -> Format {
        self.target.output
    }
}

impl Target {
    /// A client, and the runtime it lives in.
    ///
    /// # Errors
    /// [`WrongUsage`] if the node is unknown or the options make no sense.
    pub fn connect(&self) -> anyhow::Result<(Client, Runtime)> {
        connect(self.client_options()?)
    }

    fn client_options(&self) -> Result<kvorum_client::Options, WrongUsage> {
        let mut options = kvorum_client::Options::new(self.addresses(false)?);
        options.timeout = self.timeout;
        Ok(options)
    }

    /// The addresses to talk to: gRPC, or RESP.
    ///
    /// # Errors
    /// [`WrongUsage`] if a node is named that does not exist.
    pub fn addresses(&self, resp: bool) -> Result<Vec<String>, WrongUsage> {
        if !self.endpoint.is_empty() {
            return Ok(self.endpoint.clone());
        }
        choose(discovery::find().map(|cluster| cluster.nodes), self.node, resp)
    }
}

fn connect(options: kvorum_client::Options) -> anyhow::Result<(Client, Runtime)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = {
        let _guard = runtime.enter();
        Client::new(options).map_err(|error| WrongUsage(error.to_string()))?
    };
    Ok((client, runtime))
}

/// The addresses in a local cluster: of one node, or of all; a default where there is no cluster.
fn choose(
    nodes: Option<Vec<LocalNode>>,
    id: Option<u32>,
    resp: bool,
) -> Result<Vec<String>, WrongUsage> {
    let address = |node: LocalNode| if resp { node.resp } else { node.grpc };
    let NodePorts { resp: resp_port, grpc: grpc_port, .. } = NodePorts::BASE;
    match (nodes, id) {
        (None, None) => Ok(vec![loopback(if resp { resp_port } else { grpc_port }).to_string()]),
        (None, Some(_)) => {
            let text = "--node needs a cluster run by kvorum dev; use --endpoint for others";
            Err(WrongUsage(text.to_owned()))
        }
        (Some(nodes), None) => Ok(nodes.into_iter().map(address).collect()),
        (Some(nodes), Some(id)) => {
            let count = nodes.len();
            let node = nodes.into_iter().find(|node| node.id == id);
            let node = node.ok_or_else(|| WrongUsage(format!("the nodes are 1 to {count}")))?;
            Ok(vec![address(node)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Option<Vec<LocalNode>> {
        let node = |id: u32| LocalNode {
            id,
            pid: None,
            resp: format!("resp{id}"),
            grpc: format!("grpc{id}"),
            http: format!("http{id}"),
        };
        Some(vec![node(1), node(2)])
    }

    #[test]
    fn commands_find_the_local_cluster_or_the_default_port() {
        assert_eq!(choose(nodes(), None, false).unwrap(), ["grpc1", "grpc2"]);
        assert_eq!(choose(nodes(), Some(2), true).unwrap(), ["resp2"]);
        assert_eq!(choose(None, None, false).unwrap(), ["127.0.0.1:50051"]);
        assert_eq!(choose(None, None, true).unwrap(), ["127.0.0.1:6379"]);
    }

    #[test]
    fn a_node_that_does_not_exist_is_wrong_usage() {
        assert!(choose(nodes(), Some(3), false).unwrap_err().to_string().contains("1 to 2"));
        assert!(choose(None, Some(1), false).is_err());
    }
}
