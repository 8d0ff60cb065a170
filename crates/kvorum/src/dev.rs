//! `kvorum dev`: a real cluster on this machine, one child process per node.
//!
//! Everything that can be refused is refused before the first child starts: a busy port is named
//! with its holder, a data directory in use with the process that uses it. After that `dev` only
//! watches: it reports what happens to its children, starts again those that die, and leaves
//! nothing behind, whichever way it ends itself (children ask the kernel to die with it).

mod cluster;
mod holder;
mod plan;
pub mod ports;
mod probe;
mod process;
mod restart;
mod voice;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::discovery::DEFAULT_DATA_DIR;
use crate::exit::Exit;
use crate::output::Format;

use plan::Plan;
use voice::Voice;

/// Options of `kvorum dev`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kvorum dev
  kvorum dev --nodes 5 --ephemeral --auto-ports
  kvorum dev -- --wal-sync thread      (what stands behind -- goes to every node)")]
pub struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    nodes: u32,
    /// Where the data lives; it survives a restart.
    #[arg(long, default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    data_dir: PathBuf,
    /// Keep the data in a temporary directory and delete it at the end.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Add this to every port, so that several clusters can run.
    #[arg(long, default_value_t = 0, value_name = "K")]
    base_port_offset: u16,
    /// Where a port is busy, try other offsets.
    #[arg(long)]
    auto_ports: bool,
    /// Leave a node that dies down.
    #[arg(long)]
    no_restart: bool,
    /// The form of the output: with `json`, one event per line.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Further flags for every node; see `kvorum server --help`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    server_flags: Vec<OsString>,
}

/// Runs the cluster until a signal stops it.
///
/// # Errors
/// What was refused, or which node could not be started and its last words.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let plan = Plan::new(options)?;
    let voice = Voice::new(options.output);
    // On the main thread: children die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cluster::run(plan, !options.no_restart, voice))
}
