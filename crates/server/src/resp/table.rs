//! The table of commands: everything that is known of a command stands in one row, from which
//! dispatch, arity errors, COMMAND, HELP and the metrics are derived.

mod data;
mod index;
mod other;
mod subcommands;

pub(super) use index::{find, index_of};

use super::call::{Call, Handled};
use super::plan::Planned;
use data::DATA;
use other::OTHER;

/// A command, or a subcommand of one.
#[derive(Clone, Copy)]
pub(super) struct Command {
    /// In lower case; of a subcommand `parent|name`.
    pub(super) name: &'static str,
    /// How many words it has, its name included; negative: at least so many.
    pub(super) arity: i8,
    /// redis-server's names of its properties.
    pub(super) flags: &'static [&'static str],
    /// Which of its words are keys.
    pub(super) keys: Keys,
    /// The group it is documented in.
    pub(super) group: &'static str,
    /// What it does, in one sentence.
    pub(super) summary: &'static str,
    /// How it is executed.
    pub(super) run: Run,
}

/// Which words of a command are keys.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// None.
    None,
    /// The first argument.
    First,
    /// The second argument: the first one of a subcommand.
    Second,
    /// The first two arguments.
    Pair,
    /// All arguments, or every second one.
    Every(usize),
}

/// How a command is executed.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// By a function.
    Handler(fn(&mut Call<'_, '_>) -> Handled),
    /// By a function; between MULTI and EXEC as a part of the transaction.
    Data(fn(&mut Call<'_, '_>) -> Handled, fn(&mut Call<'_, '_>) -> Planned),
    /// As a transaction that only reads one key, which every keyspace can.
    Read(fn(&mut Call<'_, '_>) -> Planned),
    /// As a transaction in strong keyspaces: it reads, modifies and writes. The text says what to
    /// do instead in others.
    Strong(fn(&mut Call<'_, '_>) -> Planned, &'static str),
    /// By the subcommand that its first argument names.
    Subcommands(&'static [Command]),
}

impl Command {
    /// Whether so many words, the name included, are right.
    pub(super) fn takes(&self, words: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= arity } else { words == arity }
    }

    /// Whether the word at `index` is a key.
    pub(super) const fn is_key(&self, index: usize) -> bool {
        match self.keys {
            Keys::None => false,
            Keys::First => index == 1,
            Keys::Second => index == 2,
            Keys::Pair => matches!(index, 1 | 2),
            Keys::Every(step) => index > 0 && (index - 1).is_multiple_of(step),
        }
    }

    /// Whether it may read data.
    pub(super) fn reads(&self) -> bool {
        self.flags.contains(&"readonly") || matches!(self.name, "watch" | "exec")
    }

    /// Whether it may change data.
    pub(super) fn writes(&self) -> bool {
        self.flags.contains(&"write") || self.name == "exec"
    }

    /// The name without that of the parent.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, name)| name)
    }
}

const fn row(
    (name, arity): (&'static str, i8),
    (group, flags): (&'static str, &'static [&'static str]),
    keys: Keys,
    run: Run,
    summary: &'static str,
) -> Command {
    Command { name, arity, flags, keys, group, summary, run }
}

type Kind = (&'static str, &'static [&'static str]);

/// All commands.
pub(super) const COMMANDS: &[Command] = &all();

// Constant evaluation: an index out of range would not compile.
#[allow(clippy::indexing_slicing)]
const fn all() -> [Command; DATA.len() + OTHER.len()] {
    let mut all = [DATA[0]; DATA.len() + OTHER.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < DATA.len() { DATA[at] } else { OTHER[at - DATA.len()] };
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_users_names_every_command_and_says_which_are_refused() {
        let page = include_str!("../../../../docs/protocols.md");
        for command in COMMANDS {
            let name = format!("`{}`", command.name.to_uppercase());
            let line = page.lines().find(|line| line.starts_with('|') && line.contains(&name));
            let line = line.unwrap_or_else(|| panic!("{name} is missing in docs/protocols.md"));
            let strong = line.starts_with("| in strong keyspaces");
            assert_eq!(strong, matches!(command.run, Run::Strong(..)), "{name}");
        }
    }

    #[test]
    fn rows_are_consistent() {
        for command in COMMANDS {
            assert!(command.arity != 0 && command.summary.ends_with('.'), "{}", command.name);
            assert_eq!(command.name, command.name.to_lowercase());
            if let Run::Subcommands(subcommands) = command.run {
                for own in subcommands {
                    assert!(own.name.starts_with(&format!("{}|", command.name)), "{}", own.name);
                    assert!(own.arity.unsigned_abs() >= 2);
                }
            }
        }
    }
}
