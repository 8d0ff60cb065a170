//! The one table from errors to gRPC status codes.

use kvorum_core::{Error, Executed};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// The metadata entry with the stable code.
pub const CODE: &str = "kvorum-code";
/// The metadata entry that says whether the request may have taken effect.
pub const EXECUTED: &str = "kvorum-executed";

/// The status code of an error.
///
/// `Unavailable` always means that nothing was executed, because clients retry it on their own.
#[must_use]
pub const fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) | Error::CrossSlot | Error::KeyReused => Code::InvalidArgument,
        Error::NoKeyspace(_) => Code::NotFound,
        Error::NotStrong(_) => Code::FailedPrecondition,
        Error::Unavailable { .. } | Error::NotServing(_) | Error::NotLeader { .. } => {
            Code::Unavailable
        }
        Error::Timeout { .. } => Code::DeadlineExceeded,
        Error::Overloaded { .. } | Error::DiskFull { .. } | Error::IndexFull { .. } => {
            Code::ResourceExhausted
        }
        Error::ClockSkew { .. } => Code::Aborted,
        Error::Corrupt { .. } => Code::DataLoss,
        Error::CoordinatorLost { executed: Executed::No } => Code::Unavailable,
        Error::CoordinatorLost { executed: Executed::Unknown } | Error::SessionLost => {
            Code::Unknown
        }
    }
}

/// The status of an error, with its stable code and whether it was executed.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub fn refuse(error: Error) -> Status {
    let executed = match error.executed() {
        Executed::No => "no",
        Executed::Unknown => "unknown",
    };
    with_metadata(code(&error), error.to_string(), error.code(), executed)
}

/// The status of a method that is declared and not served.
#[must_use]
pub fn unimplemented(what: &str) -> Status {
    with_metadata(Code::Unimplemented, what.to_owned(), "UNIMPLEMENTED", "no")
}

/// The status of a call that the node has no time for at present; nothing was executed.
#[must_use]
pub fn busy(what: &str) -> Status {
    with_metadata(Code::ResourceExhausted, what.to_owned(), "OVERLOAD", "no")
}

fn with_metadata(
    code: Code,
    message: String,
    stable: &'static str,
    executed: &'static str,
) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(stable));
    metadata.insert(EXECUTED, MetadataValue::from_static(executed));
    Status::with_metadata(code, message, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::every_error;

    #[test]
    fn every_error_has_a_code_and_says_whether_it_was_executed() {
        for error in every_error() {
            let status = refuse(error.clone());
            assert!(status.code() != Code::Ok && status.code() != Code::Internal, "{error}");
            let entry = |name| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(entry(CODE), error.code());
            assert_eq!(entry(EXECUTED), error.executed().to_string());
            assert_eq!(status.message(), error.to_string());
        }
    }

    #[test]
    fn a_status_that_clients_retry_on_their_own_was_never_executed() {
        for error in every_error() {
            if code(&error) == Code::Unavailable {
                assert_eq!(error.executed(), Executed::No, "{error}");
            }
        }
    }
}
