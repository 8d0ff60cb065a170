//! What a setting is.

use super::Config;

/// A setting: its names, its meaning, and its place in a [`Config`].
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; the flag has dashes for underscores, the environment `KVORUM_` and
    /// capitals.
    pub name: &'static str,
    /// Other names in the environment, which weigh less; the first one that is set counts.
    pub compat: &'static [&'static str],
    /// What it means, in a sentence or two.
    pub help: &'static str,
    /// What it is when nobody says, in words where it depends on others.
    pub default: &'static str,
    /// Whether the flag stands alone, without a value.
    pub switch: bool,
    /// Puts a text into the configuration.
    pub(super) apply: fn(&mut Config, &str) -> Result<(), String>,
    /// The value in force, as text.
    pub(super) show: fn(&Config) -> String,
}

impl Setting {
    /// The long flag, without its dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Whether its value must not be shown to anybody.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.name.ends_with("_secret")
    }

    /// The names in the environment, the strongest first.
    pub fn environment(&self) -> impl Iterator<Item = String> + use<> {
        let own = format!("KVORUM_{}", self.name.to_ascii_uppercase());
        std::iter::once(own).chain(self.compat.iter().map(|name| (*name).to_owned()))
    }
}
