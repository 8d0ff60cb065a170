//! What can go wrong, and whether it may have happened.

use std::borrow::Cow;
use std::error::Error as _;

use kvorum_core::Executed;
use tonic::{Code, ConnectError, Status};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong and was not executed; repeating it will not help.
    #[error("{message}")]
    Invalid {
        /// The stable code, such as `INVALID` or `NOTSTRONG`.
        code: Cow<'static, str>,
        /// What is wrong.
        message: String,
    },
    /// The request was not executed and never will be: it may be repeated.
    #[error("{message}")]
    Unavailable {
        /// The stable code, such as `UNAVAILABLE` or `OVERLOAD`.
        code: Cow<'static, str>,
        /// What is missing.
        message: String,
    },
    /// The request may have been executed, or may yet be: read before you decide.
    #[error("{message}")]
    Unknown {
        /// The stable code, such as `TIMEOUT`.
        code: Cow<'static, str>,
        /// What happened.
        message: String,
    },
}

/// The one code that no node sends: none could be reached.
const UNREACHABLE: &str = "UNREACHABLE";

/// Whether a request changes anything: decides what a lost connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    Reads,
    /// It writes.
    Writes,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid { code: Cow::Borrowed("INVALID"), message: message.into() }
    }

    fn unreachable(message: String) -> Error {
        Error::Unavailable { code: Cow::Borrowed(UNREACHABLE), message }
    }

    /// Whether the request may have taken effect.
    #[must_use]
    pub const fn executed(&self) -> Executed {
        match self {
            Error::Invalid { .. } | Error::Unavailable { .. } => Executed::No,
            Error::Unknown { .. } => Executed::Unknown,
        }
    }

    /// The stable code of the error, the same in every protocol.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Error::Invalid { code, .. }
            | Error::Unavailable { code, .. }
            | Error::Unknown { code, .. } => code,
        }
    }

    /// Whether another node, or the same one a little later, may do better. An unknown outcome is
    /// worth it only for what is `named`, and so not done twice.
    pub(crate) fn is_worth_repeating(&self, named: bool) -> bool {
        let passing = [
            UNREACHABLE,
            "UNAVAILABLE",
            "NOTSERVING",
            "NOTLEADER",
            "OVERLOAD",
            "COORDINATORLOST",
            "TIMEOUT",
        ];
        match self {
            Error::Invalid { .. } => false,
            Error::Unavailable { code, .. } => passing.contains(&code.as_ref()),
            Error::Unknown { code, .. } => named && passing.contains(&code.as_ref()),
        }
    }

    /// The error of a request of which an earlier attempt ended in `doubt`: that the last one was
    /// not executed says nothing of that one.
    pub(crate) fn after(self, doubt: Option<Error>) -> Error {
        match (self, doubt) {
            (Error::Unavailable { .. }, Some(doubt)) => doubt,
            (error, _) => error,
        }
    }

    /// Whether the endpoint itself is at fault, so that others should be preferred for a while.
    pub(crate) fn blames_endpoint(&self) -> bool {
        self.code() == UNREACHABLE || self.code() == "NOTSERVING"
    }

    /// The failure of a whole request at a node.
    pub(crate) fn from_status(status: &Status, effect: Effect) -> Error {
        let text = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
        let message = status.message().to_owned();
        if let Some(code) = text("kvorum-code") {
            return Error::of_code(code.to_owned(), text("kvorum-executed"), message, effect);
        }
        // Not an answer of kvorum: the connection failed, or something stands in between.
        let never_sent = is_connect_error(status);
        match (status.code(), effect) {
            (
                Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::Unauthenticated
                | Code::PermissionDenied,
                _,
            ) => Error::invalid(message),
            _ if never_sent => Error::unreachable("cannot connect".to_owned()),
            (Code::Unimplemented, _) => {
                Error::unreachable("this is not the gRPC port of a kvorum node".to_owned())
            }
            (Code::DeadlineExceeded | Code::Cancelled, _) => Error::timeout(effect),
            (Code::Internal | Code::Unknown, Effect::Reads) => {
                Error::unreachable(format!("no kvorum node answers gRPC here: {message}"))
            }
            (_, Effect::Reads) => Error::unreachable(message),
            (_, Effect::Writes) => Error::Unknown {
                code: Cow::Borrowed("COORDINATORLOST"),
                message: format!("the connection was lost; the outcome is unknown ({message})"),
            },
        }
    }

    /// The same, naming the endpoint if that is at fault.
    pub(crate) fn at(self, address: &str) -> Error {
        match self {
            Error::Unavailable { code, message } if code == UNREACHABLE => {
                Error::Unavailable { code, message: format!("{message} ({address})") }
            }
            other => other,
        }
    }

    /// A failure that kvorum has named.
    pub(crate) fn of_code(
        code: String,
        executed: Option<&str>,
        message: String,
        effect: Effect,
    ) -> Error {
        let code: Cow<'static, str> = Cow::Owned(code);
        let certainly_not = executed == Some("no") || effect == Effect::Reads;
        match code.as_ref() {
            "INVALID" | "NOKEYSPACE" | "NOTSTRONG" | "CROSSSLOT" | "KEYREUSED"
            | "UNIMPLEMENTED" => Error::Invalid { code, message },
            _ if certainly_not => Error::Unavailable { code, message },
            _ => Error::Unknown { code, message },
        }
    }

    /// The client's own deadline has passed.
    pub(crate) fn timeout(effect: Effect) -> Error {
        let code = Cow::Borrowed("TIMEOUT");
        match effect {
            Effect::Reads => Error::Unavailable { code, message: "no answer in time".to_owned() },
            Effect::Writes => Error::Unknown {
                code,
                message: "no answer in time; the outcome is unknown".to_owned(),
            },
        }
    }
}

