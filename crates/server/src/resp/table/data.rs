//! The rows of the commands on keys and values.

use super::super::{bits, counters, dbsize, flush, lifetime, many, rewrite, scan, strings};
use super::{Command, Keys, Kind, Run, row};

const READ: Kind = ("string", &["readonly", "fast"]);
const READ_ANY: Kind = ("generic", &["readonly", "fast"]);
const WALK: Kind = ("generic", &["readonly"]);
const WRITE: Kind = ("string", &["write", "denyoom"]);
const DELETE: Kind = ("generic", &["write"]);
const MODIFY: Kind = ("string", &["write", "denyoom", "fast"]);
const MODIFY_ANY: Kind = ("generic", &["write", "fast"]);
const FLUSH: Kind = ("server", &["write"]);
/// What to do in an eventual keyspace instead.
const COUNTER: &str =
    "without atomicity use GET key and then SET key value, where no other client writes the key";
const REWRITE: &str = "use GET key and then SET key value, where no other client writes the key";
const LIFETIME: &str = "use SET key value EX seconds";

/// Commands on keys and values; the most frequent ones first.
pub(super) const DATA: &[Command] = &[
    row(
        ("get", 2),
        READ,
        Keys::First,
        Run::Data(strings::get, rewrite::get),
        "Returns the value of a key.",
    ),
    row(
        ("set", -3),
        WRITE,
        Keys::First,
        Run::Data(strings::set, rewrite::set),
        "Stores a value, with EX, PX, EXAT or PXAT for a limited time; NX, XX, GET and KEEPTTL need a strong keyspace.",
    ),
    row(
        ("mget", -2),
        READ,
        Keys::Every(1),
        Run::Data(many::mget, rewrite::mget),
        "Returns several values.",
    ),
    row(
        ("mset", -3),
        WRITE,
        Keys::Every(2),
        Run::Data(many::mset, rewrite::mset),
        "Stores several values, each on its own.",
    ),
    row(("del", -2), DELETE, Keys::Every(1), Run::Data(many::del, rewrite::del), "Deletes keys."),
    row(
        ("unlink", -2),
        DELETE,
        Keys::Every(1),
        Run::Data(many::del, rewrite::del),
        "Deletes keys, as DEL.",
    ),
    row(
        ("exists", -2),
        READ_ANY,
        Keys::Every(1),
        Run::Data(many::exists, rewrite::exists),
        "Counts how many of the keys exist.",
    ),
    row(
        ("setex", 4),
        WRITE,
        Keys::First,
        Run::Data(strings::setex, rewrite::setex),
        "Stores a value for a number of seconds.",
    ),
    row(
        ("psetex", 4),
        WRITE,
        Keys::First,
        Run::Data(strings::psetex, rewrite::psetex),
        "Stores a value for a number of milliseconds.",
    ),
    row(
        ("ttl", 2),
        READ_ANY,
        Keys::First,
        Run::Data(strings::ttl, lifetime::ttl),
        "Returns how many seconds a key has to live.",
    ),
    row(
        ("pttl", 2),
        READ_ANY,
        Keys::First,
        Run::Data(strings::pttl, lifetime::pttl),
        "Returns how many milliseconds a key has to live.",
    ),
    row(
        ("expiretime", 2),
        READ_ANY,
        Keys::First,
        Run::Data(strings::expiretime, lifetime::expiretime),
        "Returns the Unix time in seconds at which a key expires.",
    ),
    row(
        ("pexpiretime", 2),
        READ_ANY,
        Keys::First,
        Run::Data(strings::pexpiretime, lifetime::pexpiretime),
        "Returns the Unix time in milliseconds at which a key expires.",
    ),
    row(
        ("type", 2),
        READ_ANY,
        Keys::First,
        Run::Data(strings::type_of, rewrite::type_of),
        "Returns the type of a value: string, or none.",
    ),
    row(
        ("strlen", 2),
        READ,
        Keys::First,
        Run::Data(strings::strlen, rewrite::strlen),
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
    row(
        ("incr", 2),
        MODIFY,
        Keys::First,
        Run::Strong(counters::incr, COUNTER),
        "Adds one to a number; needs a strong keyspace.",
    ),
    row(
        ("decr", 2),
        MODIFY,
        Keys::First,
        Run::Strong(counters::decr, COUNTER),
        "Subtracts one from a number; needs a strong keyspace.",
    ),
    row(
        ("incrby", 3),
        MODIFY,
        Keys::First,
        Run::Strong(counters::incrby, COUNTER),
        "Adds to a number; needs a strong keyspace.",
    ),
    row(
        ("decrby", 3),
        MODIFY,
        Keys::First,
        Run::Strong(counters::decrby, COUNTER),
        "Subtracts from a number; needs a strong keyspace.",
    ),
    row(
        ("incrbyfloat", 3),
        MODIFY,
        Keys::First,
        Run::Strong(counters::incrbyfloat, COUNTER),
        "Adds to a number with decimals; needs a strong keyspace.",
    ),
    row(
        ("append", 3),
        MODIFY,
        Keys::First,
        Run::Strong(rewrite::append, REWRITE),
        "Appends to a value; needs a strong keyspace.",
    ),
    row(
        ("setrange", 4),
        WRITE,
        Keys::First,
        Run::Strong(rewrite::setrange, REWRITE),
        "Writes into a value from an offset on; needs a strong keyspace.",
    ),
    row(
        ("getrange", 4),
        ("string", &["readonly"]),
        Keys::First,
        Run::Read(rewrite::getrange),
        "Returns a part of a value.",
    ),
    row(
        ("substr", 4),
        ("string", &["readonly"]),
        Keys::First,
        Run::Read(rewrite::getrange),
        "Returns a part of a value, as GETRANGE.",
    ),
    row(
        ("getset", 3),
        MODIFY,
        Keys::First,
        Run::Strong(rewrite::getset, REWRITE),
        "Stores a value and returns the one before; needs a strong keyspace.",
    ),
    row(
        ("getdel", 2),
        MODIFY,
        Keys::First,
        Run::Strong(
            rewrite::getdel,
            "use GET key and then DEL key, where no other client writes the key",
        ),
        "Returns a value and deletes it; needs a strong keyspace.",
    ),
    row(
        ("getex", -2),
        MODIFY,
        Keys::First,
        Run::Strong(rewrite::getex, "use GET key and then SET key value EX seconds"),
        "Returns a value and changes when it expires; needs a strong keyspace.",
    ),
    row(
        ("setnx", 3),
        MODIFY,
        Keys::First,
        Run::Strong(rewrite::setnx, "without the condition SET key value works here"),
        "Stores a value if there is none; needs a strong keyspace.",
    ),
    row(
        ("msetnx", -3),
        WRITE,
        Keys::Every(2),
        Run::Strong(rewrite::msetnx, "without the condition MSET key value works here"),
        "Stores several values if none of the keys has one; needs a strong keyspace.",
    ),
    row(
        ("expire", -3),
        MODIFY_ANY,
        Keys::First,
        Run::Strong(lifetime::expire, LIFETIME),
        "Lets a key expire after a number of seconds; needs a strong keyspace.",
    ),
    row(
        ("pexpire", -3),
        MODIFY_ANY,
        Keys::First,
        Run::Strong(lifetime::pexpire, LIFETIME),
        "Lets a key expire after a number of milliseconds; needs a strong keyspace.",
    ),
    row(
        ("expireat", -3),
        MODIFY_ANY,
        Keys::First,
        Run::Strong(lifetime::expireat, LIFETIME),
        "Lets a key expire at a Unix time in seconds; needs a strong keyspace.",
    ),
    row(
        ("pexpireat", -3),
        MODIFY_ANY,
        Keys::First,
        Run::Strong(lifetime::pexpireat, LIFETIME),
        "Lets a key expire at a Unix time in milliseconds; needs a strong keyspace.",
    ),
    row(
        ("persist", 2),
        MODIFY_ANY,
        Keys::First,
        Run::Strong(
            lifetime::persist,
            "SET key value without EX stores a value that does not expire",
        ),
        "Lets a key never expire; needs a strong keyspace.",
    ),
    row(
        ("copy", -3),
        DELETE,
        Keys::Pair,
        Run::Strong(rewrite::copy, REWRITE),
        "Copies a value to another key; needs a strong keyspace.",
    ),
    row(
        ("rename", 3),
        DELETE,
        Keys::Pair,
        Run::Strong(rewrite::rename, REWRITE),
        "Gives a value another key; needs a strong keyspace.",
    ),
    row(
        ("renamenx", 3),
        MODIFY_ANY,
        Keys::Pair,
        Run::Strong(rewrite::renamenx, REWRITE),
        "Gives a value another key that has none; needs a strong keyspace.",
    ),
    row(
        ("setbit", 4),
        ("bitmap", &["write", "denyoom"]),
        Keys::First,
        Run::Strong(bits::setbit, REWRITE),
        "Sets or clears a bit of a value; needs a strong keyspace.",
    ),
    row(
        ("getbit", 3),
        ("bitmap", &["readonly", "fast"]),
        Keys::First,
        Run::Read(bits::getbit),
        "Returns a bit of a value.",
    ),
    row(
        ("bitcount", -2),
        ("bitmap", &["readonly"]),
        Keys::First,
        Run::Read(bits::bitcount),
        "Counts the bits of a value that are set.",
    ),
    row(
        ("keys", 2),
        WALK,
        Keys::None,
        Run::Handler(scan::keys),
        "Returns all keys that match a pattern.",
    ),
    row(
        ("randomkey", 1),
        WALK,
        Keys::None,
        Run::Handler(scan::randomkey),
        "Returns some key of the keyspace.",
    ),
];
