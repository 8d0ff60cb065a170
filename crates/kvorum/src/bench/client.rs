//! One client of the load generator: a closed loop.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::recorder::Recorder;
use super::transport::{Command, Connect, Outcome, Transport};
use super::workload::{Generator, Kind, Operation};

/// The pause before a lost connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Keys that differ in no more than so many last digits are scanned together.
const SCANNED_DIGITS: usize = 3;

/// What all clients share.
#[derive(Debug)]
pub struct Course {
    /// Cleared when time is up.
    pub running: AtomicBool,
    /// How many operations may still be begun.
    pub remaining: AtomicI64,
    /// How many operations have ended, for the progress bar.
    pub ended: AtomicU64,
    /// What began before this is not recorded.
    pub measure_from: Instant,
}

impl Course {
    fn goes_on(&self) -> bool {
        self.running.load(Ordering::Relaxed) && self.remaining.load(Ordering::Relaxed) > 0
    }

    /// Takes up to `wanted` operations out of what remains.
    fn take(&self, wanted: usize) -> usize {
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let before = self.remaining.fetch_sub(wanted, Ordering::Relaxed);
        usize::try_from(before.clamp(0, wanted)).unwrap_or(0)
    }
}

/// Runs a client to the end of the course: send as many operations as the pipeline is deep, wait
/// for all answers, again.
///
/// # Errors
/// If the very first connection cannot be made. Connections lost later are counted and made anew.
pub async fn run(
    connect: &Connect,
    mut generator: Generator,
    value: &Bytes,
    pipeline: usize,
    course: &Course,
) -> anyhow::Result<Recorder> {
    let mut recorder = Recorder::default();
    let mut connection = Some(Transport::connect(connect).await?);
    while course.goes_on() {
        let Some(transport) = &mut connection else {
            connection = reconnect(connect, &mut recorder).await;
            continue;
        };
        let count = course.take(pipeline);
        let operations: Vec<Operation> = (0..count).map(|_| generator.next()).collect();
        let mut wave = Wave { operations: &operations, recorder: &mut recorder, course };
        if wave.run(transport, value).await.is_err() {
            connection = None;
        }
        course.ended.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    }
    Ok(recorder)
}

async fn reconnect(connect: &Connect, recorder: &mut Recorder) -> Option<Transport> {
    tokio::time::sleep(RECONNECT_PAUSE).await;
    let transport = Transport::connect(connect).await.ok();
    if transport.is_none() {
        recorder.error("CONNECT");
    }
    transport
}

/// Operations that are under way together.
struct Wave<'a> {
    operations: &'a [Operation],
    recorder: &'a mut Recorder,
    course: &'a Course,
}

impl Wave<'_> {
    /// Runs the first request of every operation, and then the second of those that have one.
    async fn run(&mut self, transport: &mut Transport, value: &Bytes) -> anyhow::Result<()> {
        let began = Instant::now();
        let all: Vec<usize> = (0..self.operations.len()).collect();
        let firsts = self.operations.iter().map(|operation| first_request(operation, value));
        let firsts: Vec<Command> = firsts.collect();
        let again = self.exchange(transport, &firsts, &all, began, true).await?;
        let second = |&index: &usize| {
            let key = self.operations.get(index)?.key.clone();
            Some(Command::Put { key, value: value.clone() })
        };
        let seconds: Vec<Command> = again.iter().filter_map(second).collect();
        if !seconds.is_empty() {
            self.exchange(transport, &seconds, &again, began, false).await?;
        }
        Ok(())
    }

    /// Runs requests, `indices` telling to which operations they belong, and returns the
    /// operations that have a second request to make.
    async fn exchange(
        &mut self,
        transport: &mut Transport,
        commands: &[Command],
        indices: &[usize],
        began: Instant,
        first: bool,
    ) -> anyhow::Result<Vec<usize>> {
        let mut again = Vec::new();
        let mut answered = 0;
        let (operations, course) = (self.operations, self.course);
        let recorder = &mut *self.recorder;
        let result = transport
            .run(commands, |position, outcome| {
                answered += 1;
                let Some(&index) = indices.get(position) else { return };
                let Some(operation) = operations.get(index) else { return };
                let failed = matches!(outcome, Outcome::Failed(_));
                if first && operation.kind == Kind::ReadModifyWrite && !failed {
                    again.push(index);
                    return;
                }
                if began >= course.measure_from {
                    note(recorder, operation.kind, &outcome, began.elapsed());
                }
            })
            .await;
        if result.is_err() && began >= course.measure_from {
            (answered..commands.len()).for_each(|_| recorder.error("CONNECTION"));
        }
        result.map(|()| again)
    }
}

fn first_request(operation: &Operation, value: &Bytes) -> Command {
    let key = operation.key.clone();
    match operation.kind {
        Kind::Read | Kind::ReadModifyWrite => Command::Get { key },
        Kind::Update | Kind::Insert => Command::Put { key, value: value.clone() },
        // There is no order across slots: instead of a range, a scan takes what begins alike.
        Kind::Scan => {
            let prefix = key.slice(..key.len().saturating_sub(SCANNED_DIGITS));
            Command::Scan { prefix, limit: operation.scan_length }
        }
    }
}

fn note(recorder: &mut Recorder, kind: Kind, outcome: &Outcome, latency: Duration) {
    match outcome {
        Outcome::Done => recorder.success(kind, latency),
        Outcome::Missing => {
            recorder.success(kind, latency);
            recorder.missing();
        }
        Outcome::Failed(text) => recorder.error(text),
    }
}