fn is_connect_error(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn named(code: &'static str, executed: &'static str) -> Status {
        let mut status = Status::unknown("text");
        status.metadata_mut().insert("kvorum-code", MetadataValue::from_static(code));
        status.metadata_mut().insert("kvorum-executed", MetadataValue::from_static(executed));
        status
    }

    #[test]
    fn a_named_failure_says_whether_it_may_have_happened() {
        let error = Error::from_status(&named("TIMEOUT", "unknown"), Effect::Writes);
        assert_eq!((error.executed(), error.code()), (Executed::Unknown, "TIMEOUT"));
        assert!(!error.is_worth_repeating(false) && error.is_worth_repeating(true));
        let error = Error::from_status(&named("OVERLOAD", "no"), Effect::Writes);
        assert_eq!(error.executed(), Executed::No);
        assert!(error.is_worth_repeating(false));
        let error = Error::from_status(&named("OVERLOAD", "unknown"), Effect::Writes);
        assert!(!error.is_worth_repeating(false));
        // What is forgotten stays forgotten.
        let error = Error::from_status(&named("SESSIONLOST", "unknown"), Effect::Writes);
        assert!(!error.is_worth_repeating(true));
        let error = Error::from_status(&named("NOTSTRONG", "no"), Effect::Writes);
        assert!(matches!(error, Error::Invalid { .. }));
    }

    #[test]
    fn a_server_without_the_service_is_the_wrong_one_and_has_executed_nothing() {
        let error = Error::from_status(&Status::unimplemented(""), Effect::Writes);
        assert_eq!((error.executed(), error.code()), (Executed::No, UNREACHABLE));
        assert!(!error.to_string().is_empty() && error.blames_endpoint());
    }

    #[test]
    fn a_lost_connection_leaves_a_write_unknown_and_a_read_undone() {
        let lost = Status::unavailable("connection reset");
        assert_eq!(Error::from_status(&lost, Effect::Writes).executed(), Executed::Unknown);
        assert_eq!(Error::from_status(&lost, Effect::Reads).executed(), Executed::No);
        let late = Status::deadline_exceeded("late");
        assert_eq!(Error::from_status(&late, Effect::Writes).executed(), Executed::Unknown);
        assert_eq!(Error::from_status(&late, Effect::Reads).executed(), Executed::No);
    }
}
