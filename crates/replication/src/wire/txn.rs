//! The encoding of what changes keys: in forwarded requests and in the entries of Raft logs.
//!
//! A transaction is three lists with their lengths as varints: comparisons, steps, other steps. A
//! comparison is `key bytes | kind u8 | field`; a step is `key bytes | previous u8 | kind u8 |
//! fields`, and a transaction may be a step of another, one deep. An answer is `held u8` and a list; what became of a step is `existed u8 | previous |
//! version | kind u8 | field`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    Action, Answer, Compare, Condition, Done, Expiry, ExpiryIs, Item, Output, Refusal, Step, Txn,
};

use super::WireError;
use super::primitive::{
    get_bytes, get_duration, get_flag, get_header, get_optional, get_size, get_version, put_bytes,
    put_duration, put_flag, put_header, put_optional, put_size, put_version,
};

const TOO_DEEP: WireError = WireError("transactions lie too deep in each other");

/// Appends when a value stops being visible.
pub fn put_expiry(out: &mut BytesMut, expiry: Expiry) {
    match expiry {
        Expiry::Never => out.put_u8(0),
        Expiry::After(span) => {
            out.put_u8(1);
            put_duration(out, span);
        }
        Expiry::At(wall_ms) => {
            out.put_u8(2);
            out.put_u64_le(wall_ms);
        }
    }
}

/// Takes when a value stops being visible.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_expiry(input: &mut Bytes) -> Result<Expiry, WireError> {
    match input.try_get_u8()? {
        0 => Ok(Expiry::Never),
        1 => Ok(Expiry::After(get_duration(input)?)),
        2 => Ok(Expiry::At(input.try_get_u64_le()?)),
        _ => Err(WireError("unknown expiry")),
    }
}

/// Appends a transaction.
pub fn put_txn(out: &mut BytesMut, txn: &Txn) {
    put_size(out, txn.compare.len());
    for compare in &txn.compare {
        put_bytes(out, &compare.key);
        put_condition(out, &compare.condition);
    }
    for steps in [&txn.then, &txn.otherwise] {
        put_size(out, steps.len());
        for step in steps {
            put_bytes(out, &step.key);
            put_flag(out, step.previous);
            put_action(out, &step.action);
        }
    }
}

/// Takes a transaction.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_txn(input: &mut Bytes) -> Result<Txn, WireError> {
    txn_within(input, Txn::MAX_DEPTH)
}

/// Takes a transaction in which others may lie so deep that with it they are `depth`.
fn txn_within(input: &mut Bytes, depth: usize) -> Result<Txn, WireError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(TOO_DEEP) };
    let mut txn = Txn::default();
    for _ in 0..get_size(input)? {
        let key = get_bytes(input)?;
        txn.compare.push(Compare { key, condition: get_condition(input)? });
    }
    for steps in [&mut txn.then, &mut txn.otherwise] {
        for _ in 0..get_size(input)? {
            let key = get_bytes(input)?;
            let previous = get_flag(input)?;
            steps.push(Step { key, previous, action: get_action(input, depth)? });
        }
    }
    Ok(txn)
}

fn put_condition(out: &mut BytesMut, condition: &Condition) {
    match condition {
        Condition::Absent => out.put_u8(1),
        Condition::Present => out.put_u8(2),
        Condition::Version(version) => {
            out.put_u8(3);
            put_version(out, *version);
        }
        Condition::Value(value) => {
            out.put_u8(4);
            put_bytes(out, value);
        }
        Condition::TagBelow(tag) => {
            out.put_u8(5);
            out.put_u32_le(*tag);
        }
    }
}

fn get_condition(input: &mut Bytes) -> Result<Condition, WireError> {
    match input.try_get_u8()? {
        1 => Ok(Condition::Absent),
        2 => Ok(Condition::Present),
        3 => Ok(Condition::Version(get_version(input)?)),
        4 => Ok(Condition::Value(get_bytes(input)?)),
        5 => Ok(Condition::TagBelow(input.try_get_u32_le()?)),
        _ => Err(WireError("unknown comparison")),
    }
}

fn put_action(out: &mut BytesMut, action: &Action) {
    match action {
        Action::Read => out.put_u8(1),
        Action::Put { value, expiry, tag } => {
            out.put_u8(2);
            put_bytes(out, value);
            put_optional(out, *expiry, put_expiry);
            out.put_u32_le(*tag);
        }
        Action::Delete => out.put_u8(3),
        Action::Add(by) => {
            out.put_u8(4);
            out.put_i64_le(*by);
        }
        Action::Append(value) => {
            out.put_u8(5);
            put_bytes(out, value);
        }
        Action::AddDecimal(by) => {
            out.put_u8(6);
            put_bytes(out, by);
        }
        Action::SetRange { offset, bytes } => {
            out.put_u8(7);
            out.put_u64_le(*offset);
            put_bytes(out, bytes);
        }
        Action::SetBit { offset, on } => {
            out.put_u8(8);
            out.put_u64_le(*offset);
            put_flag(out, *on);
        }
        Action::Expire { expiry, only } => {
            out.put_u8(9);
            put_expiry(out, *expiry);
            put_size(out, only.len());
            for is in only {
                out.put_u8(number_of(&EXPIRIES, is));
            }
        }
        Action::Copy { from } => {
            out.put_u8(10);
            put_bytes(out, from);
        }
        Action::Txn(inner) => {
            out.put_u8(11);
            put_txn(out, inner);
        }
    }
}

