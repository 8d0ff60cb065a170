//! Accepts the connections of the registered protocols.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::Protocol;
use crate::connections::Connections;

/// How many client connections may be open; redis-server has the same default.
const MAX_CONNECTIONS: usize = 10_000;
/// How long to wait when accepting fails (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever.
pub(crate) async fn accept(
    listener: TcpListener,
    mut protocol: Box<dyn Protocol>,
    connections: Rc<Connections>,
) {
    let open = metrics::gauge!("kvorum_connections", "protocol" => protocol.name());
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(protocol = protocol.name(), %error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if connections.len() >= MAX_CONNECTIONS {
            tracing::warn!(%client, "refused: {MAX_CONNECTIONS} connections are open");
            continue;
        }
        // Without it small answers would wait for the client's acknowledgements.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let session = protocol.open(client);
        let connections = Rc::clone(&connections);
        let open = open.clone();
        tokio::task::spawn_local(async move {
            open.increment(1.0);
            connections.serve(stream, session).await;
            open.decrement(1.0);
        });
    }
}
