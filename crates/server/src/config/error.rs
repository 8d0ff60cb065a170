//! What can be wrong with a configuration, in one sentence each.

use std::path::PathBuf;

use super::Source;

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from one on.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There is no setting of that name.
    #[error("there is no setting {name:?} ({source_of_it}); `kvorum config check` lists them")]
    Unknown {
        /// The name.
        name: String,
        /// Where it stands.
        source_of_it: Source,
    },
    /// A setting has a value it cannot have.
    #[error("{name} = {text:?} ({source_of_it}): {why}")]
    Impossible {
        /// The setting.
        name: &'static str,
        /// The value.
        text: String,
        /// Where it stands.
        source_of_it: Source,
        /// What it may be.
        why: String,
    },
    /// Settings do not go together.
    #[error("{0}")]
    Together(String),
}
