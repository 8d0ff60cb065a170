//! From the words of a command to its row in the table, and to its handler.

use kvorum_core::{Error, limits};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::parser::{self, Rejection};
use super::table::{COMMANDS, Command, Run, index_of};
use super::{describe, plan, refused, transactions};

/// Bytes of an unknown command that its error repeats.
const EXCERPT: usize = 128;

/// Whether this is the beginning of a line of HTTP: a browser was led here by a hostile page, and
/// would go on to send whatever the page wants.
pub(super) fn is_browser(name: &Arg) -> bool {
    name.is("POST") || name.is("Host:")
}

/// What a command's name leads to.
pub(super) struct Found {
    /// The index of its row, or of its parent's.
    pub(super) index: Option<usize>,
    /// The row, or why there is none.
    pub(super) command: Result<&'static Command, ErrorReply>,
}

/// Finds the command or subcommand that is meant.
pub(super) fn lookup(args: &[Arg]) -> Found {
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
pub(super) fn rejected(command: &Command, rejection: Rejection, max_value: usize) -> ErrorReply {
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
        Rejection::Count(count) => Error::invalid(format!(
            "the command has {count} arguments; the limit is {}",
            parser::MAX_ARGS
        )),
    };
    ErrorReply::from(error)
}

/// Executes a command.
pub(super) fn handle(call: &mut Call<'_, '_>) -> Handled {
    if !call.command.takes(call.args.len()) {
        let error = ErrorReply::arity(call.command.name);
        return Err(call.client.spoil(error));
    }
    if call.client.transaction.is_some() && !transactions::passes(call.command) {
        return transactions::queue(call);
    }
    execute(call)
}

/// Executes a command that is not to be queued.
pub(super) fn execute(call: &mut Call<'_, '_>) -> Handled {
    match call.command.run {
        Run::Handler(handler) | Run::Data(handler, _) => handler(call),
        Run::Read(plan) => {
            let plan = plan(call)?;
            plan::submit(call, plan)
        }
        Run::Strong(plan, advice) => {
            if !call.is_strong() {
                return Err(refused::command(call, advice));
            }
            let plan = plan(call)?;
            plan::submit(call, plan)
        }
        Run::Subcommands(subcommands) if call.args.len() > 1 => {
            describe::help(call.command, subcommands, call.reply);
            Ok(Step::Replied)
        }
        // Only COMMAND may stand alone.
        Run::Subcommands(_) => describe::all(call),
    }
}
