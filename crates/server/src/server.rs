//! A running server: a node and its front ends, from the first log line to the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kvorum_core::Error;
use kvorum_node::{Incoming, Node, Options, Protocol, Serving, StartError, introduction_service};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::auth::Authenticator;
use crate::config::{Config, ConfigError};
use crate::data::Data;
use crate::files::{self, TooFewFiles};
use crate::grpc::{Grpc, GrpcError};
use crate::http::{self, Http};
use crate::listen::{self, ListenError};
use crate::telemetry::{self, Metrics, TelemetryError};

/// How long requests that are under way may take when the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How often the node is asked whether it serves, until it does.
const ASK: Duration = Duration::from_millis(20);

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Starting again will not help.
    #[error("{0}")]
    Refused(String),
    /// Something failed that may work next time.
    #[error("{0}")]
    Failed(String),
}

impl ServerError {
    /// The exit code of the process: 78 (`EX_CONFIG` of sysexits.h) if starting again will not
    /// help, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            ServerError::Refused(_) => 78,
            ServerError::Failed(_) => 1,
        }
    }
}

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The Redis protocol.
    pub resp: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// A running server. The runtime it was started on serves gRPC and HTTP; the node has a thread
/// of its own.
#[derive(Debug)]
pub struct Server {
    node: Node,
    data: Data,
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), ServerError>>,
}

/// Runs a server until the process is told to stop (SIGTERM or SIGINT) or something fails.
/// `announce` is called when the node serves.
///
/// # Errors
/// [`ServerError`] in one sentence.
pub async fn run(config: Config, announce: impl FnOnce(Endpoints)) -> Result<(), ServerError> {
    let mut server = Server::start(&config).await?;
    let (data, endpoints) = (server.data.clone(), server.endpoints);
    let ended = {
        let ended = server.ended();
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => ended,
            served = ready(&data) => match served {
                Ok(()) => {
                    announce(endpoints);
                    ended.await
                }
                Err(refused) => Err(refused),
            },
        }
    };
    server.stop().await;
    ended
}

impl Server {
    /// Starts logging, metrics, the node and its front ends. Ports are bound before the data is
    /// touched.
    ///
    /// # Errors
    /// [`ServerError`] in one sentence.
    pub async fn start(config: &Config) -> Result<Server, ServerError> {
        telemetry::start_logging(config);
        log_sources(config);
        let metrics = Metrics::of_process()?;
        let limit = files::connections_per_listener(config.max_connections())?;
        let grpc_listener = listen::bind(config.grpc_address(), "grpc_port").await?;
        let http_listener = listen::bind(config.http_address(), "http_port").await?;
        // The node binds these itself, on its own thread and with its data open; a busy one is
        // found here, before.
        drop(listen::bind(config.resp_address(), "resp_port").await?);
        drop(listen::bind(config.peer_address(), "peer_port").await?);
        drop(listen::bind_udp(config.gossip_address(), "gossip_port").await?);
        let endpoints = Endpoints {
            resp: config.resp_address(),
            grpc: config.grpc_address(),
            http: config.http_address(),
        };
        let resp = crate::resp::protocol(config.resp_address().port());
        let protocols: Vec<(SocketAddr, Box<dyn Protocol>)> =
            vec![(config.resp_address(), Box::new(resp))];
        let options = Options { max_connections: limit, ..config.node_options() };
        let node = Node::start(options, protocols).await?;
        let data = Data::new(Arc::new(node.clone()), config.compat_keyspace());
        let authenticator = Authenticator;
        let introduction = Routes::new(introduction_service(&node));
        let grpc = Grpc::new(&data, &authenticator, introduction)?;
        let http = Http::new(data.clone(), authenticator, metrics.clone());
        let served = data.clone();
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let stopped = told(stopping.clone());
        let grpc_listener = Incoming::new("grpc", grpc_listener, limit, b"");
        tasks.spawn(async move { Ok(grpc.serve(grpc_listener, served, stopped).await?) });
        let stopped = told(stopping.clone());
        let http_listener = Incoming::new("http", http_listener, limit, http::FULL);
        tasks.spawn(async move {
            http.serve(http_listener, stopped).await;
            Ok(())
        });
        tasks.spawn(async move {
            tokio::select! {
                never = metrics.upkeep() => match never {},
                () = told(stopping) => Ok(()),
            }
        });
        Ok(Server { node, data, endpoints, stop, tasks })
    }

