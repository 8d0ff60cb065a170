//! Golden scripts: `tests/scripts/*.txt`, each the story of one rule.
//!
//! A line that begins with `>` is a command; the lines below it are what it must lead to: each
//! message as it arrives (`->`) or is lost (`-x`), each answer to a client (`=>`), each event.
//! With `KVORUM_UPDATE_GOLDEN=1` in the environment the expected lines are written anew.
//!
//! | command | meaning |
//! |---|---|
//! | `nodes N` | begin with N nodes instead of three |
//! | `hints [KEYS]` | begin with three nodes that keep hints, for so many keys |
//! | `dirty NODE PEER`, `cleaned NODE PEER` | in which slots the peer may differ; it was found equal |
//! | `put NODE KEY VALUE [LEVEL]`, `del NODE KEY [LEVEL]`, `get NODE KEY [LEVEL] [MIN_VERSION]`, `head NODE KEY [LEVEL]`, `scan NODE [LEVEL ITEMS]`, `count NODE` | a client asks a node; the level is quorum unless given; MIN_VERSION is the number of the write, in the order of their answers, that the read must not miss |
//! | `expiring NODE KEY VALUE MS` | a put that expires |
//! | `deliver [FROM TO]`, `lose FROM TO` | what is under way now arrives, or does not |
//! | `repeat FROM TO` | the oldest message under way there is there twice |
//! | `sync NODE` | everything written is durable |
//! | `late FROM TO` | what is under way there arrives when nobody waits for it any more |
//! | `usual NODE PEER MS` | the node has learned that the peer answers its reads within this time |
//! | `compare A B` | the roots of the two are compared, and both are told |
//! | `settle` | deliver and sync until nothing moves |
//! | `crash NODE`, `wipe NODE`, `start NODE` | die; lose the disk; start again |
//! | `cut A B`, `join A B` | disconnect and connect |
//! | `congest NODE`, `relieve NODE` | its queue has no room, or again |
//! | `fill NODE`, `free NODE` | its disk is full, or no more |
//! | `damage NODE KEY` | its stored copy fails its checksum from now on |
//! | `skew NODE MS` | its wall clock is wrong by this much |
//! | `align A B` | the two replicas compare what they hold at once, and send each other what is missing |
//! | `keep NODE`, `restore NODE` | remember its disk; put the remembered one into it while it is dead |
//! | `sneak NODE` | as `restore`, and nobody notices |
//! | `pass MS` | time goes by |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Consistency, KeyspaceId, NodeId, Op, Reply, Version, Want};

use crate::leaderless::{Limits, Mutation};

use super::world::{PARTITION, World, delete, expiring, get, id, put, scan};

/// What a script says that waits for a message which nobody has sent.
const NOTHING: &str = "nothing is under way there";

#[test]
fn the_scripts_tell_what_happens() {
    let update = std::env::var_os("KVORUM_UPDATE_GOLDEN").is_some();
    for path in scripts() {
        let script = fs::read_to_string(&path).unwrap();
        let actual = run(&script, None);
        assert!(!actual.contains(NOTHING), "{}: {NOTHING}", path.display());
        if update {
            fs::write(&path, actual).unwrap();
        } else {
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(actual == script, "{name}: {}", first_difference(&script, &actual));
        }
    }
}

#[test]
fn leaving_out_a_rule_spoils_a_script() {
    let scripts: Vec<String> =
        scripts().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for mutation in Mutation::ALL {
        let spoils = |script: &String| run(script, Some(mutation)) != *script;
        assert!(scripts.iter().any(spoils), "{mutation:?} goes unnoticed");
    }
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are no scripts");
    paths
}

fn first_difference(expected: &str, actual: &str) -> String {
    let end = || std::iter::repeat("(end)");
    let pairs = expected.lines().chain(end()).zip(actual.lines().chain(end()));
    for (at, (expected, actual)) in pairs.enumerate() {
        if expected != actual {
            return format!("line {}\n expected {expected}\n actually {actual}", at + 1);
        }
    }
    unreachable!()
}

/// The script with what its commands really lead to.
fn run(script: &str, mutation: Option<Mutation>) -> String {
    let mut world = World::new(3, mutation);
    let mut written = Vec::new();
    let mut told = Vec::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            told.push(line.to_owned());
            let words: Vec<&str> = command.split_whitespace().collect();
            execute(&mut world, &written, &words, mutation);
            told.append(&mut world.trace);
            for (_, outcome) in world.replies.drain(..) {
                if let Ok(Reply::Written { version, .. }) = outcome {
                    written.push(version);
                }
            }
        } else if line.starts_with('#') || line.is_empty() {
            told.push(line.to_owned());
        }
    }
    told.join("\n") + "\n"
}

