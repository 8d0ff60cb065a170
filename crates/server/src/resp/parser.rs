//! The incremental parser of requests: arrays of bulk strings, and inline commands.
//!
//! It follows the Redis serialization protocol specification and redis-server's own texts and
//! limits where the specification is silent. It consumes what it has understood at once and keeps
//! its place between calls, so no byte is looked at twice, however the bytes are split. What is too
//! large to keep is skipped as it arrives and reported with the command it belongs to, so that the
//! connection stays usable.

use bytes::{Buf, BytesMut};

use super::arg::{Arg, parse_integer};
use super::inline;

/// The longest line of an inline command, in bytes.
const MAX_INLINE: usize = 64 << 10;
/// The most arguments of a command, its name included.
pub(super) const MAX_ARGS: i64 = 64 << 10;
/// The most arguments that are at least skipped; more end the connection (as in redis-server).
const MAX_SKIPPED_ARGS: i64 = i32::MAX as i64;
/// The longest bulk string that is at least skipped, in bytes; a longer one ends the connection
/// (the default of redis-server's `proto-max-bulk-len`).
const MAX_BULK: i64 = 512 << 20;
/// What the arguments of a command may hold beside one value of the largest size, in bytes.
const COMMAND_SLACK: usize = 4 << 20;
/// What each kept argument counts on top of its bytes.
const ARG_OVERHEAD: usize = 48;
/// Arguments from here on are never copied when they are complete in the input.
const LARGE: usize = 16 << 10;
/// The most arguments whose place is kept for the next command.
const RECYCLED: usize = 64;
/// The most digits of a length; more cannot be a length that is allowed.
const MAX_DIGITS: usize = 20;

/// A complete command. An empty one (`*0`, an empty line) is never returned.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    /// Its name and arguments; those that came after a rejection are missing.
    pub(super) args: Vec<Arg>,
    /// Why it cannot be executed, if it cannot.
    pub(super) rejected: Option<Rejection>,
}

/// Why a command was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The argument with this index has this many bytes, more than any value may have.
    Argument(usize, usize),
    /// The arguments together are larger than this limit in bytes.
    Command(usize),
    /// There are so many arguments, the name included: more than [`MAX_ARGS`].
    Count(i64),
}

/// A violation of the protocol; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    /// An inline command without an end of line.
    #[error("too big inline request")]
    InlineTooLong,
    /// An inline command with a quote that is not closed.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The number of arguments is no number or too large.
    #[error("invalid multibulk length")]
    ArgCount,
    /// The length of an argument is no number or too large.
    #[error("invalid bulk length")]
    BulkLength,
    /// The beginning of a TLS handshake (RFC 8446, section 5.1), whose client would wait in vain for
    /// an answer to a line that never ends.
    #[error("this port does not speak TLS")]
    Tls,
    /// Something else where an argument should begin.
    #[error("expected '$', got '{}'", printable(*.0))]
    NotBulk(u8),
}

/// A byte as redis-server shows it in an error: line ends would end the reply.
fn printable(byte: u8) -> char {
    match byte {
        b'\r' | b'\n' => ' ',
        byte if byte.is_ascii() => char::from(byte),
        _ => '?',
    }
}

/// Where the parser is inside a command.
#[derive(Debug)]
enum State {
    /// Before a command.
    Start,
    /// Before an argument.
    Header,
    /// Inside an argument that is kept: this many bytes long, line end apart.
    Body(usize),
    /// Inside a large argument that arrives in pieces: those that came, and its length.
    Pieces(BytesMut, usize),
    /// Inside what is skipped: this many bytes are still to come, the line end included.
    Skip(usize),
}

/// The parser of one connection.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    args: Vec<Arg>,
    /// Arguments of the command that are not complete yet.
    missing: i64,
    rejected: Option<Rejection>,
    /// Bytes kept for the command so far.
    held: usize,
    /// Bytes of an incomplete line that are known to hold no line end.
    scanned: usize,
}

