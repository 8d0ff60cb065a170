//! One connection: bytes in, calls to the node, replies out in the order of the commands.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use kvorum_core::{Now, Outcome, Reply, limits};
use kvorum_node::{CallId, Flow, NodeView, Port};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::client::{Client, Replies};
use super::dispatch::{handle, is_browser, lookup, rejected};
use super::encoder::{Encoder, Version};
use super::error::ErrorReply;
use super::parser::{self, Parser};
use super::queue::{Entry, Finish, Queue, Work};
use super::server::Server;

/// Calls of one connection that may be open; commands behind them wait.
const MAX_OPEN_CALLS: usize = 1024;
/// Bytes of requests that may wait for answers.
const MAX_PENDING: usize = 1 << 20;
/// Bytes of replies that may wait to be written before no more commands are executed.
const MAX_OUTPUT: usize = 1 << 20;
/// Bytes of replies that may be expected from open calls, by the size of the latest ones.
const MAX_EXPECTED: usize = 8 << 20;
/// The size that the replies of a new connection are expected to have, in bytes.
const FIRST_REPLY: usize = limits::DEFAULT_MAX_VALUE / 4;
/// Bytes of replies at which a connection whose client does not read is closed.
const OUTPUT_LIMIT: usize = 64 << 20;
/// What each waiting command counts on top of its bytes.
const ENTRY_OVERHEAD: usize = 64;

