//! The clients of the strong keyspace: closed loops over a few objects at a time.
//!
//! An object is one counter, or two keys of one slot. Whether a history could have happened one
//! operation after the other is a search, so an object is only used for so many operations; then
//! another takes its place, and it is left alone until the last look.

pub mod object;

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Executed, Identity, KeyspaceId, Mono, Op, Outcome, Reply, Request, Want,
};
use kvorum_replication::Ticket;
use object::{Asked, Doing, Told, Untold};

use crate::chance::Chance;
use crate::clients::DEADLINE;
use crate::history::Written;
use crate::settings::Settings;
use crate::values;

/// The strong keyspace of every world.
pub const KEYSPACE: KeyspaceId = KeyspaceId(3);
/// Tickets and values of these clients are numbered from here on: nobody else's are.
const NUMBERS: u64 = 1 << 40;
/// How many operations an object is used for.
const USES: usize = 48;
/// How many of them may have no answer.
const UNSURE: usize = 10;

/// An operation on an object.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The object, by number.
    pub object: usize,
    /// What was asked.
    pub asked: Asked,
    /// At which consistency; the keyspace's own if none was named.
    pub level: Option<Consistency>,
    /// When.
    pub invoked: Mono,
    /// When and how it ended; nothing if it never did.
    pub completed: Option<(Mono, Ending)>,
    /// It belongs to the last look.
    pub last_look: bool,
}

impl Operation {
    /// It was not done, as far as its client knows.
    pub const fn failed(&self) -> bool {
        !matches!(self.completed, Some((_, Ending::Told(_))))
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was done.
    Told(Told),
    /// It failed.
    Failed(Executed),
}

/// A thing that clients use.
#[derive(Clone, Copy, Debug, Default)]
struct Object {
    /// It is one number that only grows.
    counts: bool,
    uses: usize,
    unsure: usize,
}

/// An operation under way.
#[derive(Debug)]
struct Pending {
    /// The client; nothing for the last look.
    client: Option<usize>,
    host: usize,
    /// The operation of this number in the history.
    number: usize,
}

/// All clients of the strong keyspace, and what they have seen.
#[derive(Debug)]
pub struct Strong {
    /// What they asked and were told, in the order in which they began.
    pub history: Vec<Operation>,
    /// Answers to other questions than were asked.
    pub nonsense: Vec<String>,
    chance: Chance,
    objects: Vec<Object>,
    /// The ones in use.
    used: Vec<usize>,
    /// What the keys of an object were last known to hold.
    known: BTreeMap<(usize, usize), Option<Written>>,
    /// The values that were written, by their numbers.
    written: BTreeMap<u64, Written>,
    max_value: usize,
    expiring: u64,
    tickets: u64,
    pending: BTreeMap<Ticket, Pending>,
}

impl Strong {
    /// Clients that have asked nothing yet.
    #[must_use]
    pub fn new(settings: &Settings, chance: Chance) -> Strong {
        let mut strong = Strong {
            history: Vec::new(),
            nonsense: Vec::new(),
            chance,
            objects: Vec::new(),
            used: Vec::new(),
            known: BTreeMap::new(),
            written: BTreeMap::new(),
            max_value: settings.shard.raft.max_write_bytes / 3,
            expiring: settings.strong.expiring_permille,
            tickets: NUMBERS,
            pending: BTreeMap::new(),
        };
        for _ in 0..settings.strong.objects {
            let object = strong.invent();
            strong.used.push(object);
        }
        strong
    }

    /// How many objects there are by now.
    pub const fn objects(&self) -> usize {
        self.objects.len()
    }

    /// How many operations were done.
    pub fn succeeded(&self) -> usize {
        let done = |o: &&Operation| matches!(o.completed, Some((_, Ending::Told(_))));
        self.history.iter().filter(done).count()
    }

    /// The beginning of some value that was written, if one was.
    pub fn a_written_value(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        let object = chance.index(self.objects.len());
        let held = self.known.range((object, 0)..).next()?.1.as_ref()?;
        Some(values::whole(*held).iter().take(64).copied().collect())
    }

    fn invent(&mut self) -> usize {
        let counts = self.chance.permille(250);
        self.objects.push(Object { counts, ..Object::default() });
        self.objects.len() - 1
    }

