//! On whose behalf a request runs.

use std::sync::Arc;

/// The authenticated user of a request; passed with every request from the front end on.
///
/// Anonymous until authentication exists; authorisation will look here and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity(Option<Arc<str>>);

impl Identity {
    /// Nobody in particular.
    pub const ANONYMOUS: Identity = Identity(None);

    /// The user `name`.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Identity {
        Identity(Some(name.into()))
    }

    /// The user's name, if one is known.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
