//! Writes and reads that go on while a test breaks things.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ledger::{Entry, Ledger, Outcome};
use crate::poll::within;
use crate::resp::{Answer, Resp};

/// How many threads write.
const WRITERS: u64 = 2;
/// How many keys each of them has at a time.
const KEYS: usize = 64;
/// How many writes are sent ahead of their answers, to different keys.
const AHEAD: usize = 8;
/// The pause between two batches: two cores are shared by all that goes on.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a client waits for an answer: longer than a request's deadline, so that a node that
/// works always answers first.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long a client leaves a node alone that did not answer.
const AVOIDANCE: Duration = Duration::from_secs(1);
/// How long writes may make no progress before a test fails.
const STALL: Duration = Duration::from_secs(45);

/// A running load: two writers and one reader, each through all nodes in random order.
#[derive(Debug)]
pub struct Load {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Board {
    ports: Vec<u16>,
    filler: usize,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    reads: AtomicU64,
    entries: Mutex<Vec<Arc<Entry>>>,
    violations: Mutex<Vec<String>>,
}

impl Load {
    /// Starts writing and reading through these RESP ports.
    #[must_use]
    pub fn start(ports: &[u16]) -> Load {
        Load::new(100, ports)
    }

    /// Starts writing values of about this many bytes.
    #[must_use]
    pub fn with_values_of(filler: usize, ports: &[u16]) -> Load {
        Load::new(filler, ports)
    }

    fn new(filler: usize, ports: &[u16]) -> Load {
        let board = Arc::new(Board {
            ports: ports.to_vec(),
            filler,
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            entries: Mutex::default(),
            violations: Mutex::default(),
        });
        let mut threads: Vec<JoinHandle<()>> = (0..WRITERS)
            .map(|writer| {
                let board = Arc::clone(&board);
                thread::spawn(move || Writer::new(writer, &board).run())
            })
            .collect();
        let reader = Arc::clone(&board);
        threads.push(thread::spawn(move || read(&reader)));
        Load { board, threads }
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.board.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Panics
    /// That takes too long.
    pub fn await_progress(&self, writes: u64) {
        let target = self.acknowledged() + writes;
        within(STALL, &format!("{writes} more writes are acknowledged"), || {
            (self.acknowledged() >= target).then_some(())
        });
    }

    /// Stops and returns what was written.
    ///
    /// # Panics
    /// A value that was read meanwhile was wrong, or none was read.
    #[must_use]
    pub fn stop(mut self) -> Ledger {
        self.board.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread of the load panicked");
        }
        let violations = self.board.violations.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert!(self.board.reads.load(Ordering::Relaxed) > 0, "nothing was read");
        Ledger::new(self.board.entries())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that panics does not wait for the threads.
        self.board.stop.store(true, Ordering::Relaxed);
    }
}

impl Board {
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn add(&self, key: String) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(key, self.filler));
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&entry));
        entry
    }
}

/// The connections of one thread, made when they are needed.
struct Connections<'a> {
    ports: &'a [u16],
    open: HashMap<u16, Resp>,
    /// The nodes that did not answer, and when.
    silent: HashMap<u16, Instant>,
    random: ChaCha8Rng,
}

