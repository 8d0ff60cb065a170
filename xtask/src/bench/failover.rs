//! Kills leaders, and measures how long the writes to their partitions stand still, and that the
//! others do not.
//!
//! Each of some keys in different partitions has a client that writes it all the time, one write
//! after the other, through a node that is not killed. A write that fails is sent again at once: a
//! SET may be. What is measured is the longest time between two acknowledgements of a key, around
//! each death: of the keys that the killed node led, and of all others.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::section;
use crate::server::{self, Server};

/// How often a leader is killed.
const KILLS: u32 = 20;
/// The nodes of the cluster.
const NODES: [u32; 3] = [1, 2, 3];
/// How many keys are written.
const KEYS: usize = 12;
/// How long the clients write before a leader is killed, and after all writes go on again.
const CALM: Duration = Duration::from_secs(1);
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before a write is sent again.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a client waits for an answer: longer than the deadline of a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// The heading of the section of the page.
const HEADING: &str = "When a leader is killed";

/// Times that were measured.
#[derive(Debug, Default)]
struct Measured {
    /// The longest time between two acknowledgements of each key that the killed node led.
    led: Vec<Duration>,
    /// The same of the keys that others led.
    others: Vec<Duration>,
}

/// What a client saw: when each write that was acknowledged began and ended.
type Writes = Vec<(Instant, Instant)>;

/// Measures, and writes a section of `docs/benchmarks.md` below `root`.
///
/// # Errors
/// If a program is missing, a node does not start, or writes do not go on.
pub fn run(root: &Path) -> Result<()> {
    let scratch = server::scratch_folder("bench")?;
    let measured = measure(root, &scratch);
    std::fs::remove_dir_all(&scratch)?;
    let text = render(measured?)?;
    write!(std::io::stdout(), "{text}")?;
    section::write(root, HEADING, &text)
}

fn measure(root: &Path, scratch: &Path) -> Result<Measured> {
    let cluster = Server::cluster(root, &scratch.join("cluster"), &[])?;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key{n}")).collect();
    let mut measured = Measured::default();
    for round in 0..KILLS {
        let victim = round % 3 + 1;
        let witness = victim % 3 + 1;
        let led = await_leaders(&cluster, &keys, witness)?;
        let stop = Arc::new(AtomicBool::new(false));
        let port = cluster.resp_port(witness)?;
        let clients: Vec<_> = keys
            .iter()
            .map(|key| {
                let (key, stop) = (key.clone(), Arc::clone(&stop));
                thread::spawn(move || write_all_the_time(port, &key, &stop))
            })
            .collect();
        thread::sleep(CALM);
        cluster.kill(victim)?;
        // Whoever leads now is seen by the witness; then the clients go on for a while.
        await_others(&cluster, &keys, victim, witness)?;
        thread::sleep(CALM);
        let end = Instant::now();
        stop.store(true, Ordering::Relaxed);
        for (client, led) in clients.into_iter().zip(led) {
            let Ok(writes) = client.join() else { bail!("a client panicked") };
            measured.add(led == victim, &writes?, end)?;
        }
        writeln!(std::io::stdout(), "{} of {KILLS} leaders killed", round + 1)?;
    }
    Ok(measured)
}

impl Measured {
    /// Adds what a client saw until `end`; writes that do not go on are a gap until then.
    fn add(&mut self, was_led: bool, writes: &[(Instant, Instant)], end: Instant) -> Result<()> {
        let ends = || writes.iter().map(|(_, ended)| *ended);
        let next = ends().skip(1).chain([end]);
        let gaps = ends().zip(next).map(|(one, next)| next.saturating_duration_since(one));
        let longest = gaps.max().context("a key was not written")?;
        if was_led {
            self.led.push(longest);
        } else {
            self.others.push(longest);
        }
        Ok(())
    }
}

