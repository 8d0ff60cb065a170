//! The rows of subcommands.

use super::other::{ADMIN, CLIENT, CLUSTER, SERVER};
use super::{Command, Keys, Kind, Run};
use crate::resp::call::{Call, Handled};
use crate::resp::plan::Planned;
use crate::resp::{admin, connection, debug, describe};

const fn sub(
    (name, arity): (&'static str, i8),
    (group, flags): Kind,
    handler: fn(&mut Call<'_, '_>) -> Handled,
    summary: &'static str,
) -> Command {
    let run = Run::Handler(handler);
    Command { name, arity, flags, keys: Keys::None, group, summary, run }
}

const fn about_a_key(
    (name, arity): (&'static str, i8),
    plan: fn(&mut Call<'_, '_>) -> Planned,
    summary: &'static str,
) -> Command {
    let (group, flags) = ("generic", &["readonly"]);
    Command { name, arity, flags, keys: Keys::Second, group, summary, run: Run::Read(plan) }
}

/// Those of OBJECT.
pub(super) const OF_OBJECT: &[Command] = &[
    about_a_key(
        ("object|encoding", 3),
        debug::encoding,
        "Returns how redis-server would keep the value.",
    ),
    about_a_key(("object|refcount", 3), debug::refcount, "Returns 1: values are not shared."),
    about_a_key(("object|freq", 3), debug::freq, "Refuses: nobody counts accesses."),
];

/// Those of DEBUG.
pub(super) const OF_DEBUG: &[Command] = &[
    sub(("debug|set-active-expire", 3), ADMIN, debug::set_active_expire, "Has no effect here."),
    sub(("debug|protocol", 3), ADMIN, debug::protocol, "Answers with a reply of some kind."),
];

/// Those of FUNCTION.
pub(super) const OF_FUNCTION: &[Command] = &[sub(
    ("function|flush", -2),
    ADMIN,
    debug::function_flush,
    "Has no effect: there are no functions.",
)];

/// Those of CLIENT.
pub(super) const OF_CLIENT: &[Command] = &[
    sub(("client|id", 2), CLIENT, connection::client_id, "Returns the connection's number."),
    sub(("client|getname", 2), CLIENT, connection::client_getname, "Returns its name."),
    sub(("client|setname", 3), CLIENT, connection::client_setname, "Names it."),
    sub(("client|setinfo", 4), CLIENT, connection::client_setinfo, "Names the client library."),
    sub(("client|info", 2), CLIENT, connection::client_info, "Describes this connection."),
    sub(("client|list", -2), CLIENT, connection::client_list, "Describes all connections."),
    sub(("client|reply", 3), CLIENT, connection::client_reply, "Chooses which replies are sent."),
    sub(("client|no-evict", 3), CLIENT, connection::client_on_off, "Has no effect here."),
    sub(("client|no-touch", 3), CLIENT, connection::client_on_off, "Has no effect here."),
];

/// Those of COMMAND.
pub(super) const OF_COMMAND: &[Command] = &[
    sub(("command|count", 2), SERVER, describe::count, "Counts the commands."),
    sub(("command|docs", -2), SERVER, describe::docs, "Documents commands."),
    sub(("command|getkeys", -4), SERVER, describe::get_keys, "Finds the keys in a command."),
    sub(("command|info", -2), SERVER, describe::info, "Describes commands."),
    sub(("command|list", -2), SERVER, describe::list, "Lists the names of commands."),
];

/// Those of CONFIG.
pub(super) const OF_CONFIG: &[Command] = &[
    sub(("config|get", -3), ADMIN, admin::config_get, "Shows settings."),
    sub(("config|set", -4), ADMIN, admin::config_set, "Refuses to change settings."),
    sub(("config|resetstat", 2), ADMIN, admin::config_resetstat, "Begins to count from zero."),
    sub(("config|rewrite", 2), ADMIN, admin::config_rewrite, "Refuses: there is no such file."),
];

/// Those of CLUSTER.
pub(super) const OF_CLUSTER: &[Command] = &[
    sub(("cluster|info", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|slots", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|shards", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|nodes", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|myid", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|keyslot", 3), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(("cluster|links", 2), CLUSTER, admin::cluster_disabled, "Belongs to cluster mode."),
    sub(
        ("cluster|countkeysinslot", 3),
        CLUSTER,
        admin::cluster_disabled,
        "Belongs to cluster mode.",
    ),
];
