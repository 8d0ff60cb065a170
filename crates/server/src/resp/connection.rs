//! Commands about the connection itself: PING, ECHO, HELLO, AUTH, SELECT, RESET, QUIT, WAIT,
//! KV.CONSISTENCY.

use kvorum_core::Consistency;

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::client::{Client, Replies};
use super::encoder::Version;
use super::error::ErrorReply;
use super::queue::Finish;

/// The version of redis-server whose behaviour clients may expect; they look at it to decide
/// which commands exist.
pub(super) const REDIS_VERSION: &str = "7.0.15";
/// The only user while there is no authentication.
const DEFAULT_USER: &[u8] = b"default";

/// `PING [message]`
pub(super) fn ping(call: &mut Call<'_, '_>) -> Handled {
    match &*call.args {
        [_] => call.reply.simple("PONG"),
        [_, message] => call.reply.bulk(message.as_slice()),
        _ => return Err(ErrorReply::arity("ping")),
    }
    Ok(Step::Replied)
}

/// `ECHO message`
pub(super) fn echo(call: &mut Call<'_, '_>) -> Handled {
    call.reply.bulk(call.args.get(1).map_or(&[], Arg::as_slice));
    Ok(Step::Replied)
}

/// `QUIT`
pub(super) fn quit(call: &mut Call<'_, '_>) -> Handled {
    call.reply.simple("OK");
    Ok(Step::Quit)
}

/// `RESET`
pub(super) fn reset(call: &mut Call<'_, '_>) -> Handled {
    call.client.reset();
    call.reply.version = Version::Resp2;
    call.simple("RESET")
}

/// `SELECT number`
pub(super) fn select(call: &mut Call<'_, '_>) -> Handled {
    let number = call.integer(1)?;
    call.client.select(number, call.calls.node())?;
    call.simple("OK")
}

/// `AUTH [user[@keyspace]] password`: there are no passwords, so the default user may give any.
pub(super) fn auth(call: &mut Call<'_, '_>) -> Handled {
    match call.args.len() {
        2 => Err(ErrorReply::err(
            "AUTH <password> called without any password configured for the default user. Are \
             you sure your configuration is correct?",
        )),
        3 => {
            log_in(call, 1)?;
            call.simple("OK")
        }
        _ => Err(ErrorReply::syntax()),
    }
}