/// The state of one connection.
pub(super) struct Session {
    server: Arc<Server>,
    client: Client,
    parser: Parser,
    queue: Queue,
    out: Encoder,
    /// Where replies are written that must wait for others.
    aside: Encoder,
    /// The version of the protocol for commands from now on.
    version: Version,
    /// About how large its replies are, in bytes: at once as large as the largest, then falling by
    /// an eighth with each smaller one.
    reply_bytes: usize,
    /// Complete commands that wait because too much is pending, and what follows them.
    backlog: BytesMut,
    /// The command before the backlog, if it must not overtake the open calls.
    held: Option<parser::Command>,
    /// No more commands are executed; the connection ends when the waiting ones are answered.
    closing: bool,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, address: SocketAddr) -> Session {
        let client = Client::new(server.clients.open(address));
        server.meters.connected();
        Session {
            server,
            client,
            parser: Parser::new(),
            queue: Queue::default(),
            out: Encoder::default(),
            aside: Encoder::default(),
            version: Version::default(),
            reply_bytes: FIRST_REPLY,
            backlog: BytesMut::new(),
            held: None,
            closing: false,
        }
    }

    /// Whether enough is pending, so that further commands wait.
    fn is_full(&self) -> bool {
        self.queue.has_barrier()
            || (self.held.is_some() && self.queue.open_calls() > 0)
            || self.queue.open_calls() >= MAX_OPEN_CALLS
            || self.queue.weight() >= MAX_PENDING
            || self.out.len() >= MAX_OUTPUT
            || self.queue.open_calls() * self.reply_bytes >= MAX_EXPECTED
    }

    /// Executes the complete commands of `input` as far as there is room.
    fn execute(&mut self, input: &mut BytesMut, port: &mut Port<'_>) {
        let first = self.queue.next();
        let (now, max_value) = (port.node().now(), port.node().max_value());
        while !self.closing && !self.is_full() {
            let next = match self.held.take() {
                Some(held) => Ok(Some(held)),
                None => self.parser.next(input, max_value),
            };
            match next {
                Ok(Some(command)) if self.must_wait(&command, port.node()) => {
                    self.held = Some(command);
                }
                Ok(Some(command)) => self.run(command, max_value, now, port),
                Ok(None) => break,
                Err(error) => {
                    self.fail(&ErrorReply::err(format!("Protocol error: {error}")));
                    self.closing = true;
                }
            }
        }
        if self.closing {
            input.clear();
        }
        self.client.entry.active(now.wall_ms);
        self.queue.mark_arrival(first, now.mono);
    }

    /// Whether a command must wait for the open calls, so that it does not overtake them. In a
    /// strong keyspace reads and writes take different ways, so a read begins only when the writes
    /// before it are answered, and the other way round. The writes among themselves, and the
    /// reads, need not wait.
    fn must_wait(&self, command: &parser::Command, node: &dyn NodeView) -> bool {
        if self.queue.open_calls() == 0 || !self.client.is_strong(node) {
            return false;
        }
        let Ok(command) = lookup(&command.args).command else { return false };
        if self.client.transaction.is_some() && command.name != "exec" {
            return false;
        }
        let (writes, reads) = self.queue.open_kinds();
        (writes && command.reads()) || (reads && command.writes())
    }

    /// Goes on with commands that had to wait.
    fn resume(&mut self, port: &mut Port<'_>) {
        if (self.backlog.is_empty() && self.held.is_none()) || self.is_full() {
            return;
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        self.execute(&mut backlog, port);
        // An empty buffer is dropped, so that its memory can be used again.
        if !backlog.is_empty() {
            self.backlog = backlog;
        }
    }

    fn run(
        &mut self,
        mut parsed: parser::Command,
        max_value: usize,
        now: Now,
        port: &mut Port<'_>,
    ) {
        if parsed.args.first().is_some_and(is_browser) {
            self.closing = true;
            return;
        }
        let weight = parsed.args.iter().map(|arg| arg.len() + size_of::<Arg>()).sum::<usize>();
        let skipped = self.client.replies == Replies::SkipNext;
        // A reply that is known at once is written at once if no other is waited for.
        let direct = self.queue.is_empty() && self.client.replies == Replies::On;
        if skipped {
            self.client.replies = Replies::On;
        }
        let found = lookup(&parsed.args);
        self.server.meters.command(found.index);
        let reply = if direct { &mut self.out } else { &mut self.aside };
        reply.version = self.version;
        let handled = match (found.command, parsed.rejected) {
            (Err(error), _) => Err(self.client.spoil(error)),
            (Ok(command), Some(rejection)) => {
                Err(self.client.spoil(rejected(command, rejection, max_value)))
            }
            (Ok(command), None) => {
                let calls = self.queue.calls(port, now);
                let (args, client, server) = (&mut *parsed.args, &mut self.client, &*self.server);
                handle(&mut Call { command, args, client, server, reply, calls, max_value })
            }
        };
        // HELLO and RESET change the version for all replies behind them.
        self.version = if direct { self.out.version } else { self.aside.version };
        let mute = skipped || self.client.replies == Replies::Off;
        self.step(handled, Reception { direct, mute, weight: weight + ENTRY_OVERHEAD }, port);
        self.parser.recycle(parsed.args);
    }

    fn step(&mut self, handled: Handled, reception: Reception, port: &Port<'_>) {
        match handled {
            Ok(Step::Silent) => {}
            Ok(Step::One(render)) => self.push(Work::One(render, None), false, reception),
            Ok(Step::Many(job)) => self.push(Work::Many(job, false), false, reception),
            Ok(Step::Alone(job)) => self.push(Work::Many(job, false), true, reception),
            Ok(Step::Late(late)) if self.queue.is_empty() => {
                let entry = self.entry(Work::Late(late), false, reception);
                self.write_reply(entry, port.node());
            }
            Ok(Step::Late(late)) => self.push(Work::Late(late), false, reception),
            Ok(Step::Replied) => self.reply_written(reception),
            Ok(Step::Quit) => {
                self.reply_written(reception);
                self.closing = true;
            }
            Err(error) if reception.mute => self.server.meters.error(error.code),
            Err(error) => self.fail(&error),
        }
    }

    fn entry(&self, work: Work, barrier: bool, reception: Reception) -> Entry {
        let Reception { mute, weight, .. } = reception;
        Entry { work, weight, version: self.version, mute, barrier, arrived: None }
    }

    fn push(&mut self, work: Work, barrier: bool, reception: Reception) {
        let entry = self.entry(work, barrier, reception);
        self.queue.push(entry);
    }

    /// Puts a reply that was written aside where it belongs.
    fn reply_written(&mut self, reception: Reception) {
        if reception.direct {
            return;
        }
        let reply = self.aside.take();
        if reception.mute {
            return;
        }
        if self.queue.is_empty() {
            self.out.encoded(&reply);
        } else {
            self.push(Work::Ready(reply), false, reception);
        }
    }

    /// Replies with an error, behind the commands that wait.
    fn fail(&mut self, error: &ErrorReply) {
        self.server.meters.error(error.code);
        self.aside.error(error.code, &error.text);
        self.reply_written(Reception { direct: false, mute: false, weight: ENTRY_OVERHEAD });
    }

    /// Writes the replies that are complete and in turn.
    fn write_replies(&mut self, node: &dyn NodeView) {
        while let Some(entry) = self.queue.pop_done() {
            self.write_reply(entry, node);
        }
    }

    fn write_reply(&mut self, entry: Entry, node: &dyn NodeView) {
        let out = if entry.mute { &mut self.aside } else { &mut self.out };
        let before = out.len();
        out.version = entry.version;
        let (server, client) = (&*self.server, &mut self.client);
        let mut finish = Finish { out, node, server, client };
        let written = match entry.work {
            Work::Ready(reply) => {
                finish.out.encoded(&reply);
                Ok(())
            }
            Work::Late(late) => {
                late(&mut finish);
                Ok(())
            }
            Work::One(render, Some(Ok(reply))) => render(&reply, &mut finish),
            Work::One(_, Some(Err(error))) => Err(ErrorReply::from(&error)),
            Work::One(_, None) => Ok(()),
            Work::Many(job, _) => job.reply(&mut finish),
        };
        if let Err(error) = written {
            server.meters.error(error.code);
            out.error(error.code, &error.text);
        }
        self.reply_bytes = (self.reply_bytes / 8 * 7).max(out.len() - before);
        if entry.mute {
            self.aside.buffer().clear();
        }
        if let Some(arrived) = entry.arrived {
            self.server.meters.pipeline(node.now().mono.since(arrived));
        }
    }

    fn flow(&self) -> Flow {
        let ended = self.closing && self.queue.is_empty();
        if ended || self.out.len() > OUTPUT_LIMIT { Flow::Close } else { Flow::Continue }
    }
}

