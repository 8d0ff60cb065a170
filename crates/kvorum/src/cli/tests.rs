//! The command line as a whole, and the page that describes it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::ErrorKind;

use super::*;

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_page_of_commands_is_what_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let made = page();
    if std::env::var_os("KVORUM_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    // Not assert_eq: two pages side by side help nobody.
    assert!(written == made, "run the tests of kvorum once with KVORUM_BLESS=1");
}

#[test]
fn every_command_has_an_example() {
    for command in Cli::command().get_subcommands() {
        let leaves: Vec<_> = command.get_subcommands().collect();
        for leaf in if leaves.is_empty() { vec![command] } else { leaves } {
            let after = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = leaf.get_name();
            assert!(after.contains("Example"), "{name} has no example");
            assert!(after.contains("kvorum "), "{name} has no example");
        }
    }
}

#[test]
fn impossible_command_lines_are_wrong_usage() {
    let kind = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap_err().kind();
    assert_eq!(kind("kvorum frobnicate"), ErrorKind::InvalidSubcommand);
    assert_eq!(kind("kvorum put key"), ErrorKind::MissingRequiredArgument);
    assert_eq!(kind("kvorum get k --consistency most"), ErrorKind::ValueValidation);
    assert_eq!(kind("kvorum get k --node 1 --endpoint h:1"), ErrorKind::ArgumentConflict);
    assert_eq!(kind("kvorum dev --nodes 0"), ErrorKind::ValueValidation);
    assert_eq!(kind("kvorum dev --ephemeral --data-dir d"), ErrorKind::ArgumentConflict);
    assert_eq!(kind("kvorum put k v --ttl soon"), ErrorKind::ValueValidation);
    assert_eq!(kind("kvorum bench --value-size 16777217"), ErrorKind::ValueValidation);
    assert_eq!(kind("kvorum bench --operations 5 --duration 1s"), ErrorKind::ArgumentConflict);
}

#[test]
fn values_may_look_like_flags() {
    for value in ["-", "-1", "--x"] {
        let line = ["kvorum", "put", "key", value];
        assert!(Cli::try_parse_from(line).is_ok(), "{value}");
    }
}

#[test]
fn keys_and_values_may_be_any_bytes() {
    let odd = OsStr::from_bytes(b"\xff\n");
    let key = |command| vec![OsStr::new("kvorum"), OsStr::new(command), odd];
    let mut lines = ["get", "del", "exists", "ttl"].map(key).to_vec();
    lines.push([key("put"), vec![odd]].concat());
    lines.push(["kvorum", "scan", "--prefix"].iter().map(OsStr::new).chain([odd]).collect());
    for line in lines {
        assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
    }
}

/// All help texts on one page, without the settings, which have a page of their own.
fn page() -> String {
    let mut page = "\
# Commands

What `kvorum COMMAND -h` says, made from the program by its tests. The settings of `kvorum server`
are in [configuration.md](configuration.md).
"
    .to_owned();
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut section = |command: clap::Command| {
        let name = command.get_display_name().unwrap_or(command.get_name()).replace('-', " ");
        let settings = |arg: clap::Arg| match arg.get_help_heading() {
            Some("Settings") => arg.hide(true),
            _ => arg,
        };
        let help = command.mut_args(settings).render_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim()));
    };
    section(root.clone());
    for command in root.get_subcommands() {
        if command.has_subcommands() {
            command.get_subcommands().for_each(|leaf| section(leaf.clone()));
        } else {
            section(command.clone());
        }
    }
    page
}