/// Writes a key until it is told to stop. Only a node that is not killed is asked, so a connection
/// that fails ends the measurement.
fn write_all_the_time(port: u16, key: &str, stop: &AtomicBool) -> Result<Writes> {
    let stream = TcpStream::connect(server::local(port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut stream = BufReader::new(stream);
    let (mut writes, mut line) = (Writes::new(), String::new());
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        stream.get_mut().write_all(format!("SET {key} value\r\n").as_bytes())?;
        line.clear();
        stream.read_line(&mut line)?;
        match line.as_bytes().first() {
            Some(b'+') => writes.push((began, Instant::now())),
            Some(b'-') => thread::sleep(AGAIN),
            _ => bail!("a node answered {line:?}"),
        }
    }
    Ok(writes)
}

/// Waits until every node leads some of the keys, so that whoever was killed before is whole again,
/// and tells who leads each.
fn await_leaders(cluster: &Server, keys: &[String], witness: u32) -> Result<Vec<u32>> {
    await_that("every node leads some of the keys", || {
        let leaders = leaders(cluster, keys, witness)?;
        Ok(leaders.filter(|leaders| NODES.iter().all(|node| leaders.contains(node))))
    })
}

/// Waits until all keys are led by others than the victim.
fn await_others(cluster: &Server, keys: &[String], victim: u32, witness: u32) -> Result<()> {
    await_that("others lead what the victim led", || {
        let leaders = leaders(cluster, keys, witness)?;
        Ok(leaders.filter(|leaders| !leaders.contains(&victim)).map(drop))
    })
}

/// Who leads the keys, as a node sees it; nothing if it does not know of one.
fn leaders(cluster: &Server, keys: &[String], witness: u32) -> Result<Option<Vec<u32>>> {
    let port = cluster.http_port(witness)?;
    let leader = |key: &String| {
        let question = format!("GET /v1/route?key={key} HTTP/1.0\r\n\r\n");
        let answer = server::answer(port, &question)?;
        let rest = answer.split_once("\"leader\":").context("a route names a leader")?.1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse::<u32>().ok())
    };
    keys.iter().map(leader).collect()
}

fn await_that<T>(what: &str, ask: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn render(Measured { mut led, mut others }: Measured) -> Result<String> {
    led.sort_unstable();
    others.sort_unstable();
    let row = |name: &str, sorted: &[Duration]| -> Result<String> {
        let at = |share| percentile(sorted, share).context("something was measured");
        let (p50, p99, max) = (at(0.5)?, at(0.99)?, at(1.0)?);
        let ms = Duration::as_millis;
        Ok(format!("| {name} | {} | {} | {} |\n", ms(&p50), ms(&p99), ms(&max)))
    };
    Ok(format!(
        "Three nodes on one machine, {KILLS} times `kill -9` of one of them while {KEYS} clients write one \
         key each through another; milliseconds. A leader that was killed is not one that falls silent: its \
         connections break at once.\n\n\
         | longest time between two acknowledgements of a key | p50 | p99 | max |\n|---|---|---|---|\n{}{}",
        row("that the killed node led", &led)?,
        row("that another node leads", &others)?,
    ))
}

/// The smallest value that is no less than this share of all.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "there are few, and a share is between zero and one"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let at = |share| percentile(&sorted, share).map(|found| found.as_millis());
        assert_eq!((at(0.5), at(0.99), at(1.0)), (Some(100), Some(198), Some(200)));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[Duration::ZERO], 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn the_longest_gap_of_a_key_counts_and_so_does_one_that_does_not_end() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let writes = [(at(0), at(10)), (at(90), at(110)), (at(120), at(400)), (at(401), at(402))];
        let mut measured = Measured::default();
        measured.add(true, &writes, at(410)).unwrap();
        measured.add(false, &writes, at(900)).unwrap();
        assert_eq!(measured.led, [Duration::from_millis(290)]);
        assert_eq!(measured.others, [Duration::from_millis(498)]);
        assert!(measured.add(true, &[], at(900)).is_err());
    }
}
