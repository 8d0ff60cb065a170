//! Clients that write many keys, over the Redis protocol.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::server;

/// The length of a value, in bytes.
pub(super) const VALUE_BYTES: u32 = 100;
/// The length of a key's name, in bytes.
pub(super) const NAME_BYTES: u32 = 14;
/// How many commands are sent before their answers are read.
const AHEAD: u32 = 256;
/// How long a client waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Set,
    Delete,
}

/// A connection to one node.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    value: String,
}

impl Client {
    pub(super) fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(server::local(port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let value = "v".repeat(VALUE_BYTES as usize);
        Ok(Client { stream: BufReader::new(stream), value })
    }

    /// Writes all keys of a range, and fails unless all are acknowledged.
    pub(super) fn write_all(&mut self, keys: Range<u32>) -> Result<()> {
        let mut from = keys.start;
        while from < keys.end {
            let to = keys.end.min(from + AHEAD);
            let acts: Vec<(u32, Act)> = (from..to).map(|key| (key, Act::Set)).collect();
            let done = self.run(&acts)?;
            ensure!(done == acts.len(), "a node refused writes");
            from = to;
        }
        Ok(())
    }

    /// Does so much per second for so long; returns how much was acknowledged.
    pub(super) fn pace(
        &mut self,
        per_second: u32,
        span: Duration,
        mut next: impl FnMut() -> (u32, Act),
    ) -> Result<usize> {
        const BATCHES_PER_SECOND: u32 = 100;
        let began = Instant::now();
        let (mut batches, mut done) = (0, 0);
        while began.elapsed() < span {
            let acts: Vec<_> = (0..per_second / BATCHES_PER_SECOND).map(|_| next()).collect();
            done += self.run(&acts)?;
            batches += 1;
            let due = began + Duration::from_secs(1) * batches / BATCHES_PER_SECOND;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(done)
    }

    /// Sends commands ahead of their answers; returns how many were acknowledged.
    fn run(&mut self, acts: &[(u32, Act)]) -> Result<usize> {
        let mut commands = String::new();
        for (key, act) in acts {
            match act {
                Act::Set => write!(commands, "SET {} {}\r\n", name(*key), self.value)?,
                Act::Delete => write!(commands, "DEL {}\r\n", name(*key))?,
            }
        }
        let mut done = 0;
        self.ask(&commands, acts.len(), |line| {
            done += usize::from(line.starts_with(['+', ':']));
            Ok(())
        })?;
        Ok(done)
    }

    /// How many of these keys the node finds.
    pub(super) fn exists(&mut self, keys: &[u32]) -> Result<usize> {
        let mut there = 0;
        for chunk in keys.chunks(AHEAD as usize) {
            let mut commands = String::new();
            for key in chunk {
                write!(commands, "EXISTS {}\r\n", name(*key))?;
            }
            self.ask(&commands, chunk.len(), |line| {
                let count = line.trim().strip_prefix(':').and_then(|n| n.parse::<usize>().ok());
                there += count.with_context(|| format!("EXISTS was answered {line:?}"))?;
                Ok(())
            })?;
        }
        Ok(there)
    }

    fn ask(
        &mut self,
        commands: &str,
        answers: usize,
        mut take: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        self.stream.get_mut().write_all(commands.as_bytes())?;
        let mut line = String::new();
        for _ in 0..answers {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "a node closed the connection");
            take(&line)?;
        }
        Ok(())
    }
}

fn name(key: u32) -> String {
    format!("key:{key:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_is_said() {
        assert_eq!(name(7).len(), NAME_BYTES as usize);
        assert_eq!(name(u32::MAX).len(), NAME_BYTES as usize);
    }
}
