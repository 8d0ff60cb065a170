//! Measures a three-node cluster beside redis-server and a three-node etcd, in one run on one
//! machine.
//!
//! All do the same work, each case three times in turns; the page shows medians. The load comes
//! from redis-benchmark, for etcd from clients of our own. CPU time of all server processes per
//! operation is the steadier figure on small machines, where load and servers share the cores.

pub mod convergence;
pub mod digests;
mod etcd;
pub mod failover;
mod load;
mod nodes;
mod page;
mod section;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::server::{self, Server};

use load::{Case, Figures};

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each case is measured; odd, so that there is a median.
    pub rounds: usize,
    /// Multiplies the number of requests of every case.
    pub scale: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { rounds: 3, scale: 1.0 }
    }
}

impl Options {
    /// Reads `--rounds N` and `--scale X`.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub fn parse(arguments: &[&str]) -> Result<Options> {
        let mut options = Options::default();
        for pair in arguments.chunks(2) {
            match *pair {
                ["--rounds", number] => options.rounds = number.parse()?,
                ["--scale", number] => options.scale = number.parse()?,
                _ => bail!("not an option of bench: {}", pair.join(" ")),
            }
        }
        if options.rounds % 2 == 0 || options.scale <= 0.0 {
            bail!("--rounds is an odd number, --scale a positive one");
        }
        Ok(options)
    }
}

/// The number of the eventual keyspace that the cluster has beside its default.
const EVENTUAL: u8 = 1;

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct System<'a> {
    /// Its name on the page.
    pub(crate) name: &'static str,
    pub(crate) server: &'a Server,
    pub(crate) protocol: Protocol,
}

/// How a system is spoken to.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    /// Redis's, in the keyspace with this number.
    Redis(u8),
    /// etcd's v3.
    Etcd,
}

impl Protocol {
    /// Whether it can do a case: clients of etcd wait for each answer.
    fn does(self, case: &Case) -> bool {
        matches!(self, Protocol::Redis(_)) || case.pipeline == 1
    }
}

/// What was measured of one system in one case.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    system: &'static str,
    case: Case,
    figures: Figures,
}

/// Measures and writes `docs/benchmarks.md` below `root`.
///
/// # Errors
/// If a program is missing, a server does not start, or an answer is not understood.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let scratch = server::scratch_folder("bench")?;
    let result = measure(root, &scratch, options);
    fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
    let path = root.join("docs/benchmarks.md");
    // The other sections are written by other commands.
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, page::render(&result?, options)? + section::all(&before))
        .with_context(|| format!("writing {}", path.display()))
}

fn measure(root: &Path, scratch: &Path, options: &Options) -> Result<Vec<Measured>> {
    let cluster = Server::cluster(root, &scratch.join("cluster"), &[])?;
    let redis = Server::redis(&scratch.join("redis"))?;
    let etcd = Server::etcd(&scratch.join("etcd"))?;
    let system = |name, server, protocol| System { name, server, protocol };
    let systems = [
        system("kvorum, 3 nodes, strong", &cluster, Protocol::Redis(0)),
        system("etcd, 3 nodes", &etcd, Protocol::Etcd),
        system("kvorum, 3 nodes, QUORUM", &cluster, Protocol::Redis(EVENTUAL)),
        system("redis-server, 1 node, AOF always", &redis, Protocol::Redis(0)),
    ];
    let mut measured = Vec::new();
    for case in load::CASES {
        // In turns, so that whatever else the machine does meanwhile falls on all.
        let able = || systems.iter().filter(|system| system.protocol.does(case));
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..options.rounds {
            for (system, rounds) in able().zip(&mut rounds) {
                rounds.push(load::run(case, options.scale, system)?);
            }
        }
        for (system, rounds) in able().zip(&rounds) {
            let figures = load::medians(rounds).context("at least one round")?;
            page::progress(system.name, case, &figures)?;
            measured.push(Measured { system: system.name, case: case.clone(), figures });
        }
    }
    Ok(measured)
}
