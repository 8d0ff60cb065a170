//! Exit codes: what scripts can rely on.

use std::process::ExitCode;

use kvorum_client::Error;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// There is no such key, the request was refused, or the command failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The cluster could not do it now, or the outcome is unknown.
    Unavailable,
    /// The node refuses to start and starting it again will not help (`EX_CONFIG` of sysexits.h).
    Refused,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 3,
            Exit::Refused => 78,
        }
    }

    /// How a command ends that failed with an error.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Exit {
        if error.is::<Refused>() {
            return Exit::Refused;
        }
        if error.is::<WrongUsage>() {
            return Exit::Usage;
        }
        if error.is::<Unreachable>() {
            return Exit::Unavailable;
        }
        match error.downcast_ref::<Failure>().map(|failure| &failure.error) {
            Some(Error::Unavailable { .. } | Error::Unknown { .. }) => Exit::Unavailable,
            Some(Error::Invalid { .. }) | None => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A refusal to start, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// A refusal for a reason.
    pub fn because(reason: impl Into<String>) -> Refused {
        Refused(reason.into())
    }
}

/// A command line that makes no sense in a way that only shows when it is run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// A server that cannot be reached, or is no server of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// A failed request as the user reads it: what happened, its code, and whether it was executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error} ({}; executed: {})", error.code(), error.executed())]
pub struct Failure {
    error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        let message = String::new;
        let of = |error: anyhow::Error| Exit::of(&error).code();
        assert_eq!(of(Refused::because("no").into()), 78);
        assert_eq!(of(WrongUsage(message()).into()), 2);
        assert_eq!(of(Unreachable(message()).into()), 3);
        let of_request = |error: Error| of(Failure::from(error).into());
        assert_eq!(of_request(Error::Invalid { code: "X".into(), message: message() }), 1);
        assert_eq!(of_request(Error::Unavailable { code: "X".into(), message: message() }), 3);
        assert_eq!(of_request(Error::Unknown { code: "X".into(), message: message() }), 3);
        assert_eq!(of(anyhow::anyhow!("anything else")), 1);
    }

    #[test]
    fn a_failed_request_says_whether_it_was_executed() {
        let error = Error::Unknown { code: "TIMEOUT".into(), message: "no answer".to_owned() };
        assert_eq!(Failure::from(error).to_string(), "no answer (TIMEOUT; executed: unknown)");
    }

    #[test]
    fn context_does_not_hide_the_kind() {
        let error = Err::<(), _>(Refused::because("no")).context("while starting").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Refused);
    }
}
