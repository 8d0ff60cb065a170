//! SCAN, KEYS and RANDOMKEY: walk the partitions of a keyspace in slot order.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::limits::MAX_KEY;
use kvorum_core::{
    Cursor, Error, KeyspaceId, Layout, Mono, Op, Outcome, Reply, SLOTS, ScanLimit, Slot, Want,
};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::glob;
use super::queue::{Aim, Calls, Finish, Job};
use super::strings::unexpected;

/// Keys that are examined when no COUNT is given, as in redis-server.
const DEFAULT_COUNT: usize = 10;
/// The largest COUNT; larger ones are taken as this.
const MAX_COUNT: usize = 10_000;
/// Bytes of keys in one page of a partition.
const PAGE_BYTES: usize = 1 << 20;
/// The most bytes of keys that one reply holds.
const MAX_KEYS_BYTES: usize = 32 << 20;
/// The most partitions that are scanned at the same time.
const MAX_WINDOW: usize = 64;
/// After this time a scan answers with what it has; the client comes back with the cursor.
const PATIENCE: Duration = Duration::from_millis(500);

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub(super) fn scan(call: &mut Call<'_, '_>) -> Handled {
    let place = place(call).ok_or_else(|| ErrorReply::err("invalid cursor"))?;
    let options = Options::read(call.args_from(2))?;
    if options.nothing_matches {
        call.reply.array(2);
        call.reply.bulk(b"0");
        call.reply.array(0);
        return Ok(Step::Replied);
    }
    begin(call, Purpose::Page, place, options)
}

/// `KEYS pattern`
pub(super) fn keys(call: &mut Call<'_, '_>) -> Handled {
    let pattern = Some(checked_pattern(call.args.get(1))?);
    let options = Options { pattern, count: MAX_COUNT, nothing_matches: false };
    begin(call, Purpose::All, Cursor::start_of(Slot::default()), options)
}

/// `RANDOMKEY`: a key from the first page behind a slot that nobody can guess, so that every key
/// has its turn; keys that share a slot are not equally likely.
pub(super) fn randomkey(call: &mut Call<'_, '_>) -> Handled {
    let random = RandomState::new().hash_one(call.calls.now().mono.0);
    let slot = u16::try_from(random % u64::from(SLOTS)).ok().and_then(Slot::new);
    let options = Options { pattern: None, count: DEFAULT_COUNT, nothing_matches: false };
    let place = Cursor::start_of(slot.unwrap_or_default());
    begin(call, Purpose::One { random, wrapped: false }, place, options)
}

fn begin(call: &mut Call<'_, '_>, purpose: Purpose, place: Cursor, options: Options) -> Handled {
    let layout = call.calls.node().layout().ok_or_else(layout_unknown)?;
    let mut scan = Scan {
        aim: call.client.aim(call.calls.node()),
        purpose,
        layout,
        options,
        began: call.calls.now().mono,
        window: 1,
        place: Some(place),
        bytes: 0,
        round: Vec::new(),
        open: 0,
        keys: Vec::new(),
        examined: 0,
        failure: None,
    };
    scan.submit(&mut call.calls);
    if scan.open == 0 {
        return Err(layout_unknown());
    }
    Ok(Step::Many(Box::new(scan)))
}

/// The place that the cursor at index 1 stands for.
fn place(call: &Call<'_, '_>) -> Option<Cursor> {
    let number = std::str::from_utf8(call.arg(1)).ok()?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits)?;
    call.server.cursors().place(call.client.keyspace, number)
}

/// The reply of a command that needs the layout before the node knows its cluster.
pub(super) fn layout_unknown() -> ErrorReply {
    ErrorReply::from(Error::NotServing("it does not know the layout of its cluster yet".into()))
}

/// The place where the slots behind those of a partition begin.
pub(super) fn behind(layout: &Layout, keyspace: KeyspaceId, slot: Slot) -> Option<Cursor> {
    let last = *layout.slots(layout.partition_of(keyspace, slot)?)?.end();
    Slot::new(last.get() + 1).map(Cursor::start_of)
}

fn checked_pattern(pattern: Option<&Arg>) -> Result<Bytes, ErrorReply> {
    let len = pattern.map_or(0, Arg::len);
    if len > MAX_KEY {
        let text = format!("pattern is {len} bytes long; the limit is {MAX_KEY}");
        return Err(ErrorReply::from(Error::invalid(text)));
    }
    Ok(pattern.cloned().map(|mut pattern| pattern.take()).unwrap_or_default())
}

/// What a walk is for.
enum Purpose {
    /// Some of the keys, and a cursor for the others.
    Page,
    /// All keys, or an error.
    All,
    /// One key, chosen by a random number; whether the walk has begun again at the first slot.
    One { random: u64, wrapped: bool },
}

struct Options {
    pattern: Option<Bytes>,
    count: usize,
    /// The client asked for a type of value that does not exist here.
    nothing_matches: bool,
}

impl Options {
    fn read(words: &[Arg]) -> Result<Options, ErrorReply> {
        let mut options = Options { pattern: None, count: DEFAULT_COUNT, nothing_matches: false };
        for pair in words.chunks(2) {
            let [word, value] = pair else { return Err(ErrorReply::syntax()) };
            if word.is("COUNT") {
                let count = value.integer().ok_or_else(ErrorReply::not_an_integer)?;
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                options.count = count.ok_or_else(ErrorReply::syntax)?.min(MAX_COUNT);
            } else if word.is("MATCH") {
                options.pattern = Some(checked_pattern(Some(value))?);
            } else if word.is("TYPE") {
                options.nothing_matches = !value.is("string");
            } else {
                return Err(ErrorReply::syntax());
            }
        }
        Ok(options)
    }