    /// The next operation of a client, sent to the host with the given index.
    pub fn ask(&mut self, client: usize, host: usize, now: Mono) -> (Ticket, Request) {
        let place = self.chance.index(self.used.len());
        let object = self.used.get(place).copied().unwrap_or(0);
        let state = self.objects.get(object).copied().unwrap_or_default();
        let object = if state.uses >= USES || state.unsure >= UNSURE {
            let next = self.invent();
            if let Some(used) = self.used.get_mut(place) {
                *used = next;
            }
            next
        } else {
            object
        };
        let asked = self.question(object);
        let level = if asked.is_write() { None } else { Some(self.level()) };
        self.submit(Some(client), object, asked, level, host, now)
    }

    /// A last look at an object: a last write first, so that it is seen that nodes take them, and
    /// then a read of all its keys.
    pub fn look(
        &mut self,
        object: usize,
        host: usize,
        write: bool,
        now: Mono,
    ) -> (Ticket, Request) {
        let counts = self.objects.get(object).is_some_and(|object| object.counts);
        let asked = match (write, counts) {
            (true, true) => Asked::transaction(Vec::new(), vec![Doing::Add(0)], Vec::new()),
            (true, false) => Asked::plain(Doing::Put(1, self.value(false)), Want::Value),
            (false, _) => {
                let all = (0..object::KEYS).map(Doing::Read).collect();
                Asked::transaction(Vec::new(), all, Vec::new())
            }
        };
        self.submit(None, object, asked, None, host, now)
    }

    /// The last of the last looks at an object, of those that write or of the others, failed.
    pub fn look_failed(&self, object: usize, write: bool) -> bool {
        let look =
            |o: &&Operation| o.last_look && o.object == object && o.asked.is_write() == write;
        self.history.iter().rfind(look).is_some_and(Operation::failed)
    }

    fn submit(
        &mut self,
        client: Option<usize>,
        object: usize,
        asked: Asked,
        level: Option<Consistency>,
        host: usize,
        now: Mono,
    ) -> (Ticket, Request) {
        if let Some(object) = self.objects.get_mut(object) {
            object.uses += 1;
        }
        let op = asked.op(|at| key(object, at));
        let (invoked, last_look) = (now, client.is_none());
        self.history.push(Operation { object, asked, level, invoked, completed: None, last_look });
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let number = self.history.len() - 1;
        self.pending.insert(ticket, Pending { client, host, number });
        (ticket, request(op, level, now))
    }

    /// How a read is made: in all ways there are.
    fn level(&mut self) -> Consistency {
        match self.chance.between(0, 9) {
            0..5 => Consistency::Lease,
            5..7 => Consistency::Safe,
            7..9 => Consistency::Follower,
            _ => Consistency::Stale { max_ms: *self.chance.pick(&[0, 100, 1_000]).unwrap_or(&0) },
        }
    }

    /// What a client asks of an object.
    fn question(&mut self, object: usize) -> Asked {
        let counts = self.objects.get(object).is_some_and(|object| object.counts);
        if counts {
            return match self.chance.between(0, 9) {
                0..3 => Asked::plain(Doing::Read(0), Want::Value),
                _ => Asked::transaction(Vec::new(), vec![Doing::Add(0)], Vec::new()),
            };
        }
        let at = self.chance.index(object::KEYS);
        let other = 1 - at;
        match self.chance.between(0, 99) {
            0..25 => Asked::plain(Doing::Read(at), Want::Value),
            25..30 => Asked::plain(Doing::Read(at), Want::Header),
            30..36 => {
                let both = vec![Doing::Read(at), Doing::Read(other)];
                Asked::transaction(Vec::new(), both, Vec::new())
            }
            36..58 => Asked::plain(Doing::Put(at, self.value(true)), Want::Value),
            58..65 => Asked::plain(Doing::Delete(at), Want::Value),
            65..83 => {
                let compare = vec![(at, self.held(object, at))];
                let then = vec![Doing::Put(at, self.value(true))];
                Asked::transaction(compare, then, vec![Doing::Read(at)])
            }
            83..92 => {
                let compare = vec![(at, self.held(object, at)), (other, self.held(object, other))];
                let then = vec![Doing::Put(other, self.value(false)), Doing::Delete(at)];
                Asked::transaction(compare, then, vec![Doing::Put(at, self.value(false))])
            }
            _ => {
                let both =
                    vec![Doing::Put(at, self.value(true)), Doing::Put(other, self.value(false))];
                Asked::transaction(Vec::new(), both, Vec::new())
            }
        }
    }

