//! Commands that read, modify and write in one step. An eventual keyspace cannot run them: a quorum
//! read and a write are not one step, and what looks like a lock would not be one.

use super::call::{Call, Handled};
use super::error::ErrorReply;
use super::table::Run;

/// Refuses a command with the advice that stands in the table.
pub(super) fn command(call: &mut Call<'_, '_>) -> Handled {
    let advice = match call.command.run {
        Run::Refused(advice) => advice,
        _ => "",
    };
    Err(not_strong(&call.command.name.to_ascii_uppercase(), advice))
}

/// Refuses an option of a command.
pub(super) fn option(command: &str, option: &str) -> ErrorReply {
    let advice = match option {
        "NX" | "XX" => "without the condition SET key value works here",
        "GET" => "use GET key and then SET key value where no other client writes the key",
        _ => "give the time to live again with SET key value EX seconds",
    };
    not_strong(&format!("{command} with {option}"), advice)
}

/// Refuses a command inside a transaction.
pub(super) fn in_transaction(command: &str) -> ErrorReply {
    let advice = "send it without MULTI (MSET writes several keys, each on its own)";
    not_strong(&format!("{command} inside MULTI"), advice)
}

fn not_strong(what: &str, advice: &str) -> ErrorReply {
    let text = format!(
        "{what} needs a strong keyspace, which this version does not have; this keyspace is \
         eventual: {advice}; nothing was executed"
    );
    ErrorReply { code: "NOTSTRONG", text: text.into() }
}