/// Accepts the user name at `index` and selects the keyspace behind its `@`.
fn log_in(call: &mut Call<'_, '_>, index: usize) -> Result<(), ErrorReply> {
    let login = call.arg(index);
    let at = login.iter().position(|&byte| byte == b'@');
    let (user, keyspace) = login.split_at(at.unwrap_or(login.len()));
    if user != DEFAULT_USER {
        let text = "invalid username-password pair or user is disabled.";
        return Err(ErrorReply { code: "WRONGPASS", text: text.into() });
    }
    if let Some((_, keyspace)) = keyspace.split_first() {
        let name = String::from_utf8_lossy(keyspace).into_owned();
        call.client.select_named(&name, call.calls.node())?;
    }
    Ok(())
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) fn hello(call: &mut Call<'_, '_>) -> Handled {
    let version = match call.args.get(1).map(Arg::integer) {
        None => None,
        Some(Some(2)) => Some(Version::Resp2),
        Some(Some(3)) => Some(Version::Resp3),
        Some(Some(_)) => {
            let text = "unsupported protocol version";
            return Err(ErrorReply { code: "NOPROTO", text: text.into() });
        }
        Some(None) => {
            return Err(ErrorReply::err("Protocol version is not an integer or out of range"));
        }
    };
    let mut name = None;
    let mut at = 2;
    while let Some(word) = call.args.get(at) {
        let left = call.args.len() - at - 1;
        if word.is("AUTH") && left >= 2 {
            log_in(call, at + 1)?;
            at += 3;
        } else if word.is("SETNAME") && left >= 1 {
            let given = call.args.get(at + 1).cloned();
            name = given.map(valid_name).transpose()?;
            at += 2;
        } else {
            let word = word.text();
            return Err(ErrorReply::err(format!("Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some(version) = version {
        call.reply.version = version;
    }
    let number = call.reply.version.number();
    call.client.entry.edit(|profile| {
        profile.protocol = number;
        if let Some(name) = name {
            profile.name = name;
        }
    });
    greet(call);
    Ok(Step::Replied)
}

fn greet(call: &mut Call<'_, '_>) {
    let id = call.client.entry.id;
    let reply = &mut *call.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(reply.version.number());
    reply.bulk(b"id");
    reply.count(id);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// Checks a connection's name: no spaces, line ends or other special characters.
pub(super) fn valid_name(name: Arg) -> Result<Arg, ErrorReply> {
    if name.as_slice().iter().all(u8::is_ascii_graphic) {
        Ok(name)
    } else {
        let text = "Client names cannot contain spaces, newlines or special characters.";
        Err(ErrorReply::err(text))
    }
}

/// `WAIT replicas timeout`: how many replicas had acknowledged the last write of this connection
/// when it was answered, this node's own included. It never waits: a write is only answered when
/// its consistency level is reached.
pub(super) fn wait(call: &mut Call<'_, '_>) -> Handled {
    call.integer(1)?;
    let timeout = call.args.get(2).and_then(Arg::integer);
    match timeout {
        None => Err(ErrorReply::err("timeout is not an integer or out of range")),
        Some(timeout) if timeout < 0 => Err(ErrorReply::err("timeout is negative")),
        Some(_) => Ok(Step::Late(|finish: &mut Finish<'_>| {
            finish.out.count(finish.client.last_acked as u64);
        })),
    }
}

/// `KV.CONSISTENCY [READ level] [WRITE level]`: chooses what the commands of this connection
/// promise; `DEFAULT` goes back to the keyspace's own. Without arguments it
/// tells what is in force.
pub(super) fn consistency(call: &mut Call<'_, '_>) -> Handled {
    if call.args.len() == 1 {
        return tell_consistency(call);
    }
    let (mut read, mut write) = (call.client.read, call.client.write);
    for pair in call.args_from(1).chunks(2) {
        let [word, level] = pair else { return Err(ErrorReply::syntax()) };
        let place = match word {
            word if word.is("READ") => &mut read,
            word if word.is("WRITE") => &mut write,
            _ => return Err(ErrorReply::syntax()),
        };
        *place = if level.is("DEFAULT") {
            None
        } else {
            let level = level.text().parse::<Consistency>();
            let level = level.map_err(|error| ErrorReply::err(error.to_string()))?;
            if word.is("WRITE") && level.is_of_reads() {
                let known = "the levels of writes are one, quorum and all";
                return Err(ErrorReply::err(format!("{level} says how to read; {known}")));
            }
            Some(level)
        };
    }
    (call.client.read, call.client.write) = (read, write);
    call.simple("OK")
}

/// `READONLY` and `READWRITE`: whether reads of strong keyspaces may be answered by any replica. They
/// are linearizable all the same, so nothing old is ever read.
pub(super) fn by_any_replica<const MAY: bool>(call: &mut Call<'_, '_>) -> Handled {
    call.client.by_any_replica = MAY;
    call.simple("OK")
}

fn tell_consistency(call: &mut Call<'_, '_>) -> Handled {
    let Client { keyspace, write, .. } = &*call.client;
    let read = call.client.aim(call.calls.node()).read;
    let layout = call.calls.node().layout().ok_or_else(super::scan::layout_unknown)?;
    let own = layout.keyspace(*keyspace).ok_or_else(super::scan::layout_unknown)?;
    call.reply.map(3);
    call.reply.bulk(b"keyspace");
    call.reply.bulk(own.name.as_bytes());
    call.reply.bulk(b"read");
    call.reply.bulk(read.unwrap_or(own.read).to_string().as_bytes());
    call.reply.bulk(b"write");
    call.reply.bulk(write.unwrap_or(own.write).to_string().as_bytes());
    Ok(Step::Replied)
}

/// `CLIENT ID`
pub(super) fn client_id(call: &mut Call<'_, '_>) -> Handled {
    call.reply.count(call.client.entry.id);
    Ok(Step::Replied)
}

/// `CLIENT GETNAME`
pub(super) fn client_getname(call: &mut Call<'_, '_>) -> Handled {
    match call.client.entry.profile().name.as_slice() {
        [] => call.reply.null(),
        name => call.reply.bulk(name),
    }
    Ok(Step::Replied)
}

/// `CLIENT SETNAME name`
pub(super) fn client_setname(call: &mut Call<'_, '_>) -> Handled {
    let name = call.args.get(2).cloned().map(valid_name).transpose()?;
    call.client.entry.edit(|profile| profile.name = name.unwrap_or_else(|| Arg::copy(b"")));
    call.simple("OK")
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER text`
pub(super) fn client_setinfo(call: &mut Call<'_, '_>) -> Handled {
    let [attribute, value] = call.args_from(2) else { return Err(ErrorReply::syntax()) };
    let what = attribute.text();
    if !attribute.is("LIB-NAME") && !attribute.is("LIB-VER") {
        return Err(ErrorReply::err(format!("Unrecognized option '{what}'")));
    }
    if !value.as_slice().iter().all(u8::is_ascii_graphic) {
        let what = what.to_ascii_lowercase();
        let text = format!("{what} cannot contain spaces, newlines or special characters.");
        return Err(ErrorReply::err(text));
    }
    let (name, value) = (attribute.is("LIB-NAME"), value.clone());
    call.client.entry.edit(|profile| {
        *(if name { &mut profile.library } else { &mut profile.library_version }) = value;
    });
    call.simple("OK")
}

/// `CLIENT INFO`
pub(super) fn client_info(call: &mut Call<'_, '_>) -> Handled {
    let wall_ms = call.calls.now().wall_ms;
    let mut text = String::new();
    call.client.entry.describe(call.server.port, wall_ms, &mut text);
    call.reply.text(&text);
    Ok(Step::Replied)
}

/// `CLIENT LIST [TYPE normal|master|replica|pubsub] [ID id [id …]]`
pub(super) fn client_list(call: &mut Call<'_, '_>) -> Handled {
    let mut entries = call.server.clients.list();
    match call.args_from(2) {
        [] => {}
        [word, kind] if word.is("TYPE") => match kind {
            kind if kind.is("normal") => {}
            kind if ["master", "slave", "replica", "pubsub"].iter().any(|name| kind.is(name)) => {
                entries.clear();
            }
            kind => {
                return Err(ErrorReply::err(format!("Unknown client type '{}'", kind.text())));
            }
        },
        [word, ids @ ..] if word.is("ID") && !ids.is_empty() => {
            let ids: Option<Vec<i64>> = ids.iter().map(Arg::integer).collect();
            let ids = ids.filter(|ids| ids.iter().all(|&id| id > 0));
            let ids = ids.ok_or_else(|| ErrorReply::err("Invalid client ID"))?;
            entries.retain(|entry| ids.iter().any(|&id| u64::try_from(id) == Ok(entry.id)));
        }
        _ => return Err(ErrorReply::syntax()),
    }
    let wall_ms = call.calls.now().wall_ms;
    let mut text = String::new();
    for entry in entries {
        entry.describe(call.server.port, wall_ms, &mut text);
    }
    call.reply.text(&text);
    Ok(Step::Replied)
}

/// `CLIENT REPLY ON|OFF|SKIP`
pub(super) fn client_reply(call: &mut Call<'_, '_>) -> Handled {
    match call.args.get(2) {
        Some(mode) if mode.is("ON") => {
            call.client.replies = Replies::On;
            call.simple("OK")
        }
        Some(mode) if mode.is("OFF") => {
            call.client.replies = Replies::Off;
            Ok(Step::Silent)
        }
        Some(mode) if mode.is("SKIP") => {
            if call.client.replies == Replies::On {
                call.client.replies = Replies::SkipNext;
            }
            Ok(Step::Silent)
        }
        _ => Err(ErrorReply::syntax()),
    }
}

/// `CLIENT NO-EVICT ON|OFF`, `CLIENT NO-TOUCH ON|OFF`: accepted; nothing is evicted here.
pub(super) fn client_on_off(call: &mut Call<'_, '_>) -> Handled {
    match call.args.get(2) {
        Some(mode) if mode.is("ON") || mode.is("OFF") => call.simple("OK"),
        _ => Err(ErrorReply::syntax()),
    }
}