    fn held(&self, object: usize, at: usize) -> Option<Written> {
        self.known.get(&(object, at)).copied().flatten()
    }

    /// Mostly small values, sometimes large ones; some expire.
    fn value(&mut self, may_expire: bool) -> Written {
        let most = self.max_value as u64;
        let padding = match self.chance.between(0, 99) {
            0..90 => self.chance.between(0, 120),
            90..98 => self.chance.between(0, most / 4),
            _ => self.chance.between(most / 4, most - values::SHORTEST),
        };
        let expires = may_expire && self.chance.permille(self.expiring);
        let ttl_ms = if expires { self.chance.between(50, 5_000) } else { 0 };
        let len = u32::try_from(values::SHORTEST + padding).unwrap_or(u32::MAX);
        let number = NUMBERS + self.written.len() as u64;
        let written = Written { number, len, ttl_ms };
        self.written.insert(number, written);
        written
    }

    /// Takes an answer. Returns the client that may go on, if it was still waiting for it.
    pub fn answer(&mut self, ticket: Ticket, now: Mono, outcome: &Outcome<Reply>) -> Option<usize> {
        let pending = self.pending.remove(&ticket)?;
        let asked = &self.history.get(pending.number)?.asked;
        let ending = match Told::of(asked, outcome) {
            Ok(told) => Ending::Told(told),
            Err(Untold::Failed(executed)) => Ending::Failed(executed),
            Err(Untold::Nonsense(details)) => {
                self.nonsense.push(details);
                Ending::Failed(Executed::Unknown)
            }
        };
        self.finish(pending.number, now, ending);
        pending.client
    }

    /// Fails everything that waits for a host whose node crashed. Returns the clients that may go
    /// on.
    pub fn host_lost(&mut self, host: usize, now: Mono) -> Vec<usize> {
        let mut free = Vec::new();
        let lost = self.pending.extract_if(.., |_, pending| pending.host == host);
        for pending in lost.map(|(_, pending)| pending).collect::<Vec<_>>() {
            self.finish(pending.number, now, Ending::Failed(Executed::Unknown));
            free.extend(pending.client);
        }
        free
    }

    fn finish(&mut self, number: usize, now: Mono, ending: Ending) {
        let Some(operation) = self.history.get_mut(number) else { return };
        let object = operation.object;
        if let Some(object) = self.objects.get_mut(object) {
            match ending {
                Ending::Failed(Executed::No) => object.uses = object.uses.saturating_sub(1),
                Ending::Failed(Executed::Unknown) if operation.asked.is_write() => {
                    object.unsure += 1;
                }
                _ => {}
            }
        }
        if let Ending::Told(told) = &ending {
            let steps = if told.held { &operation.asked.then } else { &operation.asked.otherwise };
            for (doing, saw) in steps.iter().zip(&told.steps) {
                match doing {
                    Doing::Put(at, written) => self.known.insert((object, *at), Some(*written)),
                    Doing::Delete(at) => self.known.insert((object, *at), None),
                    Doing::Read(at) => {
                        let Some(before) = saw.before else { continue };
                        let held = before.and_then(|number| self.written.get(&number)).copied();
                        self.known.insert((object, *at), held)
                    }
                    Doing::Add(_) => None,
                };
            }
        }
        operation.completed = Some((now, ending));
    }
}

/// The keys of an object lie in one slot.
fn key(object: usize, at: usize) -> Bytes {
    format!("{{{object}}}:{at}").into()
}

fn request(op: Op, consistency: Option<Consistency>, now: Mono) -> Request {
    Request {
        identity: Identity::ANONYMOUS,
        keyspace: KEYSPACE,
        op,
        consistency,
        min_version: None,
        key: None,
        deadline: now + DEADLINE,
    }
}