impl<'a> Connections<'a> {
    fn new(board: &'a Board, seed: u64) -> Connections<'a> {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Connections { ports: &board.ports, open: HashMap::new(), silent: HashMap::new(), random }
    }

    /// Runs an exchange with a node picked at random. A connection that fails is not used again.
    /// Nothing if there is no connection, and so nothing was sent.
    fn exchange<T>(
        &mut self,
        talk: impl FnOnce(&mut Resp) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let port = self.ports[self.random.random_range(0..self.ports.len())];
        if self.silent.get(&port).is_some_and(|since| since.elapsed() < AVOIDANCE) {
            return None;
        }
        let connection = match self.open.remove(&port) {
            Some(connection) => Ok(connection),
            None => greeted(port),
        };
        let Ok(mut connection) = connection else {
            self.silent.insert(port, Instant::now());
            return None;
        };
        let result = talk(&mut connection);
        if result.is_ok() {
            self.open.insert(port, connection);
        } else {
            self.silent.insert(port, Instant::now());
        }
        Some(result)
    }
}

/// A connection that asks for quorums, whatever the keyspace's default is.
fn greeted(port: u16) -> io::Result<Resp> {
    let mut connection = Resp::connect(port)?;
    connection.set_answer_limit(ANSWER_LIMIT)?;
    let answer = connection.call(&[b"KV.CONSISTENCY", b"READ", b"QUORUM", b"WRITE", b"QUORUM"])?;
    let refused = || io::Error::other(format!("{answer:?}"));
    answer.is_ok().then_some(connection).ok_or_else(refused)
}

struct Writer<'a> {
    number: u64,
    board: &'a Board,
    keys: Vec<Arc<Entry>>,
    /// How many keys it has had.
    made: usize,
    connections: Connections<'a>,
}

impl<'a> Writer<'a> {
    fn new(number: u64, board: &'a Board) -> Writer<'a> {
        let connections = Connections::new(board, number);
        Writer { number, board, keys: Vec::new(), made: 0, connections }
    }

    fn run(&mut self) {
        let mut next = 0;
        while !self.board.stopping() {
            self.replace_doubtful_keys();
            let batch: Vec<Arc<Entry>> =
                (0..AHEAD).map(|ahead| Arc::clone(&self.keys[(next + ahead) % KEYS])).collect();
            next = (next + AHEAD) % KEYS;
            self.write(&batch);
            // Sleep, because a load that takes all processors would only test the machine.
            thread::sleep(PAUSE);
        }
    }

    fn replace_doubtful_keys(&mut self) {
        self.keys.retain(|entry| !entry.is_doubtful());
        while self.keys.len() < KEYS {
            let key = format!("writer{}:key{}", self.number, self.made);
            self.made += 1;
            self.keys.push(self.board.add(key));
        }
    }

    fn write(&mut self, batch: &[Arc<Entry>]) {
        let mut sent = Vec::new();
        let mut settled = 0;
        let exchanged = self.connections.exchange(|connection| {
            for entry in batch {
                let (number, value) = entry.begin();
                connection.push(&[b"SET", entry.key.as_bytes(), &value]);
                sent.push((entry, number));
            }
            connection.flush()?;
            for (entry, number) in &sent {
                let answer = connection.receive();
                let outcome = Outcome::of(&answer);
                entry.settle(*number, outcome);
                settled += 1;
                if outcome == Outcome::Acknowledged {
                    self.board.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                answer?;
            }
            Ok(())
        });
        if exchanged.is_some_and(|result| result.is_err()) {
            for (entry, number) in &sent[settled..] {
                entry.settle(*number, Outcome::Unknown);
            }
        }
    }
}

/// Reads keys at random and holds what comes back against what was acknowledged before the read
/// began, and against what this reader has seen before.
fn read(board: &Board) {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut connections = Connections::new(board, WRITERS);
    while !board.stopping() {
        // Sleep, because a load that takes all processors would only test the machine.
        thread::sleep(PAUSE);
        let entries = board.entries();
        if entries.is_empty() {
            continue;
        }
        let entry = &entries[connections.random.random_range(0..entries.len())];
        let floor = entry.acknowledged().max(seen.get(&entry.key).copied().unwrap_or(0));
        let answer =
            connections.exchange(|connection| connection.call(&[b"GET", entry.key.as_bytes()]));
        let Some(Ok(answer @ (Answer::Bulk(_) | Answer::Null))) = answer else { continue };
        board.reads.fetch_add(1, Ordering::Relaxed);
        match entry.judge(answer.value(), floor) {
            Ok(number) => {
                seen.insert(entry.key.clone(), number);
            }
            Err(violation) => {
                let mut violations =
                    board.violations.lock().unwrap_or_else(PoisonError::into_inner);
                violations.push(format!("read during the load: {violation}"));
                return;
            }
        }
    }
}
