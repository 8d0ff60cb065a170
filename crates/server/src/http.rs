//! The HTTP front end: REST, health, metrics, and the interfaces of the reference systems.
//!
//! Handlers translate and nothing else. Routes and the OpenAPI document come from the same calls
//! of [`api::Api`], so that neither can lack what the other has.

mod api;
mod app;
mod batch;
mod cluster;
mod compat;
mod health;
mod keys;
mod list;
mod measure;
mod payload;
mod problem;
mod repair;
mod text;
mod uri;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use kvorum_node::Incoming;

use crate::auth::Authenticator;
use crate::data::Data;
use crate::telemetry::Metrics;

use api::Api;
use app::App;

/// How long a client may take to send the head of a request, or to begin the next one: a client
/// that sends byte by byte does not keep its connection for ever.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// What a client is told that connects when too many are connected.
pub const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: \
                          close\r\ncontent-length: 0\r\n\r\n";

/// The front end, ready to be served.
#[derive(Debug)]
pub struct Http {
    router: Router,
}

impl Http {
    /// Builds the front end over `data`.
    #[must_use]
    pub fn new(data: Data, authenticator: Authenticator, metrics: Metrics) -> Http {
        let (router, document) = every_route().finish();
        let router = router
            .fallback(problem::unknown_path)
            .method_not_allowed_fallback(problem::wrong_method)
            .layer(axum::middleware::from_fn(measure::measure))
            .with_state(App::new(data, authenticator, metrics, document));
        Http { router }
    }

    /// Serves until `stop` resolves, then finishes the requests that are under way.
    pub async fn serve(self, mut incoming: Incoming, stop: impl Future<Output = ()>) {
        let mut connections = http1::Builder::new();
        connections.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
        let service = TowerToHyperService::new(self.router);
        let ending = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let stream = tokio::select! {
                (connection, _) = incoming.accept() => TokioIo::new(connection),
                () = &mut stop => break,
            };
            let served = ending.watch(connections.serve_connection(stream, service.clone()));
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::debug!(%error, "an HTTP connection ended");
                }
            });
        }
        drop(incoming);
        ending.shutdown().await;
    }
}

fn every_route() -> Api {
    let sections = [
        keys::routes,
        list::routes,
        batch::routes,
        cluster::routes,
        repair::routes,
        health::routes,
        compat::routes,
    ];
    sections.into_iter().fold(Api::new(), |api, section| section(api))
}

#[cfg(test)]
mod tests;
