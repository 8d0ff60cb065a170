//! Telling people what is configured.

use super::{Config, Setting, Source, settings};

impl Config {
    /// Every setting with its value, where that came from, and what it means.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = String::new();
        for (setting, source) in settings().iter().zip(&self.sources) {
            let (name, value, help) = (setting.name, (setting.show)(self), setting.help);
            let value = if value.is_empty() { "(none)" } else { &value };
            report += &format!("{name} = {value}\n    from: {source}\n    {help}\n");
        }
        for name in self.unknown_variables() {
            report += &format!("warning: {name} in the environment is no setting\n");
        }
        report
    }

    /// The settings that came from the environment, with the name there and the value.
    pub fn from_environment(&self) -> impl Iterator<Item = (&'static str, &str, String)> {
        let pairs = settings().iter().zip(&self.sources);
        pairs.filter_map(|(setting, source): (&Setting, &Source)| match source {
            Source::Environment(variable) => {
                Some((setting.name, variable.as_str(), (setting.show)(self)))
            }
            _ => None,
        })
    }

    /// Names of the environment that begin like settings and are none.
    #[must_use]
    pub fn unknown_variables(&self) -> &[String] {
        &self.unknown
    }
}