/// How the reply to a command is treated.
#[derive(Clone, Copy)]
struct Reception {
    /// It was written where it belongs.
    direct: bool,
    /// The client does not want it.
    mute: bool,
    /// The memory that the command takes while it waits, in bytes.
    weight: usize,
}

impl kvorum_node::Session for Session {
    fn receive(&mut self, input: &mut BytesMut, port: &mut Port<'_>) -> Flow {
        if self.backlog.is_empty() {
            self.execute(input, port);
            if self.is_full() && !input.is_empty() {
                self.backlog = input.split();
            }
        } else {
            self.backlog.unsplit(input.split());
            self.resume(port);
        }
        self.flow()
    }

    fn complete(&mut self, call: CallId, outcome: Outcome<Reply>, port: &mut Port<'_>) -> Flow {
        self.queue.answer(call, outcome, port);
        self.write_replies(port.node());
        self.resume(port);
        self.flow()
    }

    fn output(&mut self) -> &mut BytesMut {
        self.out.buffer()
    }

    fn written(&mut self, port: &mut Port<'_>) -> Flow {
        self.resume(port);
        self.flow()
    }

    fn pending_bytes(&self) -> usize {
        self.queue.weight() + self.backlog.len()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.clients.close(self.client.entry.id);
        self.server.meters.disconnected();
    }
}
