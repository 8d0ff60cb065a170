//! COMMAND: what the table of commands says about itself.

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::encoder::Encoder;
use super::error::ErrorReply;
use super::glob;
use super::table::{COMMANDS, Command, Keys, Run, find, index_of};

/// `COMMAND`
pub(super) fn all(call: &mut Call<'_, '_>) -> Handled {
    call.reply.array(COMMANDS.len());
    for command in COMMANDS {
        describe(command, call.reply);
    }
    Ok(Step::Replied)
}

/// `COMMAND COUNT`
pub(super) fn count(call: &mut Call<'_, '_>) -> Handled {
    call.reply.count(COMMANDS.len() as u64);
    Ok(Step::Replied)
}

/// `COMMAND INFO [name …]`
pub(super) fn info(call: &mut Call<'_, '_>) -> Handled {
    if call.args.len() == 2 {
        return all(call);
    }
    let names = call.args.get(2..).unwrap_or_default();
    call.reply.array(names.len());
    for name in names {
        match named(name.as_slice()) {
            Some((command, _)) => describe(command, call.reply),
            None => call.reply.null(),
        }
    }
    Ok(Step::Replied)
}

/// `COMMAND DOCS [name …]`
pub(super) fn docs(call: &mut Call<'_, '_>) -> Handled {
    let found: Vec<_> = if call.args.len() == 2 {
        COMMANDS.iter().map(|command| (command, None)).collect()
    } else {
        call.args_from(2).iter().filter_map(|name| named(name.as_slice())).collect()
    };
    call.reply.map(found.len());
    for (command, parent) in found {
        document(command, parent, call.reply);
    }
    Ok(Step::Replied)
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
pub(super) fn list(call: &mut Call<'_, '_>) -> Handled {
    let words = call.args_from(2);
    let wanted = |command: &&Command| match words {
        [_, by, pattern] if by.is("PATTERN") => {
            glob::matches(&pattern.as_slice().to_ascii_lowercase(), command.name.as_bytes())
        }
        [_, by, category] if by.is("ACLCAT") => {
            categories(command).any(|own| category.is(own.trim_start_matches('@')))
        }
        [_, by, _] => !by.is("MODULE"),
        _ => true,
    };
    let known = |by: &Arg| by.is("PATTERN") || by.is("ACLCAT") || by.is("MODULE");
    match words {
        [] => {}
        [filter, by, _] if filter.is("FILTERBY") && known(by) => {}
        _ => return Err(ErrorReply::syntax()),
    }
    let names: Vec<&str> = COMMANDS.iter().filter(wanted).map(|command| command.name).collect();
    call.reply.array(names.len());
    for name in names {
        call.reply.bulk(name.as_bytes());
    }
    Ok(Step::Replied)
}

/// `COMMAND GETKEYS command [argument …]`
pub(super) fn get_keys(call: &mut Call<'_, '_>) -> Handled {
    let words = call.args.get(2..).unwrap_or_default();
    let name = words.first().map_or(&[][..], Arg::as_slice);
    let index = index_of(name).and_then(|index| COMMANDS.get(index));
    let command = index.ok_or_else(|| ErrorReply::err("Invalid command specified"))?;
    if !command.takes(words.len()) {
        return Err(ErrorReply::err("Invalid number of arguments specified for command"));
    }
    let keys: Vec<&Arg> = match command.keys {
        Keys::None => {
            return Err(ErrorReply::err("The command has no key arguments"));
        }
        Keys::First => words.iter().skip(1).take(1).collect(),
        Keys::Second => words.iter().skip(2).take(1).collect(),
        Keys::Pair => words.iter().skip(1).take(2).collect(),
        Keys::Every(step) => words.iter().skip(1).step_by(step).collect(),
    };
    call.reply.array(keys.len());
    for key in keys {
        call.reply.bulk(key.as_slice());
    }
    Ok(Step::Replied)
}

/// The lines of `COMMAND HELP`, `CLIENT HELP` and the like.
pub(super) fn help(parent: &Command, subcommands: &[Command], reply: &mut Encoder) {
    let name = parent.name.to_ascii_uppercase();
    reply.array(2 * subcommands.len() + 3);
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for subcommand in subcommands {
        reply.simple(&subcommand.short_name().to_ascii_uppercase());
        reply.simple(&format!("    {}", subcommand.summary));
    }
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}

/// The command `name` or the subcommand `name|subname`, with its parent.
fn named(name: &[u8]) -> Option<(&'static Command, Option<&'static Command>)> {
    let Some(bar) = name.iter().position(|&byte| byte == b'|') else {
        return find(name).map(|command| (command, None));
    };
    let parent = find(name.get(..bar)?)?;
    let Run::Subcommands(subcommands) = parent.run else { return None };
    let own = subcommands.iter().find(|own| own.name.as_bytes().eq_ignore_ascii_case(name))?;
    Some((own, Some(parent)))
}

/// The access categories of a command, from its flags.
fn categories(command: &Command) -> impl Iterator<Item = &'static str> {
    let has = |flag: &str| command.flags.contains(&flag);
    let candidates = [
        (has("readonly"), "@read"),
        (has("write"), "@write"),
        (has("fast"), "@fast"),
        (!has("fast"), "@slow"),
        (has("admin"), "@admin"),
        (command.group == "string", "@string"),
        (command.group == "generic", "@keyspace"),
        (command.group == "connection", "@connection"),
        (command.group == "transactions", "@transaction"),
    ];
    candidates.into_iter().filter_map(|(applies, name)| applies.then_some(name))
}

fn describe(command: &Command, reply: &mut Encoder) {
    let (first, last, step) = match command.keys {
        Keys::None => (0, 0, 0),
        Keys::First => (1, 1, 1),
        Keys::Second => (2, 2, 1),
        Keys::Pair => (1, 2, 1),
        Keys::Every(step) => (1, -1, i64::try_from(step).unwrap_or(1)),
    };
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    reply.set(command.flags.len());
    for flag in command.flags {
        reply.simple(flag);
    }
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories: Vec<&str> = categories(command).collect();
    reply.set(categories.len());
    for category in categories {
        reply.simple(category);
    }
    // Tips and key specifications: the key positions above say everything.
    reply.array(0);
    reply.array(0);
    match command.run {
        Run::Subcommands(subcommands) => {
            reply.array(subcommands.len());
            for subcommand in subcommands {
                describe(subcommand, reply);
            }
        }
        _ => reply.array(0),
    }
}

fn document(command: &Command, parent: Option<&Command>, reply: &mut Encoder) {
    let subcommands = match command.run {
        Run::Subcommands(subcommands) => subcommands,
        _ => &[],
    };
    let group = parent.map_or(command.group, |parent| parent.group);
    reply.bulk(command.name.as_bytes());
    reply.map(if subcommands.is_empty() { 3 } else { 4 });
    reply.bulk(b"summary");
    reply.bulk(command.summary.as_bytes());
    reply.bulk(b"since");
    reply.bulk(b"0.1.0");
    reply.bulk(b"group");
    reply.bulk(group.as_bytes());
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        for subcommand in subcommands {
            document(subcommand, Some(command), reply);
        }
    }
}
