//! OBJECT, DEBUG and FUNCTION: what programs that test servers and clients ask for.

use kvorum_core::{Action, Item, Step as TxnStep};

use super::arg::parse_integer;
use super::call::{Call, Handled, Step};
use super::encoder::{Encoder, Version};
use super::error::ErrorReply;
use super::plan::{Plan, Planned, refused};
use super::queue::Finish;

/// The longest value that redis-server keeps beside its header.
const EMBEDDED: usize = 44;
/// The longest value that redis-server looks at as a number.
const NUMBER: usize = 20;

/// `OBJECT ENCODING key`: the encoding that redis-server would choose for a new value.
pub(super) fn encoding(call: &mut Call<'_, '_>) -> Planned {
    Plan::read(call.key(2)?, |item, finish| {
        match item {
            Some(Item { value, .. }) if value.len() <= NUMBER && parse_integer(value).is_some() => {
                finish.out.bulk(b"int");
            }
            Some(item) if item.value.len() <= EMBEDDED => finish.out.bulk(b"embstr"),
            Some(_) => finish.out.bulk(b"raw"),
            None => finish.out.null(),
        }
        Ok(())
    })
}

/// `OBJECT REFCOUNT key`: values are not shared.
pub(super) fn refcount(call: &mut Call<'_, '_>) -> Planned {
    if_present(call, |finish| {
        finish.out.integer(1);
        Ok(())
    })
}

/// `OBJECT FREQ key`
pub(super) fn freq(call: &mut Call<'_, '_>) -> Planned {
    if_present(call, |_| {
        Err(ErrorReply::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ))
    })
}

fn if_present(
    call: &mut Call<'_, '_>,
    say: fn(&mut Finish<'_>) -> Result<(), ErrorReply>,
) -> Planned {
    let key = call.key(2)?;
    Plan::step(TxnStep::new(key, Action::Read), move |done, finish| {
        refused(done)?;
        if done.existed {
            return say(finish);
        }
        finish.out.null();
        Ok(())
    })
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`: there are no functions.
pub(super) fn function_flush(call: &mut Call<'_, '_>) -> Handled {
    match call.args_from(2) {
        [] => call.simple("OK"),
        [word] if word.is("ASYNC") || word.is("SYNC") => call.simple("OK"),
        _ => Err(ErrorReply::err("FUNCTION FLUSH only supports SYNC|ASYNC option")),
    }
}

/// `DEBUG SET-ACTIVE-EXPIRE 0 | 1`: has no effect, because what has expired is gone for everybody
/// at once, and when its space is used again cannot be seen.
pub(super) fn set_active_expire(call: &mut Call<'_, '_>) -> Handled {
    call.integer(2)?;
    call.simple("OK")
}

/// `DEBUG PROTOCOL kind`: a reply of each kind, for those who test clients.
pub(super) fn protocol(call: &mut Call<'_, '_>) -> Handled {
    let kind = call.args.get(2).map(|word| word.text().to_ascii_lowercase()).unwrap_or_default();
    let out = &mut *call.reply;
    match kind.as_str() {
        "string" => out.bulk(b"Hello World"),
        "integer" => out.integer(12345),
        "double" => out.double("3.141"),
        "bignum" => out.big_number("1234567999999999999999999999999999999"),
        "null" => out.null(),
        "array" => {
            out.array(3);
            (0..3).for_each(|number| out.integer(number));
        }
        "set" => {
            out.set(3);
            (0..3).for_each(|number| out.integer(number));
        }
        "map" => {
            out.map(3);
            for number in 0..3 {
                out.integer(number);
                out.boolean(number == 1);
            }
        }
        "attrib" => attribute(out),
        "push" if out.version == Version::Resp2 => {
            return Err(ErrorReply::err("RESP2 is not supported by this command"));
        }
        "push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.integer(42);
            // A push is no reply: this is.
            out.bulk(b"Some real reply following the push reply");
        }
        "true" => out.boolean(true),
        "false" => out.boolean(false),
        "verbatim" => out.text("This is a verbatim\nstring"),
        _ => {
            return Err(ErrorReply::err(
                "Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Step::Replied)
}

/// An attribute, which RESP2 does not have, and the reply it belongs to.
fn attribute(out: &mut Encoder) {
    if out.version == Version::Resp3 {
        out.attribute(1);
        out.bulk(b"key-popularity");
        out.array(2);
        out.bulk(b"key:123");
        out.integer(90);
    }
    out.bulk(b"Some real reply following the attribute");
}
