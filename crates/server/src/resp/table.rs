//! The table of commands: everything that is known of a command stands in one row, from which
//! dispatch, arity errors, COMMAND, HELP and the metrics are derived.

mod index;
mod subcommands;

pub(super) use index::{find, index_of};

use super::call::{Call, Handled};
use super::{admin, connection, dbsize, flush, info, many, scan, strings, transactions};

/// A command, or a subcommand of one.
pub(super) struct Command {
    /// In lower case; of a subcommand `parent|name`.
    pub(super) name: &'static str,
    /// How many words it has, its name included; negative: at least so many.
    pub(super) arity: i8,
    /// redis-server's names of its properties.
    pub(super) flags: &'static [&'static str],
    /// Which of its words are keys.
    pub(super) keys: Keys,
    /// The group it is documented in.
    pub(super) group: &'static str,
    /// What it does, in one sentence.
    pub(super) summary: &'static str,
    /// How it is executed.
    pub(super) run: Run,
}

/// Which words of a command are keys.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// None.
    None,
    /// The first argument.
    First,
    /// All arguments, or every second one.
    Every(usize),
}

/// How a command is executed.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// By a function.
    Handler(fn(&mut Call<'_, '_>) -> Handled),
    /// Not at all: it reads, modifies and writes. The text says what to do instead.
    Refused(&'static str),
    /// By the subcommand that its first argument names.
    Subcommands(&'static [Command]),
}

impl Command {
    /// Whether so many words, the name included, are right.
    pub(super) fn takes(&self, words: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= arity } else { words == arity }
    }

    /// Whether the word at `index` is a key.
    pub(super) const fn is_key(&self, index: usize) -> bool {
        match self.keys {
            Keys::None => false,
            Keys::First => index == 1,
            Keys::Every(step) => index > 0 && (index - 1).is_multiple_of(step),
        }
    }

    /// The name without that of the parent.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, name)| name)
    }
}