/// What reading one piece of a request came to.
enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// Something was consumed; there may be more.
    Consumed,
    /// A command is complete.
    Complete(Command),
}

impl Parser {
    pub(super) const fn new() -> Parser {
        Parser {
            state: State::Start,
            args: Vec::new(),
            missing: 0,
            rejected: None,
            held: 0,
            scanned: 0,
        }
    }

    /// Bytes it holds of a command that is not complete.
    #[cfg(test)]
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Takes the next complete command from `input`; nothing if more bytes are needed.
    /// Arguments longer than `max_value` bytes are skipped.
    ///
    /// # Errors
    /// [`ProtocolError`], after which nothing more can be read.
    pub(super) fn next(
        &mut self,
        input: &mut BytesMut,
        max_value: usize,
    ) -> Result<Option<Command>, ProtocolError> {
        loop {
            match self.step(input, max_value)? {
                Progress::Incomplete => return Ok(None),
                Progress::Consumed => {}
                Progress::Complete(command) => return Ok(Some(command)),
            }
        }
    }

    /// Takes back the arguments of an executed command, so that their place is used again.
    pub(super) fn recycle(&mut self, mut args: Vec<Arg>) {
        if self.args.capacity() == 0 && args.capacity() <= RECYCLED {
            args.clear();
            self.args = args;
        }
    }

