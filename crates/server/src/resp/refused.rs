//! Commands that read, modify and write in one step. An eventual keyspace cannot run them: a quorum
//! read and a write are not one step, and what looks like a lock would not be one.

use kvorum_core::Mode;

use super::call::Call;
use super::error::ErrorReply;

/// Refuses a command with the advice that stands in the table.
pub(super) fn command(call: &Call<'_, '_>, advice: &str) -> ErrorReply {
    not_strong(call, "", advice)
}

/// Refuses an option of a command.
pub(super) fn option(call: &Call<'_, '_>, option: &str) -> ErrorReply {
    let advice = match option {
        "NX" | "XX" => "without the condition SET key value works here",
        "GET" => "use GET key and then SET key value where no other client writes the key",
        _ => "give the time to live again with SET key value EX seconds",
    };
    not_strong(call, &format!(" with {option}"), advice)
}

/// Refuses a command inside a transaction.
pub(super) fn in_transaction(call: &Call<'_, '_>) -> ErrorReply {
    let advice = "send it without MULTI (MSET writes several keys, each on its own)";
    not_strong(call, " inside MULTI", advice)
}

fn not_strong(call: &Call<'_, '_>, how: &str, advice: &str) -> ErrorReply {
    let command = call.command.name.to_ascii_uppercase();
    let text = format!(
        "{command}{how} needs a strong keyspace; this keyspace is eventual: {}{advice}; nothing \
         was executed",
        selection(call),
    );
    ErrorReply { code: "NOTSTRONG", text: text.into() }
}

/// The command that selects a strong keyspace, or why there is none.
pub(super) fn selection(call: &Call<'_, '_>) -> String {
    let layout = call.calls.node().layout();
    let mut keyspaces = layout.iter().flat_map(|layout| layout.keyspaces()).enumerate();
    let strong = keyspaces.find(|(_, keyspace)| keyspace.mode == Mode::Strong);
    strong.map_or_else(
        || "this cluster has none, one that is born with default_mode=strong has; ".to_owned(),
        |(number, strong)| {
            format!("SELECT {number} selects the strong keyspace {}; otherwise ", strong.name)
        },
    )
}
