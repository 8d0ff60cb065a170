//! Accepts the connections of the registered protocols.

use std::rc::Rc;

use crate::Protocol;
use crate::connections::Connections;
use crate::incoming::Incoming;

/// Accepts connections for ever.
pub(crate) async fn accept(
    mut incoming: Incoming,
    mut protocol: Box<dyn Protocol>,
    connections: Rc<Connections>,
) {
    loop {
        let (connection, client) = incoming.accept().await;
        let session = protocol.open(client);
        let connections = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            let (stream, _place) = connection.into_parts();
            connections.serve(stream, session).await;
        });
    }
}
