//! MULTI, EXEC, DISCARD: a client that sends a transaction is answered as the protocol of
//! transactions has it, and none of its commands is executed.
//!
//! Clients send MULTI, the commands and EXEC together, before they have read a reply. If MULTI were
//! refused alone, the commands behind it would be executed one by one, although their client wanted
//! all or none. So MULTI opens a transaction in which every command is refused; EXEC then says that
//! it was discarded, as in redis-server after an error.

use super::call::{Call, Handled};
use super::error::ErrorReply;
use super::refused;
use super::table::Command;

/// Whether a command does in a transaction what it does elsewhere.
pub(super) fn passes(command: &Command) -> bool {
    matches!(command.name, "multi" | "exec" | "discard" | "reset" | "quit")
}

/// The refusal of a command inside a transaction.
pub(super) fn refuse(command: &Command) -> ErrorReply {
    refused::in_transaction(&command.name.to_ascii_uppercase())
}

/// `MULTI`
pub(super) fn multi(call: &mut Call<'_, '_>) -> Handled {
    if call.client.in_transaction {
        return Err(ErrorReply::err("MULTI calls can not be nested"));
    }
    call.client.in_transaction = true;
    call.simple("OK")
}

/// `EXEC`
pub(super) fn exec(call: &mut Call<'_, '_>) -> Handled {
    end(call, "EXEC without MULTI")?;
    let text = "Transaction discarded because of previous errors: a transaction needs a strong \
                keyspace, which this version does not have; nothing was executed";
    Err(ErrorReply { code: "EXECABORT", text: text.into() })
}

/// `DISCARD`
pub(super) fn discard(call: &mut Call<'_, '_>) -> Handled {
    end(call, "DISCARD without MULTI")?;
    call.simple("OK")
}

/// Ends the transaction, or fails with `otherwise` where there is none.
fn end(call: &mut Call<'_, '_>, otherwise: &'static str) -> Result<(), ErrorReply> {
    if std::mem::take(&mut call.client.in_transaction) {
        return Ok(());
    }
    Err(ErrorReply::err(otherwise))
}
