//! The dialling side of the streams between nodes.

use std::rc::Rc;

use kvorum_core::NodeId;
use kvorum_proto::kvorum::peer::v1::Frame;
use kvorum_proto::kvorum::peer::v1::frame::Content;
use kvorum_proto::kvorum::peer::v1::peer_client::PeerClient;
use kvorum_shard::Class;
use tonic::transport::Endpoint;

use super::handshake::Handshake;
use super::outgoing::queue;
use super::{
    CONNECTION_WINDOW, HANDSHAKE_TIMEOUT, Half, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, Links,
    MESSAGE_BYTES, STREAM_WINDOW, Streams,
};

/// The URI of a host and port; an IPv6 address gets its brackets.
pub(crate) fn uri(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

/// Opens both streams to a peer and installs the connection.
///
/// # Errors
/// What went wrong, in words for the log.
pub(crate) async fn connect(
    links: &Rc<Links>,
    peer: NodeId,
    host: &str,
    port: u16,
) -> Result<(), String> {
    let connection = super::random()?;
    let both = async {
        tokio::try_join!(
            open(links, peer, uri(host, port), Class::Data, connection),
            open(links, peer, uri(host, port), Class::Bulk, connection),
        )
    };
    let both = tokio::time::timeout(HANDSHAKE_TIMEOUT, both).await;
    let ((heard, data), (bulk_heard, bulk)) =
        both.map_err(|_| format!("node {peer} did not answer in time"))??;
    if heard.process != bulk_heard.process {
        return Err(format!("two processes answer as node {peer}"));
    }
    links.admit(&heard)?;
    links.install(&heard, Streams { data, bulk });
    Ok(())
}

async fn open(
    links: &Links,
    peer: NodeId,
    uri: String,
    class: Class,
    connection: u64,
) -> Result<(Handshake, Half), String> {
    let endpoint = Endpoint::from_shared(uri).map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(HANDSHAKE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
    let mut client = PeerClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let (outgoing, frames) = queue();
    let hello = links.node().speak(peer, class, connection);
    outgoing.send(Content::Handshake(hello)).map_err(|error| error.to_string())?;
    let answer = client.frames(frames).await.map_err(|status| status.message().to_owned())?;
    let mut incoming = answer.into_inner();
    let first = incoming.message().await.map_err(|status| status.message().to_owned())?;
    let said = match first {
        Some(Frame { content: Some(Content::Handshake(said)) }) => said,
        Some(Frame { content: Some(Content::Refusal(reason)) }) => return Err(reason),
        _ => return Err(format!("node {peer} did not answer with a handshake")),
    };
    let heard = links.node().check(&said)?;
    if heard.from != peer || heard.class != class || heard.connection != connection {
        return Err(format!("node {} answered in the place of node {peer}", heard.from));
    }
    Ok((heard, Half { incoming, outgoing, channel: Some(channel) }))
}

/// An error with its causes: the outermost alone says only "transport error".
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
