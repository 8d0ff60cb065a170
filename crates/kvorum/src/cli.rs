//! The command line: every command by name, and nothing else.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::{bench, config, data, dev, output, repair, server, status};

/// A distributed key-value store: start a cluster, run a node, read and write.
#[derive(Debug, Parser)]
#[command(
    name = "kvorum",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done; 1 not found or refused; 2 wrong usage; 3 unavailable or outcome unknown;
78 a node refuses to start and starting it again will not help."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a real cluster on this machine.
    Dev(dev::Options),
    /// Run one node.
    Server(server::Options),
    /// Look at a node's configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Store a value.
    Put(data::PutOptions),
    /// Print the value of a key.
    Get(data::GetOptions),
    /// Delete keys.
    Del(data::DelOptions),
    /// Tell whether a key has a value.
    #[command(after_help = "\
Example:
  kvorum exists greeting && echo there")]
    Exists(data::KeyOptions),
    /// Add to a number (in a strong keyspace).
    Incr(data::IncrOptions),
    /// Store a value if a condition holds (in a strong keyspace).
    Cas(data::CasOptions),
    /// Change how long a value remains visible (in a strong keyspace).
    Expire(data::ExpireOptions),
    /// Tell how long a value remains visible.
    #[command(after_help = "\
Example:
  kvorum ttl session:7")]
    Ttl(data::KeyOptions),
    /// List keys and values.
    Scan(data::ScanOptions),
    /// Tell how the cluster is.
    Status(status::Options),
    /// See how the copies of eventual keyspaces are kept equal.
    #[command(subcommand)]
    Repair(repair::Command),
    /// Measure a cluster under load.
    Bench(Box<bench::Options>),
    /// Print a completion script.
    #[command(after_help = "\
Example:
  kvorum completions bash > ~/.local/share/bash-completion/completions/kvorum")]
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// Runs a command to its end.
///
/// # Errors
/// What the user is told; [`Exit::of`] finds the exit code.
pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Dev(options) => dev::run(&options),
        Command::Server(options) => server::run(options),
        Command::Config(command) => config::run(command),
        Command::Put(options) => data::put(options),
        Command::Get(options) => data::get(options),
        Command::Del(options) => data::del(options),
        Command::Exists(options) => data::exists(options),
        Command::Incr(options) => data::incr(options),
        Command::Cas(options) => data::cas(options),
        Command::Expire(options) => data::expire(options),
        Command::Ttl(options) => data::ttl(options),
        Command::Scan(options) => data::scan(options),
        Command::Status(options) => status::run(&options),
        Command::Repair(command) => repair::run(&command),
        Command::Bench(options) => bench::run(&options),
        Command::Completions { shell } => {
            // Through memory: the generator knows no answer to a reader that has gone away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kvorum", &mut script);
            output::write(&script)?;
            Ok(Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests;
