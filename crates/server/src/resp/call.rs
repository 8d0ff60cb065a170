//! The execution of one command: what a handler gets, and what it can come to.

use bytes::Bytes;
use kvorum_core::{Op, limits};

use super::arg::Arg;
use super::client::Client;
use super::encoder::Encoder;
use super::error::ErrorReply;
use super::queue::{Calls, Job, Late, Render};
use super::server::Server;
use super::table::Command;

/// What a handler works with.
pub(super) struct Call<'a, 'p> {
    /// The row of the table it was found in.
    pub(super) command: &'static Command,
    /// The command as it was sent, its name first.
    pub(super) args: &'a mut [Arg],
    /// The connection's settings.
    pub(super) client: &'a mut Client,
    /// What all connections have in common.
    pub(super) server: &'a Server,
    /// Where a reply goes that is known at once.
    pub(super) reply: &'a mut Encoder,
    /// How it asks the node.
    pub(super) calls: Calls<'a, 'p>,
    /// The longest value, in bytes.
    pub(super) max_value: usize,
}

/// What a command came to. A handler that returns an error has written no reply.
pub(super) enum Step {
    /// The reply is written.
    Replied,
    /// There is no reply.
    Silent,
    /// The reply is written and the connection ends.
    Quit,
    /// One call was submitted.
    One(Render),
    /// Several calls were submitted.
    Many(Box<dyn Job>),
    /// Calls were submitted, and the commands behind this one wait until it is done.
    Alone(Box<dyn Job>),
    /// The reply depends on the commands before.
    Late(Late),
}

/// The result of a handler.
pub(super) type Handled = Result<Step, ErrorReply>;

impl Call<'_, '_> {
    /// The argument at `index`; the name is at 0. An absent one is empty.
    pub(super) fn arg(&self, index: usize) -> &[u8] {
        self.args.get(index).map_or(&[], Arg::as_slice)
    }

    /// The arguments from `index` on.
    pub(super) fn args_from(&self, index: usize) -> &[Arg] {
        self.args.get(index..).unwrap_or_default()
    }

    /// The integer at `index`.
    ///
    /// # Errors
    /// redis-server's text.
    pub(super) fn integer(&self, index: usize) -> Result<i64, ErrorReply> {
        let arg = self.args.get(index);
        arg.and_then(Arg::integer).ok_or_else(ErrorReply::not_an_integer)
    }

    /// Takes the key at `index`.
    ///
    /// # Errors
    /// It is empty or too long.
    pub(super) fn key(&mut self, index: usize) -> Result<Bytes, ErrorReply> {
        limits::check_key(self.arg(index))?;
        Ok(self.args.get_mut(index).map(Arg::take).unwrap_or_default())
    }

    /// Takes the value at `index`.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn value(&mut self, index: usize) -> Result<Bytes, ErrorReply> {
        limits::check_value(self.arg(index).len(), self.max_value)?;
        Ok(self.args.get_mut(index).map(Arg::take).unwrap_or_default())
    }

    /// Submits the only operation of a command.
    pub(super) fn one(&mut self, op: Op, render: Render) -> Handled {
        self.calls.submit(self.client.aim(self.calls.node()), op, 0);
        Ok(Step::One(render))
    }

    /// Replies with a short text.
    pub(super) fn simple(&mut self, text: &str) -> Handled {
        self.reply.simple(text);
        Ok(Step::Replied)
    }
}
