//! One connection: bytes in, calls to the node, replies out in the order of the commands.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use kvorum_core::{Error, Now, Outcome, Reply, limits};
use kvorum_node::{CallId, Flow, NodeView, Port};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::client::{Client, Replies};
use super::encoder::{Encoder, Version};
use super::error::ErrorReply;
use super::parser::{self, Parser, Rejection};
use super::queue::{Entry, Finish, Queue, Work};
use super::server::Server;
use super::table::{COMMANDS, Command, Run, index_of};
use super::{describe, refused};

/// Calls of one connection that may be open; commands behind them wait.
const MAX_OPEN_CALLS: usize = 1024;
/// Bytes of requests that may wait for answers.
const MAX_PENDING: usize = 1 << 20;
/// Bytes of replies that may wait to be written before no more commands are executed.
const MAX_OUTPUT: usize = 1 << 20;
/// Bytes of replies at which a connection whose client does not read is closed.
const OUTPUT_LIMIT: usize = 256 << 20;
/// What each waiting command counts on top of its bytes.
const ENTRY_OVERHEAD: usize = 64;
/// Bytes of an unknown command that its error repeats.
const EXCERPT: usize = 128;

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
    /// Complete commands that wait because too much is pending, and what follows them.
    backlog: BytesMut,
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
            backlog: BytesMut::new(),
            closing: false,
        }
    }

    /// Whether enough is pending, so that further commands wait.
    fn is_full(&self) -> bool {
        self.queue.has_barrier()
            || self.queue.open_calls() >= MAX_OPEN_CALLS
            || self.queue.weight() >= MAX_PENDING
            || self.out.len() >= MAX_OUTPUT
    }

    /// Executes the complete commands of `input` as far as there is room.
    fn execute(&mut self, input: &mut BytesMut, port: &mut Port<'_>) {
        let first = self.queue.next();
        let (now, max_value) = (port.node().now(), port.node().max_value());
        while !self.closing && !self.is_full() {
            match self.parser.next(input, max_value) {
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

    /// Goes on with commands that had to wait.
    fn resume(&mut self, port: &mut Port<'_>) {
        if self.backlog.is_empty() || self.is_full() {
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
        let handled = found.command.and_then(|command| {
            if let Some(rejection) = parsed.rejected {
                return Err(rejected(command, rejection, max_value));
            }
            let calls = self.queue.calls(port, now);
            let (args, client, server) = (&mut *parsed.args, &mut self.client, &*self.server);
            handle(&mut Call { command, args, client, server, reply, calls, max_value })
        });
        // HELLO and RESET change the version for all replies behind them.
        self.version = if direct { self.out.version } else { self.aside.version };
        let mute = skipped || self.client.replies == Replies::Off;
        self.step(handled, Reception { direct, mute, weight: weight + ENTRY_OVERHEAD }, port);
        self.parser.recycle(parsed.args);
    }

    fn step(&mut self, handled: Handled, reception: Reception, port: &Port<'_>) {
        match handled {
            Ok(Step::Silent) => {}
            Ok(Step::Hangup) => self.closing = true,
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
        self.queue.weight() + self.backlog.len() + self.parser.held()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.clients.close(self.client.entry.id);
        self.server.meters.disconnected();
    }
}

/// What a command's name leads to.
struct Found {
    /// The index of its row, or of its parent's.
    index: Option<usize>,
    command: Result<&'static Command, ErrorReply>,
}

/// Finds the command or subcommand that is meant.
fn lookup(args: &[Arg]) -> Found {
    let name = args.first().map_or(&[][..], Arg::as_slice);
    let index = index_of(name);
    let Some(command) = index.and_then(|index| COMMANDS.get(index)) else {
        return Found { index: None, command: Err(unknown(name, args)) };
    };
    let command = match (command.run, args.get(1)) {
        (Run::Subcommands(subcommands), Some(word)) if !word.is("HELP") => {
            let own = subcommands.iter().find(|own| word.is(own.short_name()));
            own.ok_or_else(|| {
                let (word, parent) = (excerpt(word.as_slice()), command.name.to_ascii_uppercase());
                ErrorReply::err(format!("unknown subcommand '{word}'. Try {parent} HELP."))
            })
        }
        _ => Ok(command),
    };
    Found { index, command }
}

/// redis-server's text for a command that does not exist.
fn unknown(name: &[u8], args: &[Arg]) -> ErrorReply {
    let mut shown = String::new();
    for arg in args.iter().skip(1) {
        if shown.len() >= EXCERPT {
            break;
        }
        let room = EXCERPT - shown.len();
        let bytes = arg.as_slice();
        let part = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        shown.push('\'');
        shown.push_str(&String::from_utf8_lossy(part));
        shown.push_str("' ");
    }
    let name = excerpt(name);
    ErrorReply::err(format!("unknown command '{name}', with args beginning with: {shown}"))
}

/// The first bytes of something that a client sent.
fn excerpt(bytes: &[u8]) -> String {
    let part = bytes.get(..EXCERPT.min(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(part).into_owned()
}

/// The error of a command that was too large to be kept.
fn rejected(command: &Command, rejection: Rejection, max_value: usize) -> ErrorReply {
    let error = match rejection {
        Rejection::Argument(index, len) if command.is_key(index) => {
            Error::invalid(format!("key is {len} bytes long; the limit is {}", limits::MAX_KEY))
        }
        Rejection::Argument(_, len) => match limits::check_value(len, max_value) {
            Err(error) => error,
            Ok(()) => Error::invalid("an argument is too long"),
        },
        Rejection::Command(limit) => {
            Error::invalid(format!("the arguments are larger than {limit} bytes together"))
        }
    };
    ErrorReply::from(error)
}

fn handle(call: &mut Call<'_, '_>) -> Handled {
    if !call.command.takes(call.args.len()) {
        return Err(ErrorReply::arity(call.command.name));
    }
    match call.command.run {
        Run::Handler(handler) => handler(call),
        Run::Refused(_) => refused::command(call),
        Run::Hangup => Ok(Step::Hangup),
        Run::Subcommands(subcommands) if call.args.len() > 1 => {
            describe::help(call.command, subcommands, call.reply);
            Ok(Step::Replied)
        }
        // Only COMMAND may stand alone.
        Run::Subcommands(_) => describe::all(call),
    }
}
