//! Connections of clients: bytes in, calls to the shard, one write per turn.
//!
//! A connection is read by a task of its own, which parses what has arrived and puts the calls
//! into the inbox. The turn completes calls and writes what the sessions have put out, once per
//! connection; only what the socket does not take at once is left to the task.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use kvorum_core::{Layout, Now, Outcome, Reply, Request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::slots::Slots;
use crate::turn::inbox::{Arrival, Inbox};
use crate::{CallId, Flow, Node, NodeView, Port, Session, Status};

/// Reading stops while requests of more bytes than this wait for answers, or while more bytes
/// of answers than this wait for the client.
const PENDING_BYTES: usize = 1 << 20;
/// A client that leaves more bytes than this unread is disconnected.
const OUTPUT_BYTES: usize = 64 << 20;
/// How much is read at once: little while a client sends little, since every connection holds
/// a buffer of this size.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;
/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// The connections of all protocols. Lives on the shard thread.
pub(crate) struct Connections {
    view: View,
    inbox: Rc<Inbox>,
    open: RefCell<Slots<Rc<Connection>>>,
    /// Connections with output to be written at the end of this turn.
    dirty: RefCell<Vec<u64>>,
    /// Scratch space for the calls a session submits.
    calls: RefCell<Vec<(CallId, Request)>>,
}

/// What sessions see of the node. The clock is read once per turn and per read.
struct View {
    node: Node,
    now: Cell<Now>,
}

impl NodeView for View {
    fn now(&self) -> Now {
        self.now.get()
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        self.node.layout()
    }

    fn status(&self) -> Arc<Status> {
        self.node.status()
    }

    fn max_value(&self) -> usize {
        self.node.max_value()
    }
}

struct Connection {
    id: Cell<u64>,
    writer: OwnedWriteHalf,
    /// Tells the task to look at the state again.
    wake: Notify,
    state: RefCell<State>,
}

struct State {
    session: Box<dyn Session>,
    next_call: u64,
    /// Calls submitted and not answered.
    unanswered: usize,
    /// The turn will write the output.
    dirty: bool,
    /// The socket did not take all of the output.
    blocked: bool,
    /// The task does not read because too much is pending.
    paused: bool,
    /// The client sends nothing more.
    ended: bool,
    /// The session wants to be closed when its output is written.
    closing: bool,
    /// The connection is of no use any more.
    broken: bool,
}

impl State {
    fn full(&mut self) -> bool {
        self.session.pending_bytes() > PENDING_BYTES || self.session.output().len() > PENDING_BYTES
    }

    fn finished(&mut self) -> bool {
        let written = self.session.output().is_empty();
        self.broken || (written && (self.closing || (self.ended && self.unanswered == 0)))
    }
}

/// What the task of a connection may wait for.
struct Wait {
    read: bool,
    write: bool,
}

impl Connections {
    pub(crate) fn new(node: Node, inbox: Rc<Inbox>) -> Connections {
        Connections {
            view: View { now: Cell::new(node.now()), node },
            inbox,
            open: RefCell::new(Slots::new()),
            dirty: RefCell::default(),
            calls: RefCell::default(),
        }
    }

    /// Sets the present time, as sessions see it.
    pub(crate) fn set_now(&self, now: Now) {
        self.view.now.set(now);
    }

    /// Serves a connection until it is closed.
    pub(crate) async fn serve(&self, stream: TcpStream, session: Box<dyn Session>) {
        let (reader, writer) = stream.into_split();
        let state = State {
            session,
            next_call: 0,
            unanswered: 0,
            dirty: false,
            blocked: false,
            paused: false,
            ended: false,
            closing: false,
            broken: false,
        };
        let connection = Rc::new(Connection {
            id: Cell::new(0),
            writer,
            wake: Notify::new(),
            state: RefCell::new(state),
        });
        let id = self.open.borrow_mut().insert(Rc::clone(&connection));
        connection.id.set(id);
        self.drive(&connection, reader).await;
        self.open.borrow_mut().remove(id);
    }

    async fn drive(&self, connection: &Connection, mut reader: OwnedReadHalf) {
        let mut input = BytesMut::new();
        let mut chunk = *READ_BYTES.start();
        while let Some(wait) = connection.wait() {
            self.inbox.room().await;
            if input.is_empty() && input.capacity() > KEPT_BYTES.max(chunk) {
                input = BytesMut::new();
            }
            input.reserve(chunk);
            tokio::select! {
                biased;
                () = connection.wake.notified() => {}
                read = reader.read_buf(&mut input), if wait.read => match read {
                    Ok(0) => connection.state.borrow_mut().ended = true,
                    Ok(bytes) => {
                        chunk = next_chunk(chunk, bytes);
                        self.receive(connection, &mut input);
                    }
                    Err(_) => connection.state.borrow_mut().broken = true,
                },
                ready = connection.writer.writable(), if wait.write => match ready {
                    Ok(()) => self.write(connection),
                    Err(_) => connection.state.borrow_mut().broken = true,
                },
            }
        }
    }