fn get_action(input: &mut Bytes, depth: usize) -> Result<Action, WireError> {
    match input.try_get_u8()? {
        1 => Ok(Action::Read),
        2 => Ok(Action::Put {
            value: get_bytes(input)?,
            expiry: get_optional(input, get_expiry)?,
            tag: input.try_get_u32_le()?,
        }),
        3 => Ok(Action::Delete),
        4 => Ok(Action::Add(input.try_get_i64_le()?)),
        5 => Ok(Action::Append(get_bytes(input)?)),
        6 => Ok(Action::AddDecimal(get_bytes(input)?)),
        7 => Ok(Action::SetRange { offset: input.try_get_u64_le()?, bytes: get_bytes(input)? }),
        8 => Ok(Action::SetBit { offset: input.try_get_u64_le()?, on: get_flag(input)? }),
        9 => {
            let expiry = get_expiry(input)?;
            let mut only = Vec::new();
            for _ in 0..get_size(input)? {
                only.push(numbered(&EXPIRIES, input, "unknown condition of an expiry")?);
            }
            Ok(Action::Expire { expiry, only })
        }
        10 => Ok(Action::Copy { from: get_bytes(input)? }),
        11 => Ok(Action::Txn(Box::new(txn_within(input, depth)?))),
        _ => Err(WireError("unknown step")),
    }
}

/// What expiries may be asked to be, each at the place that is its number on the wire.
const EXPIRIES: [ExpiryIs; 4] =
    [ExpiryIs::Absent, ExpiryIs::Present, ExpiryIs::Earlier, ExpiryIs::Later];

/// What steps refuse, each at the place that is its number on the wire.
const REFUSALS: [Refusal; 7] = [
    Refusal::NotAnInteger,
    Refusal::Overflow,
    Refusal::TooLong,
    Refusal::NotANumber,
    Refusal::NotFinite,
    Refusal::NoSuchKey,
    Refusal::AnswerTooLong,
];

/// The place of a value in the list of all of its type.
fn number_of<T: PartialEq>(all: &[T], value: &T) -> u8 {
    let at = all.iter().position(|known| known == value);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn numbered<T: Copy>(all: &[T], input: &mut Bytes, what: &'static str) -> Result<T, WireError> {
    all.get(usize::from(input.try_get_u8()?)).copied().ok_or(WireError(what))
}

/// Appends what a transaction answers.
pub fn put_answer(out: &mut BytesMut, answer: &Answer) {
    put_flag(out, answer.held);
    put_size(out, answer.steps.len());
    for done in &answer.steps {
        put_flag(out, done.existed);
        put_optional(out, done.previous.as_ref(), put_item);
        put_optional(out, done.version, put_version);
        match &done.output {
            Output::Done => out.put_u8(1),
            Output::Integer(number) => {
                out.put_u8(2);
                out.put_i64_le(*number);
            }
            Output::Refused(refusal) => {
                out.put_u8(3);
                out.put_u8(number_of(&REFUSALS, refusal));
            }
            Output::Value(value) => {
                out.put_u8(4);
                put_bytes(out, value);
            }
            Output::Txn(inner) => {
                out.put_u8(5);
                put_answer(out, inner);
            }
        }
    }
}

/// Takes what a transaction answers.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_answer(input: &mut Bytes) -> Result<Answer, WireError> {
    answer_within(input, Txn::MAX_DEPTH)
}

fn answer_within(input: &mut Bytes, depth: usize) -> Result<Answer, WireError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(TOO_DEEP) };
    let mut answer = Answer { held: get_flag(input)?, steps: Vec::new() };
    for _ in 0..get_size(input)? {
        let existed = get_flag(input)?;
        let previous = get_optional(input, get_item)?;
        let version = get_optional(input, get_version)?;
        let output = match input.try_get_u8()? {
            1 => Output::Done,
            2 => Output::Integer(input.try_get_i64_le()?),
            3 => Output::Refused(numbered(&REFUSALS, input, "unknown refusal")?),
            4 => Output::Value(get_bytes(input)?),
            5 => Output::Txn(Box::new(answer_within(input, depth)?)),
            _ => return Err(WireError("unknown output of a step")),
        };
        answer.steps.push(Done { existed, previous, version, output });
    }
    Ok(answer)
}

/// Appends an item: key bytes, header, value bytes.
pub fn put_item(out: &mut BytesMut, item: &Item) {
    put_bytes(out, &item.key);
    put_header(out, &item.header);
    put_bytes(out, &item.value);
}

/// Takes an item.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_item(input: &mut Bytes) -> Result<Item, WireError> {
    Ok(Item { key: get_bytes(input)?, header: get_header(input)?, value: get_bytes(input)? })
}