    fn matches(&self, key: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key))
    }

    fn prefix(&self) -> Bytes {
        let prefix = self.pattern.as_ref().map(|pattern| {
            let len = glob::literal_prefix(pattern).len();
            pattern.slice(..len)
        });
        prefix.unwrap_or_default()
    }
}

/// A scan while it runs. It goes in rounds: each scans the next few partitions at once, twice as
/// many as the round before, so that empty partitions cost little and full ones are not read in
/// vain.
struct Scan {
    aim: Aim,
    purpose: Purpose,
    layout: Arc<Layout>,
    options: Options,
    began: Mono,
    window: usize,
    /// Where to go on; nothing at the end.
    place: Option<Cursor>,
    /// The answers of this round, in the order of the partitions.
    round: Vec<Option<Outcome<Reply>>>,
    open: usize,
    keys: Vec<Bytes>,
    /// Bytes of the keys.
    bytes: usize,
    examined: usize,
    failure: Option<ErrorReply>,
}

impl Scan {
    /// Begins a round.
    fn submit(&mut self, calls: &mut Calls<'_, '_>) {
        let items = match self.purpose {
            Purpose::Page => self.options.count.saturating_sub(self.examined).max(1),
            Purpose::All | Purpose::One { .. } => self.options.count,
        };
        let prefix = self.options.prefix();
        let mut next = self.place.clone();
        let mut part = 0;
        while let Some(from) = next.take().filter(|_| self.open < self.window) {
            let slot = from.slot;
            let Some(partition) = self.layout.partition_of(self.aim.keyspace, slot) else { break };
            let limit = ScanLimit { items, bytes: PAGE_BYTES };
            let prefix = prefix.clone();
            let op = Op::Scan { partition, from, prefix, limit, want: Want::Header };
            calls.submit(self.aim, op, part);
            part += 1;
            self.open += 1;
            next = behind(&self.layout, self.aim.keyspace, slot);
        }
        self.round.clear();
        self.round.resize_with(self.open, || None);
    }

    /// Takes over the pages of a round, up to the first partition that is not finished or failed.
    fn gather(&mut self) {
        for outcome in std::mem::take(&mut self.round) {
            let Some(from) = &self.place else { return };
            match outcome {
                Some(Ok(Reply::Page(items, next))) => {
                    self.examined += items.len();
                    let finished = next.is_none();
                    let behind = || behind(&self.layout, self.aim.keyspace, from.slot);
                    self.place = next.or_else(behind);
                    let keys = items.into_iter().map(|item| item.key);
                    let before = self.keys.len();
                    self.keys.extend(keys.filter(|key| self.options.matches(key)));
                    let new = self.keys.iter().skip(before);
                    self.bytes += new.map(|key| key.len() + size_of::<Bytes>()).sum::<usize>();
                    if self.bytes > MAX_KEYS_BYTES {
                        let text = "the keys are too many for one reply; use SCAN";
                        self.failure = Some(ErrorReply::err(text));
                        return;
                    }
                    if !finished {
                        return;
                    }
                }
                Some(Ok(other)) => {
                    self.failure = Some(unexpected(&other));
                    return;
                }
                Some(Err(error)) => {
                    // What was found is worth more than the error, which comes back with the
                    // cursor if it lasts.
                    if self.examined == 0 || !matches!(self.purpose, Purpose::Page) {
                        self.failure = Some(ErrorReply::from(error));
                    }
                    self.window = 0;
                    return;
                }
                None => return,
            }
        }
    }
}

impl Job for Scan {
    fn answer(&mut self, part: u32, outcome: Outcome<Reply>, calls: &mut Calls<'_, '_>) -> bool {
        if let Some(place) = usize::try_from(part).ok().and_then(|at| self.round.get_mut(at)) {
            *place = Some(outcome);
            self.open -= 1;
        }
        if self.open > 0 {
            return false;
        }
        self.window = (2 * self.window).min(MAX_WINDOW);
        self.gather();
        let impatient = calls.now().mono.since(self.began) > PATIENCE;
        let enough = match &mut self.purpose {
            Purpose::Page => self.examined >= self.options.count || impatient,
            Purpose::All => false,
            Purpose::One { wrapped, .. } => {
                if self.place.is_none() && !std::mem::replace(wrapped, true) {
                    self.place = Some(Cursor::start_of(Slot::default()));
                }
                !self.keys.is_empty()
            }
        };
        if enough || self.window == 0 || self.place.is_none() || self.failure.is_some() {
            return true;
        }
        self.submit(calls);
        self.open == 0
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match self.purpose {
            Purpose::Page => {
                let mut cursors = finish.server.cursors();
                let number = self.place.map_or(0, |place| cursors.number(self.aim.keyspace, place));
                finish.out.array(2);
                finish.out.bulk(number.to_string().as_bytes());
            }
            Purpose::All => {}
            Purpose::One { random, .. } => {
                let at = random.checked_rem(self.keys.len() as u64);
                let at = at.and_then(|at| usize::try_from(at).ok());
                match at.and_then(|at| self.keys.get(at)) {
                    Some(key) => finish.out.bulk(key),
                    None => finish.out.null(),
                }
                return Ok(());
            }
        }
        finish.out.array(self.keys.len());
        for key in &self.keys {
            finish.out.bulk(key);
        }
        Ok(())
    }
}
