//! Every setting, once.

use kvorum_core::{Mode, limits};

use super::Config;
use super::parse::{self, LOG_FORMATS, LOG_LEVELS, MODES, WAL_SYNCS};
use super::setting::Setting;

/// Every setting, in the order in which people read about them.
#[must_use]
pub fn settings() -> &'static [Setting] {
    &SETTINGS
}

/// The text of an optional value; empty when there is none.
fn optional<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

static SETTINGS: [Setting; 36] = [
    Setting {
        name: "node_num",
        compat: &["NODE_NUM"],
        help: "The number of this node, unique in the cluster and the same for ever.",
        default: "1",
        switch: false,
        apply: |config, text| parse::node_num(text).map(|id| config.node_num = id),
        show: |config| config.node_num.to_string(),
    },
    Setting {
        name: "name",
        compat: &[],
        help: "The name of this node.",
        default: "node-{node_num}",
        switch: false,
        apply: |config, text| parse::word(text).map(|name| config.name = Some(name)),
        show: Config::name,
    },
    Setting {
        name: "cluster",
        compat: &[],
        help: "The name of the cluster. Nodes of another name are refused.",
        default: "kvorum",
        switch: false,
        apply: |config, text| parse::word(text).map(|name| config.cluster = name),
        show: |config| config.cluster.clone(),
    },
    Setting {
        name: "data_dir",
        compat: &["DATA_DIR"],
        help: "Where the data lives. One node uses a directory at a time.",
        default: "data/node{node_num}",
        switch: false,
        apply: |config, text| parse::path(text).map(|path| config.data_dir = Some(path)),
        show: |config| config.data_dir().display().to_string(),
    },
    Setting {
        name: "bind",
        compat: &[],
        help: "The IP address of all listeners. One that others can reach needs `insecure`.",
        default: "127.0.0.1",
        switch: false,
        apply: |config, text| parse::address(text).map(|address| config.bind = address),
        show: |config| config.bind.to_string(),
    },
    Setting {
        name: "advertise_host",
        compat: &[],
        help: "The host under which clients and other nodes reach this node.",
        default: "{bind}, or the environment's HOSTNAME when that is 0.0.0.0",
        switch: false,
        apply: |config, text| parse::host(text).map(|host| config.advertise_host = Some(host)),
        show: Config::advertise_host,
    },
    Setting {
        name: "insecure",
        compat: &[],
        help: "Allows listeners that others can reach although nobody has to say who they are.",
        default: "false",
        switch: true,
        apply: |config, text| parse::flag(text).map(|on| config.insecure = on),
        show: |config| config.insecure.to_string(),
    },
    Setting {
        name: "resp_port",
        compat: &[],
        help: "The port of the Redis protocol.",
        default: "6379",
        switch: false,
        apply: |config, text| parse::port(text).map(|port| config.resp_port = port),
        show: |config| config.resp_port.to_string(),
    },
    Setting {
        name: "grpc_port",
        compat: &["GRPC_PORT"],
        help: "The port of gRPC, for clients and for the introductions of other nodes.",
        default: "50051",
        switch: false,
        apply: |config, text| parse::port(text).map(|port| config.grpc_port = port),
        show: |config| config.grpc_port.to_string(),
    },
    Setting {
        name: "http_port",
        compat: &["GOSSIP_PORT"],
        help: "The port of HTTP: REST, health, membership, metrics.",
        default: "8001",
        switch: false,
        apply: |config, text| parse::port(text).map(|port| config.http_port = port),
        show: |config| config.http_port.to_string(),
    },
    Setting {
        name: "peer_port",
        compat: &[],
        help: "The port of the streams between nodes.",
        default: "51051",
        switch: false,
        apply: |config, text| parse::port(text).map(|port| config.peer_port = port),
        show: |config| config.peer_port.to_string(),
    },
    Setting {
        name: "gossip_port",
        compat: &[],
        help: "The UDP port by which nodes watch over each other.",
        default: "{http_port}",
        switch: false,
        apply: |config, text| parse::port(text).map(|port| config.gossip_port = Some(port)),
        show: |config| config.gossip_address().port().to_string(),
    },
    Setting {
        name: "cluster_secret",
        compat: &[],
        help: "What all nodes of the cluster know and nobody else, at least 16 bytes: gossip that \
               was not sealed with it is dropped. Not for a flag, which others can read.",
        default: "",
        switch: false,
        apply: |config, text| {
            parse::secret(text).map(|secret| config.cluster_secret = Some(secret))
        },
        show: |config| match (&config.cluster_secret, &config.cluster_secret_file) {
            (Some(_), None) => "(set)".to_owned(),
            _ => String::new(),
        },
    },
    Setting {
        name: "cluster_secret_file",
        compat: &[],
        help: "A file that holds the secret, instead of `cluster_secret`. White space around it \
               does not count.",
        default: "",
        switch: false,
        apply: |config, text| {
            let (secret, path) = (parse::secret_in(text)?, parse::path(text)?);
            if config.cluster_secret.is_some() {
                return Err("cluster_secret is set as well".to_owned());
            }
            (config.cluster_secret, config.cluster_secret_file) = (Some(secret), Some(path));
            Ok(())
        },
        show: |config| {
            let path = config.cluster_secret_file.as_ref();
            path.map(|path| path.display().to_string()).unwrap_or_default()
        },
    },
    Setting {
        name: "max_connections",
        compat: &[],
        help: "How many connections each port keeps open; fewer where the process may not open \
               enough files. The next one is refused.",
        default: "10000",
        switch: false,
        apply: |config, text| parse::number(text, 1, 1_000_000).map(|n| config.max_connections = n),
        show: |config| config.max_connections.to_string(),
    },
    Setting {
        name: "peers",
        compat: &["PEERS"],
        help: "The nodes of the cluster by their gRPC addresses, with or without this one: \
               `host:port,host:port` or `1=host:port,2=host:port`. None for a cluster of one. \
               The list is fixed when the cluster is born.",
        default: "",
        switch: false,
        apply: |config, text| parse::peers(text).map(|peers| config.peers = peers),
        show: |config| parse::list(&config.peers),
    },
    Setting {
        name: "gossip_peers",
        compat: &["GOSSIP_PEERS"],
        help: "Checked and not used: `peers` is enough, introductions tell the ports of gossip.",
        default: "",
        switch: false,
        apply: |config, text| parse::peers(text).map(|peers| config.gossip_peers = peers),
        show: |config| parse::list(&config.gossip_peers),
    },
    Setting {
        name: "total_nodes",
        compat: &["TOTAL_NODES"],
        help: "How many nodes the cluster has. A list of peers that does not fit is refused.",
        default: "",
        switch: false,
        apply: |config, text| parse::number(text, 1, 1000).map(|n| config.total_nodes = Some(n)),
        show: |config| optional(config.total_nodes.as_ref()),
    },
    Setting {
        name: "replication_factor",
        compat: &["REPLICATION_FACTOR"],
        help: "How many nodes hold each key; three, or as many as there are, when absent. \
               Fixed when the cluster is born.",
        default: "",
        switch: false,
        apply: |config, text| {
            parse::number(text, 1, 9).map(|count| config.replication_factor = Some(count))
        },
        show: |config| optional(config.replication_factor.as_ref()),
    },
    Setting {
        name: "default_mode",
        compat: &[],
        help: "How the copies of the keyspace `default` agree: `strong` (linearizable) or \
               `eventual` (leaderless, last write wins). Fixed when the cluster is born.",
        default: "strong",
        switch: false,
        apply: |config, text| {
            parse::choice(text, &MODES).map(|mode| config.default_mode = Some(mode))
        },
        show: |config| config.default_mode.unwrap_or(Mode::Strong).to_string(),
    },
    Setting {
        name: "showcase",
        compat: &[],
        help: "Gives a new cluster the keyspace `eventual` beside `default`, as `kvorum dev` does.",
        default: "false",
        switch: true,
        apply: |config, text| parse::flag(text).map(|on| config.showcase = on),
        show: |config| config.showcase.to_string(),
    },
    Setting {
        name: "compat_keyspace",
        compat: &[],
        help: "The keyspace of requests that cannot name one: the interfaces of the reference \
               systems. It is `default`, or `eventual` where the cluster has that.",
        default: "default",
        switch: false,
        apply: |config, text| parse::word(text).map(|name| config.compat_keyspace = name),
        show: |config| config.compat_keyspace.clone(),
    },
    Setting {
        name: "max_value",
        compat: &[],
        help: "The longest value, up to 16MiB. The same on every node.",
        default: "1MiB",
        switch: false,
        apply: |config, text| {
            let most = limits::HARD_MAX_VALUE as u64;
            parse::bytes(text, 1, most).map(|size| config.max_value = size)
        },
        show: |config| parse::in_units(config.max_value),
    },
    Setting {
        name: "wal_sync",
        compat: &[],
        help: "Where the log is synced: `inline` (best on few cores), `thread` (best on many \
               cores or slow disks) or `auto`.",
        default: "auto",
        switch: false,
        apply: |config, text| parse::choice(text, &WAL_SYNCS).map(|sync| config.wal_sync = sync),
        show: |config| parse::name_of(&config.wal_sync, &WAL_SYNCS),
    },
    Setting {
        name: "segment_size",
        compat: &[],
        help: "The size of the files of the log, from 256KiB to 1GiB. With less than 44MiB, commands of \
               strong keyspaces that build on a value, such as `APPEND` and `EXPIRE`, are refused: \
               they may write 8MiB at once.",
        default: "64MiB",
        switch: false,
        apply: |config, text| {
            parse::bytes(text, 256 << 10, 1 << 30).map(|size| config.segment_size = size)
        },
        show: |config| parse::in_units(config.segment_size),
    },
    Setting {
        name: "index_limit",
        compat: &[],
        help: "The memory of the index, which holds every key of this node. New keys are refused \
               when it is full.",
        default: "1GiB",
        switch: false,
        apply: |config, text| {
            parse::bytes(text, 1 << 20, 1 << 40).map(|size| config.index_limit = size)
        },
        show: |config| parse::in_units(config.index_limit),
    },
    Setting {
        name: "max_disk",
        compat: &[],
        help: "The disk space of this node; 0 for all there is. Writes are refused when it is \
               used up.",
        default: "0",
        switch: false,
        apply: |config, text| parse::bytes(text, 0, 1 << 50).map(|size| config.max_disk = size),
        show: |config| parse::in_units(config.max_disk),
    },
    Setting {
        name: "anti_entropy_interval",
        compat: &["ANTI_ENTROPY_INTERVAL", "SYNC_INTERVAL"],
        help: "The seconds between two comparisons with another node, in which both find and \
               repair what only one of them holds; 0 for never unless it is asked for.",
        default: "30",
        switch: false,
        apply: |config, text| {
            parse::seconds_or_never(text).map(|span| config.anti_entropy_interval = span)
        },
        show: |config| config.anti_entropy_interval.as_secs_f64().to_string(),
    },
    Setting {
        name: "hinted_handoff",
        compat: &[],
        help: "Remembers which keys of eventual keyspaces a node has missed while it was away, and \
               sends it what they hold when it is back; without it anti-entropy alone does that.",
        default: "true",
        switch: false,
        apply: |config, text| parse::flag(text).map(|on| config.hinted_handoff = on),
        show: |config| config.hinted_handoff.to_string(),
    },
    Setting {
        name: "gc_lag",
        compat: &[],
        help: "How many seconds deletions and expired values of eventual keyspaces are kept at \
               least, from 31 to 2592000. After that all copies agree to forget them.",
        default: "3600",
        switch: false,
        apply: |config, text| parse::gc_lag(text).map(|span| config.gc_lag = span),
        show: |config| config.gc_lag.as_secs_f64().to_string(),
    },
    Setting {
        name: "gc_interval",
        compat: &[],
        help: "The seconds between two attempts of a partition to agree on which deletions are to \
               be forgotten, from 1 to 86400.",
        default: "600",
        switch: false,
        apply: |config, text| parse::gc_interval(text).map(|span| config.gc_interval = span),
        show: |config| config.gc_interval.as_secs_f64().to_string(),
    },
    Setting {
        name: "scrub_rate",
        compat: &[],
        help: "How many bytes of the log are read again per second, to find damage while other \
               nodes still have what was lost; 0 for never.",
        default: "4MiB",
        switch: false,
        apply: |config, text| parse::bytes(text, 0, 1 << 40).map(|rate| config.scrub_rate = rate),
        show: |config| parse::in_units(config.scrub_rate),
    },
    Setting {
        name: "gossip_interval",
        compat: &["GOSSIP_INTERVAL"],
        help: "The seconds between two probes of other nodes, from 0.1 to 10. A node that does \
               not answer is suspect after two to four of them, down after about ten more.",
        default: "0.5",
        switch: false,
        apply: |config, text| {
            parse::interval(text).map(|interval| config.gossip_interval = interval)
        },
        show: |config| config.gossip_interval.as_secs_f64().to_string(),
    },
    Setting {
        name: "log_level",
        compat: &[],
        help: "The least that is logged: `error`, `warn`, `info`, `debug` or `trace`.",
        default: "info, or debug with `debug_log`",
        switch: false,
        apply: |config, text| {
            parse::choice(text, &LOG_LEVELS).map(|level| config.log_level = Some(level))
        },
        show: |config| config.logging().0.to_string().to_ascii_lowercase(),
    },
    Setting {
        name: "log_format",
        compat: &[],
        help: "The form of a line of the log: `text` or `json`.",
        default: "text",
        switch: false,
        apply: |config, text| {
            parse::choice(text, &LOG_FORMATS).map(|format| config.log_format = format)
        },
        show: |config| parse::name_of(&config.log_format, &LOG_FORMATS),
    },
    Setting {
        name: "debug_log",
        compat: &["DEBUG_LOG"],
        help: "Logs debugging messages unless `log_level` says otherwise.",
        default: "false",
        switch: true,
        apply: |config, text| parse::flag(text).map(|on| config.debug_log = on),
        show: |config| config.debug_log.to_string(),
    },
];
