//! The rows of the commands about connections, servers and transactions.

use super::super::{admin, connection, info, transactions};
use super::{Command, Keys, Kind, Run, row, subcommands};

const TRANSACTION: Kind = ("transactions", &["noscript", "loading", "stale", "fast"]);
const CONNECTION: Kind = ("connection", &["noscript", "loading", "stale", "fast"]);
pub(super) const CLIENT: Kind = ("connection", &["noscript", "loading", "stale"]);
pub(super) const SERVER: Kind = ("server", &["loading", "stale"]);
pub(super) const ADMIN: Kind = ("server", &["admin", "noscript", "loading", "stale"]);
pub(super) const CLUSTER: Kind = ("cluster", &["loading", "stale", "fast"]);
const OFF: Run = Run::Handler(admin::cluster_disabled);

/// Commands that name no key, or keep others for later.
pub(super) const OTHER: &[Command] = &[
    row(("ping", -1), CONNECTION, Keys::None, Run::Handler(connection::ping), "Answers PONG."),
    row(
        ("echo", 2),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::echo),
        "Answers with its argument.",
    ),
    row(
        ("hello", -1),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::hello),
        "Chooses the version of the protocol and greets.",
    ),
    row(
        ("auth", -2),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::auth),
        "Logs in; user@keyspace selects a keyspace as well.",
    ),
    row(
        ("select", 2),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::select),
        "Selects a keyspace: 0 is default; where it exists, 1 is eventual.",
    ),
    row(
        ("reset", 1),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::reset),
        "Goes back to the settings of a new connection.",
    ),
    row(
        ("quit", -1),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::quit),
        "Closes the connection.",
    ),
    row(
        ("wait", 3),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::wait),
        "Returns how many replicas acknowledged the last write of the connection.",
    ),
    row(
        ("kv.consistency", -1),
        CONNECTION,
        Keys::None,
        Run::Handler(connection::consistency),
        "Chooses what answers promise: READ and WRITE with a consistency level or default.",
    ),
    row(
        ("client", -2),
        CLIENT,
        Keys::None,
        Run::Subcommands(subcommands::OF_CLIENT),
        "Asks and tells about connections.",
    ),
    row(
        ("command", -1),
        SERVER,
        Keys::None,
        Run::Subcommands(subcommands::OF_COMMAND),
        "Describes the commands.",
    ),
    row(
        ("config", -2),
        ADMIN,
        Keys::None,
        Run::Subcommands(subcommands::OF_CONFIG),
        "Shows settings under the names of redis-server.",
    ),
    row(
        ("debug", -2),
        ADMIN,
        Keys::None,
        Run::Subcommands(subcommands::OF_DEBUG),
        "Serves those who test servers and clients.",
    ),
    row(
        ("function", -2),
        ADMIN,
        Keys::None,
        Run::Subcommands(subcommands::OF_FUNCTION),
        "Would manage functions; there are none.",
    ),
    row(("info", -1), SERVER, Keys::None, Run::Handler(info::info), "Shows figures of this node."),
    row(
        ("time", 1),
        ("server", &["loading", "stale", "fast"]),
        Keys::None,
        Run::Handler(admin::time),
        "Returns the wall clock of this node.",
    ),
    row(
        ("cluster", -2),
        CLUSTER,
        Keys::None,
        Run::Subcommands(subcommands::OF_CLUSTER),
        "Belongs to cluster mode, which this listener does not speak.",
    ),
    row(
        ("readonly", 1),
        CLUSTER,
        Keys::None,
        Run::Handler(connection::by_any_replica::<true>),
        "Lets any replica answer the connection's reads of strong keyspaces.",
    ),
    row(
        ("readwrite", 1),
        CLUSTER,
        Keys::None,
        Run::Handler(connection::by_any_replica::<false>),
        "Undoes READONLY.",
    ),
    row(("asking", 1), CLUSTER, Keys::None, OFF, "Belongs to cluster mode."),
    row(
        ("multi", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::multi),
        "Begins a transaction, which needs a strong keyspace.",
    ),
    row(
        ("exec", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::exec),
        "Executes the commands since MULTI together.",
    ),
    row(
        ("discard", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::discard),
        "Ends a transaction without executing it.",
    ),
    row(
        ("watch", -2),
        TRANSACTION,
        Keys::Every(1),
        Run::Handler(transactions::watch),
        "Lets the next transaction fail if one of the keys changes; needs a strong keyspace.",
    ),
    row(
        ("unwatch", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::unwatch),
        "Forgets the watched keys.",
    ),
];
