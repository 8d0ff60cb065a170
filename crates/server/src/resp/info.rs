//! INFO: the figures of this node in the sections and under the names of redis-server.

use std::fmt::Write;

use kvorum_core::NodeId;
use kvorum_node::{Serving, Status};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::connection::REDIS_VERSION;

/// A section: its title and what writes its lines.
struct Section {
    name: &'static str,
    title: &'static str,
    /// Whether it is told when no section is asked for.
    default: bool,
    write: fn(&Facts<'_>, &mut String) -> std::fmt::Result,
}

const SECTIONS: [Section; 11] = [
    Section { name: "server", title: "Server", default: true, write: server },
    Section { name: "clients", title: "Clients", default: true, write: clients },
    Section { name: "memory", title: "Memory", default: true, write: memory },
    Section { name: "persistence", title: "Persistence", default: true, write: persistence },
    Section { name: "stats", title: "Stats", default: true, write: stats },
    Section { name: "replication", title: "Replication", default: true, write: replication },
    Section { name: "commandstats", title: "Commandstats", default: false, write: command_stats },
    Section { name: "errorstats", title: "Errorstats", default: true, write: error_stats },
    Section { name: "cluster", title: "Cluster", default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", default: true, write: keyspace },
    Section { name: "kvorum", title: "Kvorum", default: true, write: kvorum },
];

/// What the sections are written from.
struct Facts<'a> {
    status: &'a Status,
    server: &'a super::server::Server,
    wall_ms: u64,
}

/// `INFO [section [section …]]`
pub(super) fn info(call: &mut Call<'_, '_>) -> Handled {
    let wall_ms = call.calls.now().wall_ms;
    let status = call.calls.node().status();
    let facts = Facts { status: &status, server: call.server, wall_ms };
    let wanted = call.args_from(1);
    let asked = |section: &Section| {
        let named = |word: &Arg| {
            word.is(section.name)
                || word.is("all")
                || word.is("everything")
                || (word.is("default") && section.default)
        };
        if wanted.is_empty() { section.default } else { wanted.iter().any(named) }
    };
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| asked(section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "# {}\r\n", section.title);
        let _ = (section.write)(&facts, &mut text);
    }
    call.reply.text(&text);
    Ok(Step::Replied)
}

fn server(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let uptime_s = (facts.wall_ms / 1000).saturating_sub(facts.status.started_s);
    write!(out, "redis_version:{REDIS_VERSION}\r\n")?;
    write!(out, "kvorum_version:{}\r\n", env!("CARGO_PKG_VERSION"))?;
    write!(out, "redis_mode:standalone\r\n")?;
    write!(out, "os:{} {}\r\n", std::env::consts::OS, std::env::consts::ARCH)?;
    write!(out, "arch_bits:{}\r\n", usize::BITS)?;
    write!(out, "process_id:{}\r\n", std::process::id())?;
    write!(out, "run_id:{}\r\n", run_id(facts.status.id, facts.status.started_s))?;
    write!(out, "tcp_port:{}\r\n", facts.server.port)?;
    write!(out, "server_time_usec:{}\r\n", facts.wall_ms.saturating_mul(1000))?;
    write!(out, "uptime_in_seconds:{uptime_s}\r\n")?;
    write!(out, "uptime_in_days:{}\r\n", uptime_s / 86_400)
}

/// Forty hexadecimal digits that differ between nodes and between starts of one.
fn run_id(node: NodeId, started_s: u64) -> String {
    format!("{:024x}{started_s:016x}", node.get())
}

fn clients(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    write!(out, "connected_clients:{}\r\n", facts.server.clients.count())?;
    write!(out, "cluster_connections:0\r\nblocked_clients:0\r\ntracking_clients:0\r\n")
}

fn memory(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let Status { index_bytes, index_limit_bytes, .. } = facts.status;
    write!(out, "used_memory:{index_bytes}\r\n")?;
    write!(out, "used_memory_human:{}\r\n", human(*index_bytes))?;
    write!(out, "maxmemory:{index_limit_bytes}\r\n")?;
    write!(out, "maxmemory_human:{}\r\n", human(*index_limit_bytes))?;
    write!(out, "maxmemory_policy:noeviction\r\n")
}

/// A size with one letter for its unit, as redis-server writes it.
fn human(bytes: u64) -> String {
    let units = [(1_u64 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes}B"),
        Some((unit, letter)) => {
            let hundredths = u128::from(bytes) * 100 / u128::from(unit);
            format!("{}.{:02}{letter}", hundredths / 100, hundredths % 100)
        }
    }
}

fn persistence(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let loading = u8::from(matches!(facts.status.serving, Serving::No(_)));
    write!(out, "loading:{loading}\r\nasync_loading:0\r\n")?;
    write!(out, "rdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n")?;
    write!(out, "rdb_last_bgsave_status:ok\r\n")?;
    write!(out, "aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_last_write_status:ok\r\n")?;
    write!(out, "aof_current_size:{}\r\n", facts.status.disk_bytes)
}

fn stats(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let commands: u64 = facts.server.meters.commands().map(|(_, calls)| calls).sum();
    let errors: u64 = facts.server.meters.errors().map(|(_, count)| count).sum();
    write!(out, "total_connections_received:{}\r\n", facts.server.clients.opened())?;
    write!(out, "total_commands_processed:{commands}\r\n")?;
    write!(out, "rejected_connections:0\r\nevicted_keys:0\r\n")?;
    write!(out, "total_error_replies:{errors}\r\n")
}

fn replication(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    // Every node takes writes; there are no Redis replicas.
    write!(out, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n")?;
    write!(out, "master_replid:{}\r\n", run_id(facts.status.id, facts.status.started_s))?;
    write!(out, "master_repl_offset:0\r\n")
}

fn command_stats(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let called = facts.server.meters.commands().filter(|(_, calls)| *calls > 0);
    for (name, calls) in called {
        write!(out, "cmdstat_{name}:calls={calls}\r\n")?;
    }
    Ok(())
}

fn error_stats(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let occurred = facts.server.meters.errors().filter(|(_, count)| *count > 0);
    for (code, count) in occurred {
        write!(out, "errorstat_{code}:count={count}\r\n")?;
    }
    Ok(())
}

fn cluster(_: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    write!(out, "cluster_enabled:0\r\n")
}

/// The keys on this node, of all keyspaces; DBSIZE counts those of one in the whole cluster.
fn keyspace(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    match facts.status.keys {
        0 => Ok(()),
        keys => write!(out, "db0:keys={keys},expires=0,avg_ttl=0\r\n"),
    }
}

fn kvorum(facts: &Facts<'_>, out: &mut String) -> std::fmt::Result {
    let status = facts.status;
    let up = status.nodes.iter().filter(|node| node.up).count();
    write!(out, "node_id:{}\r\n", status.id)?;
    match &status.serving {
        Serving::Yes => write!(out, "serving:yes\r\n")?,
        Serving::Rebuilding(partitions) => {
            write!(out, "serving:yes\r\nrebuilding_partitions:{partitions}\r\n")?;
        }
        Serving::No(why) => write!(out, "serving:no ({why})\r\n")?,
    }
    write!(out, "nodes:{}\r\nnodes_up:{up}\r\n", status.nodes.len())?;
    write!(out, "replication_factor:{}\r\n", status.replication_factor)?;
    for led in status.leads() {
        write!(out, "leads_{}:{}\r\n", led.keyspace, led.partitions)?;
    }
    write!(out, "pending_requests:{}\r\n", status.pending_requests)?;
    write!(out, "disk_bytes:{}\r\n", status.disk_bytes)
}