    fn receive(&self, connection: &Connection, input: &mut BytesMut) {
        self.set_now(self.view.node.now());
        self.enter(connection, |session, port| session.receive(input, port));
        let mut state = connection.state.borrow_mut();
        if state.unanswered == 0 && !state.dirty {
            // No turn will come by on behalf of this session.
            drop(state);
            self.write(connection);
        } else if !state.dirty && !state.session.output().is_empty() {
            state.dirty = true;
            self.dirty.borrow_mut().push(connection.id.get());
        }
    }

    /// Hands a session the answer to one of its calls. The output is written by [`Self::flush`].
    pub(crate) fn complete(&self, id: u64, call: CallId, outcome: Outcome<Reply>) {
        let open = self.open.borrow();
        let Some(connection) = open.get(id) else { return };
        self.enter(connection, |session, port| session.complete(call, outcome, port));
        let mut state = connection.state.borrow_mut();
        state.unanswered = state.unanswered.saturating_sub(1);
        if !state.dirty {
            state.dirty = true;
            self.dirty.borrow_mut().push(id);
        }
    }

    /// Runs a session and takes the calls it submits.
    fn enter(
        &self,
        connection: &Connection,
        run: impl FnOnce(&mut dyn Session, &mut Port<'_>) -> Flow,
    ) {
        let mut state = connection.state.borrow_mut();
        if state.closing {
            return;
        }
        let State { session, next_call, .. } = &mut *state;
        let mut calls = self.calls.borrow_mut();
        let flow = run(&mut **session, &mut Port::new(&self.view, next_call, &mut calls));
        state.closing = flow == Flow::Close;
        state.unanswered += calls.len();
        let connection = connection.id.get();
        for (call, request) in calls.drain(..) {
            self.inbox.push(Arrival::Call { connection, call, request });
        }
    }

    /// Writes once to every connection that has output since the last time.
    pub(crate) fn flush(&self) {
        let mut dirty = self.dirty.take();
        let open = self.open.borrow();
        for connection in dirty.drain(..).filter_map(|id| open.get(id)) {
            self.write(connection);
        }
        // Nothing is marked while connections are written: the list only keeps its memory.
        self.dirty.replace(dirty);
    }

    /// Writes as much of the output as the socket takes and wakes the task if it is needed.
    fn write(&self, connection: &Connection) {
        let wrote = connection.write_once();
        if wrote {
            self.enter(connection, |session, port| session.written(port));
        }
        let mut state = connection.state.borrow_mut();
        let output = state.session.output();
        let left = output.len();
        if left == 0 && output.capacity() > KEPT_BYTES {
            *output = BytesMut::new();
        }
        if left > OUTPUT_BYTES {
            tracing::warn!("a client that does not read its answers was disconnected");
            state.broken = true;
        }
        state.blocked = left > 0;
        if state.blocked || state.paused || state.ended || state.closing || state.broken {
            connection.wake.notify_one();
        }
    }

    /// Whether there are no connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().iter().next().is_none()
    }

    /// Closes the connections whose sessions wait for nothing; the others follow.
    pub(crate) fn close_all(&self) {
        for connection in self.open.borrow().iter() {
            connection.state.borrow_mut().ended = true;
            connection.wake.notify_one();
        }
    }
}

/// How much to read next after `bytes` came of a read of at least `chunk`.
fn next_chunk(chunk: usize, bytes: usize) -> usize {
    if bytes >= chunk {
        (chunk * 2).min(*READ_BYTES.end())
    } else if bytes < chunk / 4 {
        (chunk / 2).max(*READ_BYTES.start())
    } else {
        chunk
    }
}

impl Connection {
    /// What the task waits for; nothing if the connection is finished.
    fn wait(&self) -> Option<Wait> {
        let mut state = self.state.borrow_mut();
        if state.finished() {
            return None;
        }
        let read = !state.ended && !state.closing && !state.full();
        state.paused = !read;
        Some(Wait { read, write: state.blocked })
    }

    /// Writes once; says whether the socket took anything.
    fn write_once(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.dirty = false;
        let output = state.session.output();
        if output.is_empty() {
            return false;
        }
        match self.writer.try_write(output) {
            Ok(written) => {
                output.advance(written);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => state.broken = true,
        }
        false
    }
}
