//! `kvorum repair`: how the copies of eventual keyspaces are kept equal.

mod pairs;
mod run;
mod status;

use clap::Subcommand;

use crate::exit::Exit;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell how the copies of each two nodes compare, and what keeps them from being equal.
    Status(status::Options),
    /// Compare copies now, and repair what differs.
    Run(run::Options),
}

/// Runs `kvorum repair`.
///
/// # Errors
/// What the user is told.
pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Status(options) => status::run(options),
        Command::Run(options) => run::run(options),
    }
}