fn execute(world: &mut World, written: &[Version], words: &[&str], mutation: Option<Mutation>) {
    match *words {
        ["nodes", count] => *world = World::new(count.parse().unwrap(), mutation),
        ["hints", ref keys @ ..] => {
            let hint_keys = keys.first().map_or(1000, |keys| keys.parse().unwrap());
            let limits = Limits { hint_keys, ..Limits::SERVER };
            *world = World::with_limits(3, limits, mutation);
        }
        ["dirty", n, peer] => {
            let slots: Vec<u16> =
                world.dirty(node(n), node(peer)).iter().map(|s| s.get()).collect();
            world.trace.push(format!("{n}: slots {slots:?} of {peer} are dirty"));
        }
        ["cleaned", n, peer] => world.cleaned(node(n), node(peer)),
        ["put", n, key, value, ref level @ ..] => ask(world, n, put(key, value), level),
        ["del", n, key, ref level @ ..] => ask(world, n, delete(key), level),
        ["get", n, key, level, nth] => {
            let min_version = written[nth.parse::<usize>().unwrap() - 1];
            world.request(node(n), get(key), level.parse().unwrap(), Some(min_version));
        }
        ["get", n, key, ref level @ ..] => ask(world, n, get(key), level),
        ["head", n, key, ref level @ ..] => ask(world, n, head(key), level),
        ["scan", n] => ask(world, n, scan(), &[]),
        ["scan", n, level, items] => ask(world, n, limited(scan(), items), &[level]),
        ["count", n] => ask(world, n, Op::Count { partition: PARTITION }, &[]),
        ["expiring", n, key, value, ms] => {
            let span = Duration::from_millis(ms.parse().unwrap());
            ask(world, n, expiring(key, value, span), &[]);
        }
        ["deliver"] => {
            for _ in 0..world.flights.len() {
                world.deliver(0);
            }
        }
        ["deliver", from, to] => between(world, from, to, World::deliver),
        ["lose", from, to] => between(world, from, to, World::lose),
        ["repeat", from, to] => {
            let flights = &mut world.flights;
            let oldest = flights.iter().position(|f| (f.from, f.to) == (node(from), node(to)));
            let again = flights[oldest.unwrap()].clone();
            flights.push(again);
        }
        ["sync", n] => world.sync(node(n)),
        ["late", from, to] => between(world, from, to, World::deliver_late),
        ["usual", n, peer, ms] => {
            let took = Duration::from_millis(ms.parse().unwrap());
            world.teach(node(n), node(peer), took);
        }
        ["compare", a, b] => world.compare(node(a), node(b)),
        ["settle"] => world.settle(),
        ["crash", n] => world.crash(node(n)),
        ["wipe", n] => world.wipe(node(n)),
        ["start", n] => world.start(node(n)),
        ["cut", a, b] => world.cut(node(a), node(b)),
        ["join", a, b] => world.join(node(a), node(b)),
        ["congest", n] => drop(world.congested.insert(node(n))),
        ["relieve", n] => drop(world.congested.remove(&node(n))),
        ["fill", n] => world.node(node(n)).store.full = true,
        ["free", n] => world.node(node(n)).store.full = false,
        ["damage", n, key] => {
            assert!(world.node(node(n)).store.damage(KeyspaceId::DEFAULT, key.as_bytes()));
        }
        ["align", a, b] => world.align(node(a), node(b)),
        ["keep", n] => world.kept = Some(world.node(node(n)).store.clone()),
        ["restore", n] => {
            let disk = world.kept.take().unwrap();
            world.restore(node(n), disk);
        }
        ["sneak", n] => {
            let disk = world.kept.take().unwrap();
            world.restore(node(n), disk);
            world.node(node(n)).wiped = false;
        }
        ["skew", n, ms] => world.node(node(n)).skew_ms = ms.parse().unwrap(),
        ["pass", ms] => world.pass(Duration::from_millis(ms.parse().unwrap())),
        _ => panic!("no such command: {words:?}"),
    }
}

fn ask(world: &mut World, n: &str, op: Op, level: &[&str]) {
    let level = level.first().map_or(Consistency::Quorum, |level| level.parse().unwrap());
    world.request(node(n), op, level, None);
}

/// Does something to every message that is now under way from one node to another.
fn between(world: &mut World, from: &str, to: &str, act: fn(&mut World, usize)) {
    let (from, to) = (node(from), node(to));
    let count = world.flights.iter().filter(|f| (f.from, f.to) == (from, to)).count();
    if count == 0 {
        // Where a rule is left out; otherwise it is a mistake in the script.
        world.trace.push(NOTHING.to_owned());
    }
    for _ in 0..count {
        let at = world.flights.iter().position(|f| (f.from, f.to) == (from, to)).unwrap();
        act(world, at);
    }
}

fn node(name: &str) -> NodeId {
    id(name.strip_prefix('n').unwrap().parse().unwrap())
}

fn head(key: &str) -> Op {
    Op::Get { key: Bytes::copy_from_slice(key.as_bytes()), want: Want::Header }
}

fn limited(mut scan: Op, items: &str) -> Op {
    if let Op::Scan { limit, .. } = &mut scan {
        limit.items = items.parse().unwrap();
    }
    scan
}
