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
mod text;
mod uri;

use std::future::Future;
use std::io;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::auth::Authenticator;
use crate::data::Data;
use crate::telemetry::Metrics;

use api::Api;
use app::App;

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
    ///
    /// # Errors
    /// What the listener says when it fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        // Answers are written whole: waiting for more to send would only delay them. A socket
        // that does not know the option is slower and nothing else.
        let prompt = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(prompt, self.router).with_graceful_shutdown(stop).await
    }
}

fn every_route() -> Api {
    let sections = [
        keys::routes,
        list::routes,
        batch::routes,
        cluster::routes,
        health::routes,
        compat::routes,
    ];
    sections.into_iter().fold(Api::new(), |api, section| section(api))
}

#[cfg(test)]
mod tests;
