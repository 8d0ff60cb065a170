//! Error replies: the one place where kvorum's errors become codes and texts of this protocol.

use std::borrow::Cow;

use kvorum_core::{Error, Executed};

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorReply {
    /// The first word, in capitals: what programs look at.
    pub(super) code: &'static str,
    /// The rest, for people.
    pub(super) text: Cow<'static, str>,
}

/// Every code this front end answers with.
pub(super) const CODES: [&str; 15] = [
    "ERR",
    "EXECABORT",
    "NOPROTO",
    "WRONGPASS",
    "NOTSTRONG",
    "CROSSSLOT",
    "UNAVAILABLE",
    "TIMEOUT",
    "OVERLOAD",
    "DISKFULL",
    "INDEXFULL",
    "CLOCKSKEW",
    "CORRUPT",
    "CLUSTERDOWN",
    "NOKEYSPACE",
];

impl ErrorReply {
    /// An error with the code `ERR`.
    pub(super) fn err(text: impl Into<Cow<'static, str>>) -> ErrorReply {
        ErrorReply { code: "ERR", text: text.into() }
    }

    /// redis-server's text for options that cannot be understood.
    pub(super) fn syntax() -> ErrorReply {
        ErrorReply::err("syntax error")
    }

    /// redis-server's text for something that should be a number.
    pub(super) fn not_an_integer() -> ErrorReply {
        ErrorReply::err("value is not an integer or out of range")
    }

    /// redis-server's text for a number of arguments that does not fit.
    pub(super) fn arity(command: &str) -> ErrorReply {
        ErrorReply::err(format!("wrong number of arguments for '{command}' command"))
    }
}

/// The status table. The text always says whether anything was executed.
impl From<&Error> for ErrorReply {
    fn from(error: &Error) -> ErrorReply {
        let code = match error {
            Error::Invalid(_) | Error::KeyReused => "ERR",
            Error::NoKeyspace(_) => "NOKEYSPACE",
            Error::NotStrong(_) => "NOTSTRONG",
            Error::CrossSlot => "CROSSSLOT",
            Error::Unavailable { .. }
            | Error::NotLeader { .. }
            | Error::CoordinatorLost { executed: Executed::No } => "UNAVAILABLE",
            Error::Timeout { .. }
            | Error::CoordinatorLost { executed: Executed::Unknown }
            | Error::SessionLost => "TIMEOUT",
            Error::Overloaded { .. } => "OVERLOAD",
            Error::DiskFull { .. } => "DISKFULL",
            Error::IndexFull { .. } => "INDEXFULL",
            Error::ClockSkew { .. } => "CLOCKSKEW",
            Error::Corrupt { .. } => "CORRUPT",
            Error::NotServing(_) => "CLUSTERDOWN",
        };
        let text = match error {
            Error::Invalid(_) | Error::NoKeyspace(_) | Error::NotStrong(_) | Error::CrossSlot => {
                format!("{error}; nothing was executed")
            }
            _ => error.to_string(),
        };
        ErrorReply { code, text: text.into() }
    }
}

impl From<Error> for ErrorReply {
    fn from(error: Error) -> ErrorReply {
        ErrorReply::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One error of every kind and outcome, with the code it must be answered with. The match in
    /// [`From`] fails to compile when a kind is added; this list says what the client sees.
    fn table() -> Vec<(Error, &'static str)> {
        let mut table = vec![
            (Error::invalid("key is empty"), "ERR"),
            (Error::NoKeyspace("x".to_owned()), "NOKEYSPACE"),
            (Error::NotStrong("INCR"), "NOTSTRONG"),
            (Error::Unavailable { need: 2, live: 1 }, "UNAVAILABLE"),
            (Error::NotServing("starting".into()), "CLUSTERDOWN"),
            (Error::NotLeader { leader: None }, "UNAVAILABLE"),
            (Error::CrossSlot, "CROSSSLOT"),
            (Error::SessionLost, "TIMEOUT"),
            (Error::KeyReused, "ERR"),
        ];
        for executed in [Executed::No, Executed::Unknown] {
            let lost = if executed == Executed::No { "UNAVAILABLE" } else { "TIMEOUT" };
            table.extend([
                (Error::Timeout { need: 2, acked: 1, executed }, "TIMEOUT"),
                (Error::Overloaded { what: "the queue", executed }, "OVERLOAD"),
                (Error::DiskFull { executed }, "DISKFULL"),
                (Error::IndexFull { executed }, "INDEXFULL"),
                (Error::ClockSkew { executed }, "CLOCKSKEW"),
                (Error::Corrupt { executed }, "CORRUPT"),
                (Error::CoordinatorLost { executed }, lost),
            ]);
        }
        table
    }

    #[test]
    fn every_error_has_its_code_and_says_what_was_executed() {
        for (error, code) in table() {
            let reply = ErrorReply::from(&error);
            assert_eq!(reply.code, code, "{error:?}");
            assert!(CODES.contains(&code));
            let said = match error.executed() {
                Executed::No => "nothing was executed",
                Executed::Unknown => "the outcome is unknown",
            };
            assert!(reply.text.ends_with(said), "{}", reply.text);
        }
    }
}
