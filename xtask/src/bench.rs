//! Measures a three-node cluster beside redis-server, in one run on one machine.
//!
//! Both do the same work under the same load generator (redis-benchmark), each case three times in
//! turns; the page shows medians. CPU time of all server processes per operation is the steadier
//! figure on small machines, where load and servers share the cores.

mod load;
mod page;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use load::{Case, Figures};
use server::Server;

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
    let scratch = scratch_folder()?;
    let result = measure(root, &scratch, options);
    fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
    let path = root.join("docs/benchmarks.md");
    fs::write(&path, page::render(&result?, options)?)
        .with_context(|| format!("writing {}", path.display()))
}

fn measure(root: &Path, scratch: &Path, options: &Options) -> Result<Vec<Measured>> {
    let cluster = Server::cluster(root, &scratch.join("cluster"))?;
    let redis = Server::redis(&scratch.join("redis"))?;
    let servers = [&cluster, &redis];
    let mut measured = Vec::new();
    for case in load::CASES {
        // In turns, so that whatever else the machine does meanwhile falls on both.
        let mut rounds = servers.map(|_| Vec::new());
        for _ in 0..options.rounds {
            for (server, rounds) in servers.iter().zip(&mut rounds) {
                rounds.push(load::run(case, options.scale, server)?);
            }
        }
        for (server, rounds) in servers.iter().zip(&rounds) {
            let figures = load::medians(rounds).context("at least one round")?;
            page::progress(server.name, case, &figures)?;
            measured.push(Measured { system: server.name, case: case.clone(), figures });
        }
    }
    Ok(measured)
}

/// A folder of our own on the disk that the build uses: temporary file systems often have none.
fn scratch_folder() -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    let target = binary.parent().context("the program lies in a folder")?;
    let scratch = target.join(format!("bench-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    Ok(scratch)
}
