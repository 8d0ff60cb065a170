//! `kvorum server`: one node, until a signal stops it.

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use kvorum_server::config::Config;
use kvorum_server::{Endpoints, ServerError};
use rustix::process::Signal;
use tokio::runtime::Builder;

use crate::exit::{Exit, Refused};
use crate::output;
use crate::settings::SettingFlags;

/// Options of `kvorum server`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kvorum server
  kvorum server --node-num 1 --peers 1=10.0.0.1:50051,2=10.0.0.2:50051,3=10.0.0.3:50051
  kvorum server --config kvorum.toml

Flags win over the environment, the environment over the file. `kvorum config check` with the same
flags prints what every setting would be, and why. Exit code 78: the node refuses to start, and
starting it again will not help.")]
pub struct Options {
    /// End when this process ends: how `kvorum dev` leaves nothing behind.
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<u32>,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Runs the node.
///
/// # Errors
/// [`Refused`] if it cannot start and never will; anything else may work next time.
pub fn run(options: Options) -> anyhow::Result<Exit> {
    if let Some(parent) = options.die_with_parent {
        die_with(parent)?;
    }
    let config = Config::load(&options.settings.given())
        .map_err(|error| Refused::because(error.to_string()))?;
    // gRPC and HTTP run here; the node brings the thread that everything else depends on.
    let runtime = Builder::new_multi_thread().thread_name("api").enable_all().build()?;
    match runtime.block_on(kvorum_server::run(config, announce)) {
        Ok(()) => Ok(Exit::Ok),
        Err(ServerError::Refused(why)) => Err(Refused::because(why).into()),
        Err(ServerError::Failed(why)) => Err(anyhow!(why)),
    }
}

fn announce(endpoints: Endpoints) {
    let Endpoints { resp, grpc, http } = endpoints;
    let text = format!("ready: redis {resp}, grpc {grpc}, http://{http}");
    // Nobody may be listening; the node serves all the same.
    let _ = output::line(&text);
}

/// Asks the kernel to kill this process when its parent ends (prctl(2), `PR_SET_PDEATHSIG`).
/// A log that survives power failures survives that too.
fn die_with(parent: u32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot bind this process to its parent")?;
    // It may have ended before it was asked for.
    let actual = rustix::process::getppid().map(|pid| pid.as_raw_pid());
    let expected = i32::try_from(parent).ok();
    ensure!(actual == expected, "the parent process {parent} is gone");
    Ok(())
}
