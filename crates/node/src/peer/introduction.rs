//! Introductions between nodes: the Hello of the gRPC port.
//!
//! A list of gRPC addresses is all a node is given; Hello tells who answers there, where its
//! streams arrive, and what it remembers of the asking node.

use std::time::Duration;

use bytes::Bytes;
use kvorum_proto::kvorum::peer::v1 as wire;
use prost::Message;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use wire::introduction_client::IntroductionClient;
use wire::introduction_server::{Introduction, IntroductionServer};

use super::dial::{describe, uri};
use crate::{Advertised, Node, PeerAddress};

/// How long an introduction may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Its name.
    pub(crate) name: String,
    /// Where it can be reached.
    pub(crate) advertised: Advertised,
    /// Who it is, and what it knows of its cluster (`kvorum_cluster::founding::Greeting`).
    pub(crate) body: Bytes,
}

/// The service that other nodes introduce themselves to, to be mounted on the gRPC port.
#[must_use]
pub fn introduction_service(node: &Node) -> IntroductionServer<IntroductionService> {
    IntroductionServer::new(IntroductionService { node: node.clone() })
}

/// Answers introductions on behalf of a node.
#[derive(Debug)]
pub struct IntroductionService {
    node: Node,
}

#[tonic::async_trait]
impl Introduction for IntroductionService {
    async fn hello(
        &self,
        request: Request<wire::Announcement>,
    ) -> Result<Response<wire::Announcement>, Status> {
        let said = Announcement::try_from(request.into_inner());
        let said = said.map_err(Status::invalid_argument)?;
        let answer = self.node.greet(said).await.map_err(Status::unavailable)?;
        Ok(Response::new(answer.into()))
    }
}

/// Introduces this node to a peer.
///
/// # Errors
/// What went wrong, in words for the log.
pub(crate) async fn introduce(
    to: &PeerAddress,
    ours: Announcement,
) -> Result<Announcement, String> {
    match tokio::time::timeout(TIMEOUT, attempt(to, ours)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{}:{} did not answer in time", to.host, to.port)),
    }
}

async fn attempt(to: &PeerAddress, ours: Announcement) -> Result<Announcement, String> {
    let endpoint = Endpoint::from_shared(uri(&to.host, to.port));
    let endpoint = endpoint.map_err(|error| describe(&error))?.connect_timeout(TIMEOUT);
    let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
    let answer = IntroductionClient::new(channel).hello(wire::Announcement::from(ours)).await;
    let said = answer.map_err(|status| status.message().to_owned())?.into_inner();
    Announcement::try_from(said).map_err(str::to_owned)
}

impl Announcement {
    /// The bytes to be remembered, as they travel.
    pub(crate) fn encode(self) -> Bytes {
        wire::Announcement::from(self).encode_to_vec().into()
    }

    /// Reads [`Announcement::encode`].
    ///
    /// # Errors
    /// Why the bytes are no announcement, in words for the log.
    pub(crate) fn decode(bytes: Bytes) -> Result<Announcement, String> {
        let said = wire::Announcement::decode(bytes).map_err(|error| error.to_string())?;
        Announcement::try_from(said).map_err(str::to_owned)
    }
}

impl From<Announcement> for wire::Announcement {
    fn from(ours: Announcement) -> wire::Announcement {
        let Announcement { name, advertised, body } = ours;
        wire::Announcement {
            body,
            name,
            host: advertised.host,
            resp_port: advertised.resp_port.into(),
            grpc_port: advertised.grpc_port.into(),
            http_port: advertised.http_port.into(),
            peer_port: advertised.peer_port.into(),
            gossip_port: advertised.gossip_port.into(),
        }
    }
}

impl TryFrom<wire::Announcement> for Announcement {
    type Error = &'static str;

    fn try_from(said: wire::Announcement) -> Result<Announcement, &'static str> {
        let port = |number| u16::try_from(number).map_err(|_| "a port is above 65535");
        Ok(Announcement {
            name: said.name,
            advertised: Advertised {
                host: said.host,
                resp_port: port(said.resp_port)?,
                grpc_port: port(said.grpc_port)?,
                http_port: port(said.http_port)?,
                peer_port: port(said.peer_port)?,
                gossip_port: port(said.gossip_port)?,
            },
            body: said.body,
        })
    }
}