const fn row(
    (name, arity): (&'static str, i8),
    (group, flags): (&'static str, &'static [&'static str]),
    keys: Keys,
    run: Run,
    summary: &'static str,
) -> Command {
    Command { name, arity, flags, keys, group, summary, run }
}

type Kind = (&'static str, &'static [&'static str]);

const READ: Kind = ("string", &["readonly", "fast"]);
const READ_ANY: Kind = ("generic", &["readonly", "fast"]);
const WALK: Kind = ("generic", &["readonly"]);
const WRITE: Kind = ("string", &["write", "denyoom"]);
const DELETE: Kind = ("generic", &["write"]);
const MODIFY: Kind = ("string", &["write", "denyoom", "fast"]);
const MODIFY_ANY: Kind = ("generic", &["write", "fast"]);
const TRANSACTION: Kind = ("transactions", &["noscript", "loading", "stale", "fast"]);
const CONNECTION: Kind = ("connection", &["noscript", "loading", "stale", "fast"]);
const CLIENT: Kind = ("connection", &["noscript", "loading", "stale"]);
const SERVER: Kind = ("server", &["loading", "stale"]);
const ADMIN: Kind = ("server", &["admin", "noscript", "loading", "stale"]);
const FLUSH: Kind = ("server", &["write"]);
const CLUSTER: Kind = ("cluster", &["loading", "stale", "fast"]);

const COUNTER: Run = Run::Refused(
    "without atomicity use GET key and then SET key value, where no other client writes the key",
);
const REWRITE: Run =
    Run::Refused("use GET key and then SET key value, where no other client writes the key");
const LIFETIME: Run = Run::Refused("use SET key value EX seconds");
const WATCHED: Run =
    Run::Refused("send the commands one by one (MSET writes several keys, each on its own)");
const OFF: Run = Run::Handler(admin::cluster_disabled);

/// All commands; the most frequent ones first.
pub(super) const COMMANDS: &[Command] = &[
    row(("get", 2), READ, Keys::First, Run::Handler(strings::get), "Returns the value of a key."),
    row(
        ("set", -3),
        WRITE,
        Keys::First,
        Run::Handler(strings::set),
        "Stores a value, with EX, PX, EXAT or PXAT for a limited time.",
    ),
    row(("mget", -2), READ, Keys::Every(1), Run::Handler(many::mget), "Returns several values."),
    row(
        ("mset", -3),
        WRITE,
        Keys::Every(2),
        Run::Handler(many::mset),
        "Stores several values, each on its own.",
    ),
    row(("del", -2), DELETE, Keys::Every(1), Run::Handler(many::del), "Deletes keys."),
    row(("unlink", -2), DELETE, Keys::Every(1), Run::Handler(many::del), "Deletes keys, as DEL."),
    row(
        ("exists", -2),
        READ_ANY,
        Keys::Every(1),
        Run::Handler(many::exists),
        "Counts how many of the keys exist.",
    ),
    row(
        ("setex", 4),
        WRITE,
        Keys::First,
        Run::Handler(strings::setex),
        "Stores a value for a number of seconds.",
    ),
    row(
        ("psetex", 4),
        WRITE,
        Keys::First,
        Run::Handler(strings::psetex),
        "Stores a value for a number of milliseconds.",
    ),
    row(
        ("ttl", 2),
        READ_ANY,
        Keys::First,
        Run::Handler(strings::ttl),
        "Returns how many seconds a key has to live.",
    ),
    row(
        ("pttl", 2),
        READ_ANY,
        Keys::First,
        Run::Handler(strings::pttl),
        "Returns how many milliseconds a key has to live.",
    ),
    row(
        ("expiretime", 2),
        READ_ANY,
        Keys::First,
        Run::Handler(strings::expiretime),
        "Returns the Unix time in seconds at which a key expires.",
    ),
    row(
        ("pexpiretime", 2),
        READ_ANY,
        Keys::First,
        Run::Handler(strings::pexpiretime),
        "Returns the Unix time in milliseconds at which a key expires.",
    ),
    row(
        ("type", 2),
        READ_ANY,
        Keys::First,
        Run::Handler(strings::type_of),
        "Returns the type of a value: string, or none.",
    ),
    row(
        ("strlen", 2),
        READ,
        Keys::First,
        Run::Handler(strings::strlen),
        "Returns the length of a value in bytes.",
    ),
    row(
        ("scan", -2),
        WALK,
        Keys::None,
        Run::Handler(scan::scan),
        "Walks the keys of the keyspace, with MATCH, COUNT and TYPE.",
    ),
    row(
        ("dbsize", 1),
        ("server", &["readonly", "fast"]),
        Keys::None,
        Run::Handler(dbsize::dbsize),
        "Counts the keys of the keyspace in the whole cluster.",
    ),
    row(
        ("flushdb", -1),
        FLUSH,
        Keys::None,
        Run::Handler(flush::flushdb),
        "Deletes all keys of the keyspace.",
    ),
    row(
        ("flushall", -1),
        FLUSH,
        Keys::None,
        Run::Handler(flush::flushall),
        "Deletes all keys of all keyspaces.",
    ),
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
        "Selects a keyspace: 0 is default, 1 is eventual.",
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
        "Chooses how many replicas take part: READ and WRITE with one, quorum, all or default.",
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
    row(("readonly", 1), CLUSTER, Keys::None, OFF, "Belongs to cluster mode."),
    row(("readwrite", 1), CLUSTER, Keys::None, OFF, "Belongs to cluster mode."),
    row(("asking", 1), CLUSTER, Keys::None, OFF, "Belongs to cluster mode."),
    row(("incr", 2), MODIFY, Keys::First, COUNTER, "Needs a strong keyspace."),
    row(("decr", 2), MODIFY, Keys::First, COUNTER, "Needs a strong keyspace."),
    row(("incrby", 3), MODIFY, Keys::First, COUNTER, "Needs a strong keyspace."),
    row(("decrby", 3), MODIFY, Keys::First, COUNTER, "Needs a strong keyspace."),
    row(("incrbyfloat", 3), MODIFY, Keys::First, COUNTER, "Needs a strong keyspace."),
    row(("append", 3), MODIFY, Keys::First, REWRITE, "Needs a strong keyspace."),
    row(("setrange", 4), WRITE, Keys::First, REWRITE, "Needs a strong keyspace."),
    row(("getset", 3), MODIFY, Keys::First, REWRITE, "Needs a strong keyspace."),
    row(
        ("getdel", 2),
        MODIFY,
        Keys::First,
        Run::Refused("use GET key and then DEL key, where no other client writes the key"),
        "Needs a strong keyspace.",
    ),
    row(
        ("getex", -2),
        MODIFY,
        Keys::First,
        Run::Refused("use GET key and then SET key value EX seconds"),
        "Needs a strong keyspace.",
    ),
    row(
        ("setnx", 3),
        MODIFY,
        Keys::First,
        Run::Refused("without the condition SET key value works here"),
        "Needs a strong keyspace.",
    ),
    row(
        ("msetnx", -3),
        WRITE,
        Keys::Every(2),
        Run::Refused("without the condition MSET key value works here"),
        "Needs a strong keyspace.",
    ),
    row(("expire", -3), MODIFY_ANY, Keys::First, LIFETIME, "Needs a strong keyspace."),
    row(("pexpire", -3), MODIFY_ANY, Keys::First, LIFETIME, "Needs a strong keyspace."),
    row(("expireat", -3), MODIFY_ANY, Keys::First, LIFETIME, "Needs a strong keyspace."),
    row(("pexpireat", -3), MODIFY_ANY, Keys::First, LIFETIME, "Needs a strong keyspace."),
    row(
        ("persist", 2),
        MODIFY_ANY,
        Keys::First,
        Run::Refused("SET key value without EX stores a value that does not expire"),
        "Needs a strong keyspace.",
    ),
    row(("rename", 3), DELETE, Keys::Every(1), REWRITE, "Needs a strong keyspace."),
    row(("renamenx", 3), MODIFY_ANY, Keys::Every(1), REWRITE, "Needs a strong keyspace."),
    row(
        ("multi", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::multi),
        "Begins a transaction, whose commands need a strong keyspace.",
    ),
    row(
        ("exec", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::exec),
        "Ends a transaction, which is discarded.",
    ),
    row(
        ("discard", 1),
        TRANSACTION,
        Keys::None,
        Run::Handler(transactions::discard),
        "Ends a transaction.",
    ),
    row(("watch", -2), TRANSACTION, Keys::Every(1), WATCHED, "Needs a strong keyspace."),
    row(("unwatch", 1), TRANSACTION, Keys::None, WATCHED, "Needs a strong keyspace."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_users_names_every_command_and_says_which_are_refused() {
        let page = include_str!("../../../../docs/protocols.md");
        for command in COMMANDS {
            let name = format!("`{}`", command.name.to_uppercase());
            let line = page.lines().find(|line| line.starts_with('|') && line.contains(&name));
            let line = line.unwrap_or_else(|| panic!("{name} is missing in docs/protocols.md"));
            let refused = line.starts_with("| refused");
            assert_eq!(refused, matches!(command.run, Run::Refused(_)), "{name}");
        }
    }

    #[test]
    fn rows_are_consistent() {
        for command in COMMANDS {
            assert!(command.arity != 0 && command.summary.ends_with('.'), "{}", command.name);
            assert_eq!(command.name, command.name.to_lowercase());
            if let Run::Subcommands(subcommands) = command.run {
                for own in subcommands {
                    assert!(own.name.starts_with(&format!("{}|", command.name)), "{}", own.name);
                    assert!(own.arity.unsigned_abs() >= 2);
                }
            }
        }
    }
}
