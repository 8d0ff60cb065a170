//! The files that the process may open, shared out between connections and the store.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer files than this a node is of no use.
const FEWEST: u64 = 256;
/// Redis protocol, gRPC, HTTP, streams between nodes.
const LISTENERS: u64 = 4;

/// The process may open too few files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process may open {0} files, and a node needs {FEWEST}: raise the limit (ulimit -n)")]
pub struct TooFewFiles(u64);

/// How many connections each listener may keep open: as many as `wanted`, or what three quarters
/// of the files allow. The rest is for the store. First the process takes as many files as it is
/// allowed to.
///
/// # Errors
/// [`TooFewFiles`].
pub fn connections_per_listener(wanted: usize) -> Result<usize, TooFewFiles> {
    share(raised_limit(), wanted)
}

fn share(files: u64, wanted: usize) -> Result<usize, TooFewFiles> {
    if files < FEWEST {
        return Err(TooFewFiles(files));
    }
    let most = files / 4 * 3 / LISTENERS;
    Ok(wanted.min(usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Raises the limit of open files as far as the system allows, and returns it.
fn raised_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(u64::MAX);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays at {before}");
            before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_quarter_of_the_files_to_the_store() {
        assert_eq!(share(1024, 10_000), Ok(192));
        assert_eq!(share(1 << 20, 10_000), Ok(10_000));
        assert_eq!(share(u64::MAX, 7), Ok(7));
        assert_eq!(share(255, 1), Err(TooFewFiles(255)));
    }
}