    /// Where the server can be reached.
    #[must_use]
    pub const fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// Waits until the node serves.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if the cluster it serves lacks a keyspace that is configured.
    pub async fn ready(&self) -> Result<(), ServerError> {
        ready(&self.data).await
    }

    /// Waits until the process is told to stop, or a part of the server ends on its own.
    ///
    /// # Errors
    /// [`ServerError::Failed`] if a part failed.
    pub async fn ended(&mut self) -> Result<(), ServerError> {
        let failed = |error| ServerError::Failed(format!("signals cannot be received: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
            ended = self.node.ended() => ended?,
            Some(task) = self.tasks.join_next() => match task {
                Ok(ended) => ended?,
                Err(error) => return Err(ServerError::Failed(format!("a task failed: {error}"))),
            },
        }
        Ok(())
    }

    /// Stops: what this node leads is handed over, no new requests are taken, the last ones are
    /// answered, the log is synced.
    pub async fn stop(mut self) {
        self.node.leave().await;
        self.stop.send_replace(true);
        let last = async {
            while let Some(task) = self.tasks.join_next().await {
                if let Ok(Err(error)) = task {
                    tracing::warn!(%error, "while stopping");
                }
            }
        };
        if tokio::time::timeout(LAST_REQUESTS, last).await.is_err() {
            tracing::warn!("some requests were cut off");
            self.tasks.abort_all();
        }
        self.node.stop().await;
        tracing::info!("stopped");
    }
}

async fn ready(data: &Data) -> Result<(), ServerError> {
    let mut ticks = tokio::time::interval(ASK);
    while matches!(data.status().serving, Serving::No(_)) {
        ticks.tick().await;
    }
    let name = data.compat_keyspace();
    match data.keyspace(name) {
        Err(Error::NoKeyspace(_)) => Err(ServerError::Refused(format!(
            "compat_keyspace is {name:?}, which is no keyspace of this cluster"
        ))),
        _ => Ok(()),
    }
}

/// Resolves when the server is told to stop, or is gone.
async fn told(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    drop(stopping.wait_for(|stop| *stop).await);
}

fn log_sources(config: &Config) {
    for (setting, variable, value) in config.from_environment() {
        tracing::info!(setting, variable, value, "set by the environment");
    }
    for name in config.unknown_variables() {
        tracing::warn!(name, "this variable of the environment is no setting");
    }
}

impl From<StartError> for ServerError {
    fn from(error: StartError) -> ServerError {
        match error {
            StartError::Refused(text) => ServerError::Refused(text),
            StartError::Failed(text) => ServerError::Failed(text),
        }
    }
}

impl From<ConfigError> for ServerError {
    fn from(error: ConfigError) -> ServerError {
        ServerError::Refused(error.to_string())
    }
}

impl From<ListenError> for ServerError {
    fn from(error: ListenError) -> ServerError {
        ServerError::Refused(error.to_string())
    }
}

impl From<TooFewFiles> for ServerError {
    fn from(error: TooFewFiles) -> ServerError {
        ServerError::Refused(error.to_string())
    }
}

impl From<GrpcError> for ServerError {
    fn from(error: GrpcError) -> ServerError {
        ServerError::Failed(error.to_string())
    }
}

impl From<TelemetryError> for ServerError {
    fn from(error: TelemetryError) -> ServerError {
        ServerError::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests;