    fn step(&mut self, input: &mut BytesMut, max_value: usize) -> Result<Progress, ProtocolError> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Start => self.start(input),
            State::Header => self.header(input, max_value),
            State::Body(len) => Ok(self.body(input, len)),
            State::Pieces(pieces, len) => Ok(self.pieces(input, pieces, len)),
            State::Skip(left) => Ok(self.skip(input, left)),
        }
    }

    fn start(&mut self, input: &mut BytesMut) -> Result<Progress, ProtocolError> {
        self.state = State::Start;
        match input.as_ref() {
            [] => return Ok(Progress::Incomplete),
            [b'*', ..] => {}
            [0x16, 0x03, ..] => return Err(ProtocolError::Tls),
            _ => return self.inline(input),
        }
        let Some((count, consumed)) = length(input, ProtocolError::ArgCount)? else {
            return Ok(Progress::Incomplete);
        };
        if count > MAX_SKIPPED_ARGS {
            return Err(ProtocolError::ArgCount);
        }
        input.advance(consumed);
        if count > 0 {
            self.missing = count;
            self.state = State::Header;
        }
        Ok(Progress::Consumed)
    }

    fn inline(&mut self, input: &mut BytesMut) -> Result<Progress, ProtocolError> {
        let unseen = input.get(self.scanned..).unwrap_or_default();
        let Some(end) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.scanned = input.len();
            return if input.len() > MAX_INLINE {
                Err(ProtocolError::InlineTooLong)
            } else {
                Ok(Progress::Incomplete)
            };
        };
        let end = self.scanned + end;
        if end > MAX_INLINE {
            return Err(ProtocolError::InlineTooLong);
        }
        let line = input.get(..end).unwrap_or_default();
        let words = inline::split(line.strip_suffix(b"\r").unwrap_or(line));
        self.args = words.ok_or(ProtocolError::Quotes)?;
        self.scanned = 0;
        input.advance(end + 1);
        Ok(if self.args.is_empty() { Progress::Consumed } else { self.complete() })
    }

    fn header(
        &mut self,
        input: &mut BytesMut,
        max_value: usize,
    ) -> Result<Progress, ProtocolError> {
        match input.first() {
            None => return Ok(Progress::Incomplete),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NotBulk(other)),
        }
        let Some((len, consumed)) = length(input, ProtocolError::BulkLength)? else {
            return Ok(Progress::Incomplete);
        };
        if len > MAX_BULK {
            return Err(ProtocolError::BulkLength);
        }
        let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
        input.advance(consumed);
        self.rejected = self.rejected.or_else(|| self.rejection(len, max_value));
        self.state = if self.rejected.is_some() { State::Skip(len + 2) } else { State::Body(len) };
        Ok(Progress::Consumed)
    }

    /// Why the next argument, of this many bytes, and all behind it are skipped, if they are.
    fn rejection(&self, len: usize, max_value: usize) -> Option<Rejection> {
        let limit = max_value + COMMAND_SLACK;
        if len > max_value {
            Some(Rejection::Argument(self.args.len(), len))
        } else if self.args.len() == 1 && self.missing >= MAX_ARGS {
            // Judged behind the name, which is kept: it decides who answers.
            Some(Rejection::Count(self.missing + 1))
        } else {
            (self.held + len + ARG_OVERHEAD > limit).then_some(Rejection::Command(limit))
        }
    }

    fn body(&mut self, input: &mut BytesMut, len: usize) -> Progress {
        if input.len() >= len + 2 {
            let arg = if len >= LARGE {
                Arg::Long(input.split_to(len).freeze())
            } else {
                let arg = Arg::copy(input.get(..len).unwrap_or_default());
                input.advance(len);
                arg
            };
            input.advance(2);
            return self.keep(arg);
        }
        if len >= LARGE {
            self.state = State::Pieces(BytesMut::new(), len);
            return Progress::Consumed;
        }
        self.state = State::Body(len);
        Progress::Incomplete
    }

    /// Gathers a large argument in a buffer that grows with what arrives, never by what was only
    /// announced.
    fn pieces(&mut self, input: &mut BytesMut, mut pieces: BytesMut, len: usize) -> Progress {
        let piece = input.len().min(len - pieces.len());
        pieces.extend_from_slice(input.get(..piece).unwrap_or_default());
        input.advance(piece);
        self.held += piece;
        if pieces.len() == len && input.len() >= 2 {
            input.advance(2);
            self.held -= len;
            return self.keep(Arg::Long(pieces.freeze()));
        }
        self.state = State::Pieces(pieces, len);
        Progress::Incomplete
    }

    fn skip(&mut self, input: &mut BytesMut, left: usize) -> Progress {
        let piece = input.len().min(left);
        input.advance(piece);
        if piece < left {
            self.state = State::Skip(left - piece);
            return Progress::Incomplete;
        }
        self.argument_complete()
    }

    fn keep(&mut self, arg: Arg) -> Progress {
        self.held += arg.len() + ARG_OVERHEAD;
        self.args.push(arg);
        self.argument_complete()
    }

    fn argument_complete(&mut self) -> Progress {
        self.missing -= 1;
        if self.missing > 0 { Progress::Consumed } else { self.complete() }
    }

    fn complete(&mut self) -> Progress {
        self.state = State::Start;
        self.held = 0;
        Progress::Complete(Command {
            args: std::mem::take(&mut self.args),
            rejected: self.rejected.take(),
        })
    }
}

/// Reads the number of a line like `*3` or `$5` and how many bytes the line takes; nothing if the
/// line is not complete. What cannot become a number is refused before its end is seen.
fn length(input: &[u8], error: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
    let text = input.get(1..).unwrap_or_default();
    let sign = usize::from(text.first() == Some(&b'-'));
    let unsigned = text.iter().skip(sign).take(MAX_DIGITS + 1);
    let digits = sign + unsigned.take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits) {
        _ if digits > MAX_DIGITS => Err(error),
        None => Ok(None),
        Some(b'\r') => {
            let number = text.get(..digits).and_then(parse_integer).ok_or(error)?;
            // The byte behind the carriage return is not looked at, but it must be there.
            let consumed = digits + 3;
            Ok((input.len() >= consumed).then_some((number, consumed)))
        }
        Some(_) => Err(error),
    }
}

#[cfg(test)]
mod tests;
