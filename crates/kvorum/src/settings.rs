//! The flags of a node's settings, made from the server's own table: nothing to keep in step.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use kvorum_server::config::{Given, Setting, settings};

const FILE: &str = "config";
const HEADING: &str = "Settings";

/// What the command line says about a node.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags {
    flags: Vec<(String, String)>,
    file: Option<PathBuf>,
}

impl SettingFlags {
    /// The flags together with the environment of this process.
    #[must_use]
    pub fn given(self) -> Given {
        Given::from_process(self.flags, self.file)
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A file of settings (TOML); flags and environment win over it");
        command.arg(file).next_help_heading(HEADING).args(settings().iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting. A switch may stand alone or say `=true`, `=false`.
fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        text => format!(" [default: {text}]"),
    };
    let variables: Vec<String> = setting.environment().collect();
    let help = format!("{}{default} [env: {}]", setting.help, variables.join(", "));
    let arg = Arg::new(setting.name).long(setting.flag()).value_name("VALUE").help(help);
    if setting.switch {
        return arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    arg
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, Error> {
        let mut given = SettingFlags::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.file = matches.get_one::<PathBuf>(FILE).cloned();
        let value = |setting: &Setting| {
            let text = matches.get_one::<String>(setting.name)?;
            Some((setting.name.to_owned(), text.clone()))
        };
        self.flags = settings().iter().filter_map(value).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingFlags,
    }

    fn flags_of(line: &[&str]) -> Vec<(String, String)> {
        Line::try_parse_from(line).unwrap().settings.flags
    }

    #[test]
    fn every_setting_has_a_flag() {
        for setting in settings() {
            let flag = format!("--{}=true", setting.flag());
            let expected = vec![(setting.name.to_owned(), "true".to_owned())];
            assert_eq!(flags_of(&["kvorum", &flag]), expected);
        }
    }

    #[test]
    fn a_switch_stands_alone_and_takes_nothing_from_what_follows() {
        let switch = settings().iter().find(|setting| setting.switch).unwrap();
        let line = ["kvorum", &format!("--{}", switch.flag()), "--grpc-port", "1"];
        let flags = flags_of(&line);
        assert!(flags.contains(&(switch.name.to_owned(), "true".to_owned())));
        assert!(flags.contains(&("grpc_port".to_owned(), "1".to_owned())));
    }

    #[test]
    fn what_is_no_setting_is_wrong_usage() {
        assert!(Line::try_parse_from(["kvorum", "--no-such-setting", "1"]).is_err());
    }
}
