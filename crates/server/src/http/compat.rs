//! The HTTP interfaces of the reference systems: text keys and values in the keyspace that was
//! configured for them, and errors in the shapes their programs know.

mod a3_store;
mod controller;
mod distributed_kv;
mod refusal;
mod worker;

use axum::http::StatusCode;
use bytes::Bytes;
use kvorum_core::{Error, Header, Identity};

use super::api::Api;
use super::app::App;
use super::problem::Problem;
use crate::data::Text;

pub fn routes(api: Api) -> Api {
    let systems = [a3_store::routes, distributed_kv::routes, controller::routes, worker::routes];
    systems.into_iter().fold(api, |api, system| system(api))
}

/// The value of a key as text.
async fn get_text(
    app: &App,
    identity: &Identity,
    key: Bytes,
) -> Result<Option<(Header, String)>, Problem> {
    match app.data().get_text(identity, key, None).await? {
        Text::Found(header, text) => Ok(Some((header, text))),
        Text::Missing => Ok(None),
        Text::Bytes => {
            let detail = "the value of this key is not UTF-8; read it under /v1/keyspaces";
            Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOTTEXT", detail))
        }
    }
}

fn invalid(text: &'static str) -> Problem {
    Error::invalid(text).into()
}

#[cfg(test)]
mod tests;
