//! The kvorum binary: the commands people type.
//!
//! One file per command (`server`, `dev`, `bench` and the data commands), each with its options
//! and a function `run`. What they share: [`exit`] says what a script can rely on, [`output`]
//! writes, [`discovery`] finds the cluster that `kvorum dev` runs, [`target`] turns `--node` and
//! `--endpoint` into a client, [`nodes`] reaches every node of its cluster.

mod bench;
mod cli;
mod config;
mod data;
mod dev;
mod discovery;
mod duration;
mod exit;
mod nodes;
mod output;
mod repair;
mod server;
mod settings;
mod status;
mod target;

use std::process::ExitCode;

use clap::Parser;

/// Many small allocations from several threads are what a node's memory is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Clap itself answers --help, --version and impossible command lines (exit code 2).
    let command = cli::Cli::parse().command;
    match cli::run(command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(&format!("kvorum: {error:#}"));
            exit::Exit::of(&error).into()
        }
    }
}
