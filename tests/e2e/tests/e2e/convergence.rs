//! Nodes that miss writes and deletions: they get them by themselves, and what was deleted never
//! comes back, not even from an old disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kvorum_e2e::resp::Resp;
use kvorum_e2e::{Cluster, PATIENCE, Plan, Reader, http, within};

/// How many keys there are.
const KEYS: usize = 2_000;
/// Of so many keys one is deleted.
const DELETED: usize = 4;
/// The sum over no records.
const NOTHING: &str = "0000000000000000";
/// How long hints may take on a busy machine; how long they do is measured by a benchmark.
const BY_HINTS: Duration = PATIENCE;
/// How long a few rounds and what follows from them may take on such a machine.
const BY_COMPARING: Duration = Duration::from_secs(120);
/// How long it may take until nothing is left of deletions: they are kept for half a minute.
const REMOVED: Duration = Duration::from_secs(150);

fn plan() -> Plan {
    Plan::nodes(3).with("default_mode", "eventual")
}

/// Sends a command with each key, ahead of the answers, and wants all of them acknowledged.
fn with_each(port: u16, keys: impl Iterator<Item = usize> + Clone, command: &[&str]) {
    let mut connection = Resp::connect(port).expect("the node takes connections");
    for key in keys {
        let name = format!("key{key}");
        let mut words = command.iter().map(|word| word.as_bytes()).collect::<Vec<_>>();
        words.insert(1, name.as_bytes());
        let answer = connection.call(&words).expect("the node answers");
        assert!(answer.error().is_none(), "{answer:?}");
    }
}

fn deleted() -> impl Iterator<Item = usize> + Clone {
    (0..KEYS).filter(|key| key % DELETED == 0)
}

fn lasting() -> impl Iterator<Item = usize> + Clone {
    (0..KEYS).filter(|key| key % DELETED != 0)
}

/// Writes all keys through one node; a quarter of them is deleted and the others are written again
/// while another one is away. Returns what all held before.
fn miss(cluster: &mut Cluster, away: u32) -> String {
    let port = cluster.resp_ports()[0];
    with_each(port, 0..KEYS, &["SET", "old"]);
    let old = await_equal(cluster, BY_HINTS, NOTHING);
    cluster.node_mut(away).kill();
    with_each(port, deleted(), &["DEL"]);
    with_each(port, lasting(), &["SET", "new"]);
    old
}

/// A sum over all that a node holds of its eventual keyspace.
fn digest(cluster: &Cluster, id: u32) -> Option<String> {
    let answer = http::get(cluster.node(id).ports().http, "/v1/repair").ok()?;
    answer.json()["keyspaces"][0]["digest"].as_str().map(str::to_owned)
}

/// Waits until all nodes hold the same, and something else than `before`: what they tell may be a
/// moment old. Returns the sum.
fn await_equal(cluster: &Cluster, limit: Duration, before: &str) -> String {
    within(limit, "all nodes hold the same", || {
        let [one, two, three] = [1, 2, 3].map(|id| digest(cluster, id));
        one.filter(|one| one != before && [&two, &three].map(Option::as_ref) == [Some(one); 2])
    })
}

/// Reads everything from the copies of each node alone.
fn verify(cluster: &Cluster) {
    for port in cluster.resp_ports() {
        let mut reader = Reader::of_one_replica(port);
        for key in 0..KEYS {
            let found = reader.get(&format!("key{key}"));
            let expected = if key % DELETED == 0 { None } else { Some(&b"new"[..]) };
            assert_eq!(found.as_deref(), expected, "key{key} through port {port}");
        }
    }
}

#[test]
fn a_node_that_was_away_is_sent_what_it_missed() {
    let mut cluster = plan().with("anti_entropy_interval", "0").start();
    let old = miss(&mut cluster, 3);
    cluster.node_mut(3).start();
    await_equal(&cluster, BY_HINTS, &old);
    verify(&cluster);
}

#[test]
fn without_hints_replicas_find_out_what_one_of_them_misses() {
    let plan = plan().with("hinted_handoff", "false").with("anti_entropy_interval", "5");
    let mut cluster = plan.start();
    let old = miss(&mut cluster, 3);
    cluster.node_mut(3).start();
    await_equal(&cluster, BY_COMPARING, &old);
    verify(&cluster);
}

#[test]
fn what_is_deleted_is_forgotten_by_all_nodes_and_an_old_disk_does_not_bring_it_back() {
    let plan = plan().with("anti_entropy_interval", "2");
    let mut cluster = plan.with("gc_lag", "31").with("gc_interval", "2").start();
    let port = cluster.resp_ports()[0];
    with_each(port, 0..KEYS, &["SET", "old"]);
    let old = await_equal(&cluster, BY_HINTS, NOTHING);
    cluster.node_mut(3).kill();
    let image = cluster.scratch().join("image");
    copy(cluster.node(3).data_dir(), &image);
    cluster.node_mut(3).start();
    cluster.await_whole();
    with_each(port, deleted(), &["DEL"]);
    with_each(port, lasting(), &["SET", "new"]);
    await_tombstones(&cluster, deleted().count() as u64);
    await_tombstones(&cluster, 0);
    verify(&cluster);
    cluster.node_mut(3).kill();
    fs::remove_dir_all(cluster.node(3).data_dir()).expect("the data can be removed");
    copy(&image, cluster.node(3).data_dir());
    cluster.node_mut(3).start();
    cluster.await_whole();
    await_equal(&cluster, BY_COMPARING, &old);
    verify(&cluster);
}

/// Waits until all nodes keep so many deletions.
fn await_tombstones(cluster: &Cluster, count: u64) {
    within(REMOVED, &format!("all nodes keep {count} deletions"), || {
        let kept = [1, 2, 3].map(|id| tombstones(cluster, id));
        (kept == [Some(count); 3]).then_some(())
    });
}

/// How many deletions a node still keeps.
fn tombstones(cluster: &Cluster, id: u32) -> Option<u64> {
    let answer = http::get(cluster.node(id).ports().http, "/v1/repair").ok()?;
    answer.json()["keyspaces"][0]["tombstones"].as_u64()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("the data is there") {
        let entry = entry.expect("an entry can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}

#[test]
fn a_deletion_of_a_key_that_a_hung_node_holds_reaches_it() {
    let cluster = plan().with("anti_entropy_interval", "0").start();
    let port = cluster.resp_ports()[0];
    with_each(port, 0..8, &["SET", "old"]);
    let old = await_equal(&cluster, BY_HINTS, NOTHING);
    cluster.node(3).freeze();
    with_each(port, 0..8, &["DEL"]);
    cluster.node(3).thaw();
    await_equal(&cluster, BY_HINTS, &old);
    let mut reader = Reader::of_one_replica(cluster.resp_ports()[2]);
    let found: Vec<_> = (0..8).map(|key| reader.get(&format!("key{key}"))).collect();
    assert_eq!(found, vec![None; 8]);
}
