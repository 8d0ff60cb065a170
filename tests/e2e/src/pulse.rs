//! A counter that is incremented all the time, and what its client saw.
//!
//! Increments are the strictest load: one that is lost, or executed twice, shows in the sum. A
//! pulse follows docs/protocols.md, "When to try again": what was not executed is sent again,
//! through another node; what may have been is not.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ledger::Reader;
use crate::poll::until;
use crate::resp::{Answer, Resp};

/// The pause between two increments: two cores are shared by all that goes on.
const PAUSE: Duration = Duration::from_millis(2);
/// The first pause before something is sent again, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How long a client waits for an answer: longer than a request's deadline, so that a node that
/// works always answers first.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// After so long without success an operation has failed.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// A running pulse.
#[derive(Debug)]
pub struct Pulse {
    beat: Arc<Beat>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Beat {
    key: String,
    ports: Vec<u16>,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    tally: Mutex<Tally>,
}

/// What a pulse came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The counter.
    pub key: String,
    /// Increments that were acknowledged.
    pub acknowledged: u64,
    /// Increments that may have been executed, and why nothing is known.
    pub unknown: Vec<String>,
    /// Increments that were sent again because nothing had been executed.
    pub again: u64,
    /// Increments that were given up.
    pub failed: Vec<String>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
}

impl Pulse {
    /// Starts to increment a counter through the nodes with these ports, beginning with the first.
    #[must_use]
    pub fn start(key: &str, ports: &[u16]) -> Pulse {
        let beat = Arc::new(Beat {
            key: key.to_owned(),
            ports: ports.to_vec(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            tally: Mutex::new(Tally { key: key.to_owned(), ..Tally::default() }),
        });
        let shared = Arc::clone(&beat);
        let thread = thread::spawn(move || Client::new(&shared).run());
        Pulse { beat, thread: Some(thread) }
    }

    /// Waits until so many more increments are acknowledged.
    ///
    /// # Panics
    /// That takes too long.
    pub fn await_progress(&self, increments: u64) {
        let acknowledged = || self.beat.acknowledged.load(Ordering::Relaxed);
        let target = acknowledged() + increments;
        until(&format!("{} is incremented {increments} times", self.beat.key), || {
            (acknowledged() >= target).then_some(())
        });
    }

    /// Stops, and tells what it came to.
    ///
    /// # Panics
    /// The client was told something that makes no sense.
    #[must_use]
    pub fn stop(mut self) -> Tally {
        self.beat.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a pulse is stopped once");
        thread.join().expect("the thread of a pulse panicked");
        self.beat.tally().clone()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // A test that panics does not wait for the thread.
        self.beat.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    /// Asserts that every increment succeeded, with no more than being sent again, and was
    /// executed once.
    ///
    /// # Panics
    /// One was not.
    pub fn assert_flawless(&self, port: u16) {
        assert!(self.unknown.is_empty() && self.failed.is_empty(), "{self:?}");
        self.assert_counted(port);
    }

    /// Asserts that the counter stands at what was acknowledged, or above by no more than what is
    /// unknown.
    ///
    /// # Panics
    /// It does not.
    pub fn assert_counted(&self, port: u16) {
        assert!(self.acknowledged > 0, "{self:?}");
        let value = Reader::new(port).get(&self.key).unwrap_or_default();
        let sum: u64 = String::from_utf8_lossy(&value).parse().expect("a number");
        let most = self.acknowledged + self.unknown.len() as u64;
        assert!((self.acknowledged..=most).contains(&sum), "it stands at {sum}: {self:?}");
    }
}

impl Beat {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// How one attempt ended.
enum Attempt {
    Done,
    /// Nothing was executed.
    NotExecuted(String),
    Unknown(String),
}

struct Client<'a> {
    beat: &'a Beat,
    /// The node in use.
    at: usize,
    connection: Option<Resp>,
    /// When the last increment was acknowledged.
    last: Instant,
}

impl<'a> Client<'a> {
    fn new(beat: &'a Beat) -> Client<'a> {
        Client { beat, at: 0, connection: None, last: Instant::now() }
    }

    fn run(&mut self) {
        while !self.beat.stopping() {
            self.increment();
            // Sleep, because a load that takes all processors would only test the machine.
            thread::sleep(PAUSE);
        }
    }

    /// Increments once, and again while nothing was executed.
    fn increment(&mut self) {
        let (begun, (mut pause, longest)) = (Instant::now(), BACK_OFF);
        loop {
            match self.attempt() {
                Attempt::Done => {
                    let gap = self.last.elapsed();
                    self.last = Instant::now();
                    self.beat.acknowledged.fetch_add(1, Ordering::Relaxed);
                    let mut tally = self.beat.tally();
                    tally.acknowledged += 1;
                    tally.longest_gap = tally.longest_gap.max(gap);
                    return;
                }
                Attempt::NotExecuted(why) => {
                    self.move_on();
                    let mut tally = self.beat.tally();
                    tally.again += 1;
                    if begun.elapsed() > GIVEN_UP {
                        tally.failed.push(why);
                        return;
                    }
                }
                Attempt::Unknown(why) => {
                    let node = self.beat.ports[self.at];
                    self.move_on();
                    self.beat.tally().unknown.push(format!("port {node}: {why}"));
                    return;
                }
            }
            // Sleep, because the cluster needs time to go on.
            thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    fn move_on(&mut self) {
        self.connection = None;
        self.at = (self.at + 1) % self.beat.ports.len();
    }

    fn attempt(&mut self) -> Attempt {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => match connect(self.beat.ports[self.at]) {
                Ok(connection) => none.insert(connection),
                Err(error) => return Attempt::NotExecuted(error.to_string()),
            },
        };
        match connection.call(&[b"INCR", self.beat.key.as_bytes()]) {
            Ok(Answer::Integer(_)) => Attempt::Done,
            Ok(answer) if answer.is_not_executed() => Attempt::NotExecuted(format!("{answer:?}")),
            Ok(answer) => Attempt::Unknown(format!("{answer:?}")),
            Err(error) => Attempt::Unknown(error.to_string()),
        }
    }
}

fn connect(port: u16) -> io::Result<Resp> {
    let connection = Resp::connect(port)?;
    connection.set_answer_limit(ANSWER_LIMIT)?;
    Ok(connection)
}
