//! Every node of a cluster, for commands that ask each of them.

use kvorum_client::{Client, Error, NodeInfo};

/// The nodes that the cluster of `client` has, each with a client of its own; nothing for a node
/// whose address nobody knows.
///
/// # Errors
/// If no node answers.
pub async fn each(client: &Client) -> Result<Vec<(NodeInfo, Option<Client>)>, Error> {
    let own_client = |node: NodeInfo| {
        let mut options = client.options().clone();
        options.endpoints = vec![node.grpc.clone()];
        options.retries_per_ten = 0;
        let own = Client::new(options).ok();
        (node, own)
    };
    Ok(client.nodes().await?.into_iter().map(own_client).collect())
}
