//! Putting a configuration together from flags, environment and file.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Setting, settings};

/// The prefix of our own names in the environment.
const PREFIX: &str = "KVORUM_";
/// The name in the environment that names the file.
const FILE: &str = "KVORUM_CONFIG";
/// What other commands of the program read from the environment: no settings of a node, but no
/// mistakes either.
const OF_COMMANDS: [&str; 1] = ["KVORUM_ENDPOINT"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment, under this name.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(flag) => write!(f, "flag --{flag}"),
        }
    }
}

/// What a user gave: the raw material of a [`Config`].
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Values of flags by the names of their settings.
    pub flags: Vec<(String, String)>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The file of `--config`; otherwise the environment may name one.
    pub file: Option<PathBuf>,
}

impl Given {
    /// Flags and file of a command line, together with the environment of this process.
    #[must_use]
    pub fn from_process(flags: Vec<(String, String)>, file: Option<PathBuf>) -> Given {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Given { flags, environment: environment.collect(), file }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn flag(&self, setting: &Setting) -> Option<(String, Source)> {
        let given = self.flags.iter().rfind(|(name, _)| name == setting.name);
        given.map(|(_, text)| (text.clone(), Source::Flag(setting.flag())))
    }

    /// The strongest name of a setting in the environment. An empty value counts as none, as
    /// compose files and shells produce them for variables that are not set.
    fn environment_of(&self, setting: &Setting) -> Option<(String, Source)> {
        let mut names = setting.environment();
        names.find_map(|name| {
            let text = self.variable(&name).filter(|text| !text.is_empty())?;
            Some((text.to_owned(), Source::Environment(name)))
        })
    }

    /// Names with our prefix that are no settings. They are no errors, because Kubernetes adds
    /// such names for a Service that is called kvorum.
    fn unknown_variables(&self) -> Vec<String> {
        let known = |name: &str| {
            name == FILE
                || OF_COMMANDS.contains(&name)
                || settings().iter().any(|one| one.environment().any(|own| own == name))
        };
        let names = self.environment.iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with(PREFIX) && !known(name)).cloned().collect()
    }
}

impl Config {
    /// Puts the configuration together and checks it.
    ///
    /// # Errors
    /// [`ConfigError`] in one sentence.
    pub fn load(given: &Given) -> Result<Config, ConfigError> {
        for (name, _) in &given.flags {
            if !settings().iter().any(|setting| setting.name == name) {
                let source_of_it = Source::Flag(name.replace('_', "-"));
                return Err(ConfigError::Unknown { name: name.clone(), source_of_it });
            }
        }
        let file = given
            .file
            .clone()
            .or_else(|| given.variable(FILE).filter(|path| !path.is_empty()).map(PathBuf::from));
        let from_file = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let mut config = Config::defaults();
        config.host_name = given.variable("HOSTNAME").map(str::to_owned);
        config.unknown = given.unknown_variables();
        let mut sources = Vec::with_capacity(settings().len());
        for setting in settings() {
            let in_file = || {
                let (_, text) = from_file.iter().find(|(name, _)| name == setting.name)?;
                Some((text.clone(), Source::File(file.clone()?)))
            };
            let strongest =
                given.flag(setting).or_else(|| given.environment_of(setting)).or_else(in_file);
            sources.push(match strongest {
                None => Source::Default,
                Some((text, source_of_it)) => {
                    (setting.apply)(&mut config, text.trim()).map_err(|why| {
                        let source_of_it = source_of_it.clone();
                        let text = showable(setting, text);
                        ConfigError::Impossible { name: setting.name, text, source_of_it, why }
                    })?;
                    source_of_it
                }
            });
        }
        config.sources = sources;
        config.check()?;
        Ok(config)
    }
}

/// A value in an error.
fn showable(setting: &Setting, text: String) -> String {
    if setting.is_secret() { "(hidden)".to_owned() } else { text }
}

/// The settings of a file, as texts.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        ConfigError::Syntax {
            path: path.to_owned(),
            line: before.map_or(0, |before| before.matches('\n').count()) + 1,
            why: error.message().to_owned(),
        }
    })?;
    table.into_iter().map(|(name, value)| setting_of(path, name, &value)).collect()
}

fn setting_of(
    path: &Path,
    name: String,
    value: &toml::Value,
) -> Result<(String, String), ConfigError> {
    let source_of_it = Source::File(path.to_owned());
    let Some(setting) = settings().iter().find(|setting| setting.name == name) else {
        return Err(ConfigError::Unknown { name, source_of_it });
    };
    match text_of(value) {
        Some(text) => Ok((name, text)),
        None => Err(ConfigError::Impossible {
            name: setting.name,
            text: showable(setting, value.to_string()),
            source_of_it,
            why: "a text, a number, a truth value or a list of texts is needed".to_owned(),
        }),
    }
}

/// A value as the text that stands for it in the environment.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(on) => Some(on.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Table(_) | toml::Value::Datetime(_) => None,
    }
}
