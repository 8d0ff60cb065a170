//! `kvorum config`: what a node would be configured to do.

use clap::{Args, Subcommand};
use kvorum_server::config::Config;

use crate::exit::Exit;
use crate::output;
use crate::settings::SettingFlags;

/// The commands below `kvorum config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print every setting with its value, where it came from and what it means.
    Check(CheckOptions),
}

/// Options of `kvorum config check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum config check --config kvorum.toml
  KVORUM_GRPC_PORT=50061 kvorum config check

Exit code 1 if the settings make no sense.")]
pub struct CheckOptions {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Runs a command.
///
/// # Errors
/// What is wrong with the configuration, in one sentence.
pub fn run(command: Command) -> anyhow::Result<Exit> {
    let Command::Check(CheckOptions { settings }) = command;
    let config = Config::load(&settings.given())?;
    output::write(config.report().as_bytes())?;
    Ok(Exit::Ok)
}
