//! The HTTP interfaces of the reference systems: text keys and values in the keyspace that was
//! configured for them, and errors in the shapes their programs know.

mod a3_store;
mod controller;
mod distributed_kv;
mod refusal;
mod worker;

use bytes::Bytes;
use kvorum_core::{Error, Expiry, Identity, Item, Op, Want};
use kvorum_node::NodeStatus;

use super::api::Api;
use super::app::App;
use super::problem::Problem;
use crate::data::{Call, Lookup, Written};

pub fn routes(api: Api) -> Api {
    let systems = [a3_store::routes, distributed_kv::routes, controller::routes, worker::routes];
    systems.into_iter().fold(api, |api, system| system(api))
}

/// The value of a key as text.
async fn get_text(
    app: &App,
    identity: &Identity,
    key: Bytes,
) -> Result<Option<(Item, String)>, Problem> {
    let op = Op::Get { key, want: Want::Value };
    let call = Call::new(app.data().compat_keyspace(), op);
    match app.data().run(identity, call).await?.try_into()? {
        Lookup::Missing(_) => Ok(None),
        Lookup::Found(item) => {
            let text = String::from_utf8(item.value.to_vec()).map_err(|_| not_text())?;
            Ok(Some((item, text)))
        }
    }
}

/// Stores a text; the tag is a client's own version of it.
async fn put_text(
    app: &App,
    identity: &Identity,
    key: Bytes,
    value: String,
    tag: u32,
) -> Result<Written, Problem> {
    let op = Op::Put { key, value: value.into(), expiry: Expiry::Never, tag };
    let call = Call::new(app.data().compat_keyspace(), op);
    Ok(app.data().run(identity, call).await?.try_into()?)
}

/// Another interface may have stored bytes that are no text.
fn not_text() -> Problem {
    let detail = "the value of this key is not UTF-8; read it under /v1/keyspaces";
    Problem::new(axum::http::StatusCode::NOT_ACCEPTABLE, "NOTTEXT", detail)
}

fn invalid(text: &'static str) -> Problem {
    Error::invalid(text).into()
}

/// Host and gRPC port of a node.
fn grpc_address(node: &NodeStatus) -> String {
    format!("{}:{}", node.advertised.host, node.advertised.grpc_port)
}

/// The address of a node's HTTP interface.
fn http_address(node: &NodeStatus) -> String {
    format!("http://{}:{}", node.advertised.host, node.advertised.http_port)
}

#[cfg(test)]
mod tests;
