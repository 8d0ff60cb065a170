//! What can go wrong when a store is opened or written; every text is one sentence for a person.

use std::io;

/// Why a store could not be opened. Nothing was changed that a later attempt would miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("the data directory is in use by another process")]
    Locked,
    /// The directory holds something else than one store: choose another directory.
    #[error("the data directory does not hold one kvorum store: {0}")]
    Foreign(String),
    /// The store was written by a version of kvorum that this one cannot read.
    #[error("the data directory has format {found}; this kvorum reads format {supported} only")]
    Format {
        /// The format of the directory.
        found: u32,
        /// The format of this program.
        supported: u32,
    },
    /// Not even the segment that every start needs fits on the disk.
    #[error("the disk has no room for a segment of {needed} bytes, which every start needs")]
    NoSpace {
        /// How many bytes must be free.
        needed: u64,
    },
    /// The options contradict each other or a limit.
    #[error("invalid storage options: {0}")]
    Options(String),
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Wraps an error of the operating system with what was attempted.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
        let doing = doing.into();
        move |source| OpenError::Io { doing, source }
    }
}

/// The log could not be written or synced. What is on the disk is unknown, so the process must
/// end; a later start finds out. Syncing again would prove nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the log: {source}; the process must end")]
pub struct Fatal {
    /// What was attempted.
    pub doing: &'static str,
    /// What the operating system said.
    pub source: io::Error,
}
