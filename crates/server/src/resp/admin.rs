//! CONFIG, TIME and the commands of cluster mode.

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::glob;

/// `TIME`: the wall clock of this node, in milliseconds' precision.
pub(super) fn time(call: &mut Call<'_, '_>) -> Handled {
    let wall_ms = call.calls.now().wall_ms;
    call.reply.array(2);
    call.reply.bulk((wall_ms / 1000).to_string().as_bytes());
    call.reply.bulk((wall_ms % 1000 * 1000).to_string().as_bytes());
    Ok(Step::Replied)
}

/// The commands of cluster mode, on a listener that forwards every key.
pub(super) fn cluster_disabled(_: &mut Call<'_, '_>) -> Handled {
    Err(ErrorReply::err("This instance has cluster support disabled"))
}

/// What `CONFIG GET` tells: the settings of redis-server that clients ask for, with the values
/// that describe this server.
fn parameters(call: &Call<'_, '_>) -> [(&'static str, String); 12] {
    let databases = call.calls.node().layout().map_or(1, |layout| layout.keyspaces().len());
    [
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("cluster-enabled", "no".to_owned()),
        ("databases", databases.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("notify-keyspace-events", String::new()),
        ("port", call.server.port.to_string()),
        ("proto-max-bulk-len", call.max_value.to_string()),
        ("requirepass", String::new()),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ]
}

/// `CONFIG GET pattern [pattern …]`
pub(super) fn config_get(call: &mut Call<'_, '_>) -> Handled {
    let mut found = Vec::from(parameters(call));
    let wanted = |name: &str| {
        let name = name.as_bytes();
        let matches = |pattern: &Arg| glob::matches(&pattern.as_slice().to_ascii_lowercase(), name);
        call.args_from(2).iter().any(matches)
    };
    found.retain(|(name, _)| wanted(name));
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(Step::Replied)
}

/// `CONFIG SET parameter value [parameter value …]`: nothing can be changed this way, but a client
/// may ask for what is so already.
pub(super) fn config_set(call: &mut Call<'_, '_>) -> Handled {
    if !call.args.len().is_multiple_of(2) {
        return Err(ErrorReply::syntax());
    }
    let known = parameters(call);
    for pair in call.args_from(2).chunks(2) {
        let [name, value] = pair else { return Err(ErrorReply::syntax()) };
        let text = name.text();
        let Some((_, present)) = known.iter().find(|(parameter, _)| name.is(parameter)) else {
            let what = "Unknown option or number of arguments for CONFIG SET";
            return Err(ErrorReply::err(format!("{what} - '{text}'")));
        };
        if !value.is(present) {
            return Err(ErrorReply::err(format!(
                "CONFIG SET failed (possibly related to argument '{text}') - can't set immutable \
                 config"
            )));
        }
    }
    call.simple("OK")
}

/// `CONFIG RESETSTAT`
pub(super) fn config_resetstat(call: &mut Call<'_, '_>) -> Handled {
    call.server.meters.reset();
    call.simple("OK")
}

/// `CONFIG REWRITE`
pub(super) fn config_rewrite(_: &mut Call<'_, '_>) -> Handled {
    Err(ErrorReply::err("The server is running without a config file"))
}
