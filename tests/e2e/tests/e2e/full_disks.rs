//! Disks that fill up: writes are refused with nothing done, deletes go on, and space that comes
//! back is used.

use std::fs;

use kvorum_e2e::resp::{Answer, Resp};
use kvorum_e2e::{Cluster, Load, Plan, Tmpfs, until};

const VALUE: [u8; 8 << 10] = [b'v'; 8 << 10];

fn small(plan: Plan) -> Plan {
    plan.with("max_value", "16KiB").with("segment_size", "256KiB")
}

/// Writes new keys until the disk is full, and returns them.
fn write_until_full(client: &mut Resp) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let key = format!("big{}", keys.len());
        match client.call(&[b"SET", key.as_bytes(), &VALUE]).unwrap() {
            answer if answer.is_ok() => keys.push(key),
            answer => {
                let text = answer.error().unwrap_or_default().to_owned();
                assert!(text.starts_with("DISKFULL "), "{answer:?}");
                return keys;
            }
        }
        assert!(keys.len() < 10_000, "the disk does not become full");
    }
}

fn assert_full_and_back(cluster: &Cluster) {
    let mut client = cluster.node(1).resp();
    let keys = write_until_full(&mut client);
    assert!(keys.len() > 50, "full after {} values", keys.len());
    // Reads go on, on every node, and so do deletes.
    for (at, node) in cluster.nodes().iter().enumerate() {
        let answer = node.resp().say(&["GET", &keys[at]]);
        assert_eq!(answer.value(), Some(VALUE.as_slice()));
    }
    let (deleted, kept) = keys.split_at(keys.len() / 2);
    for key in deleted {
        assert_eq!(client.say(&["DEL", key]), Answer::Integer(1), "{key}");
    }
    until("writes are taken again", || {
        client.call(&[b"SET", b"after", &VALUE]).unwrap().is_ok().then_some(())
    });
    for node in cluster.nodes() {
        let mut reader = node.resp();
        for key in kept {
            assert_eq!(reader.say(&["GET", key]).value(), Some(VALUE.as_slice()), "{key}");
        }
        for key in deleted {
            assert_eq!(reader.say(&["GET", key]), Answer::Null, "{key}");
        }
    }
}

#[test]
fn a_cluster_that_has_used_up_its_disk_space_refuses_writes_until_deletes_made_room() {
    for mode in ["strong", "eventual"] {
        let plan = small(Plan::nodes(3)).with("default_mode", mode);
        assert_full_and_back(&plan.with("max_disk", "8MiB").start());
    }
}

#[test]
fn one_full_file_system_does_not_keep_the_others_from_writing() {
    let Some(disk) = Tmpfs::mount(32 << 20) else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    // In an eventual keyspace a client can ask for a write on all replicas.
    let plan = small(Plan::nodes(3)).with("default_mode", "eventual");
    let mut cluster = plan.data_dir(2, &disk.path().join("data")).start();
    let load = Load::with_values_of(2000, &cluster.resp_ports());
    load.await_progress(200);
    let filler = disk.fill();
    let mut client = cluster.node(1).resp();
    assert!(client.say(&["KV.CONSISTENCY", "WRITE", "ALL"]).is_ok());
    // A write that all replicas must take says that one cannot.
    until("node 2 refuses writes", || {
        let answer = client.call(&[b"SET", b"everywhere", &VALUE]).unwrap();
        answer.error().is_some_and(|text| text.starts_with("DISKFULL ")).then_some(())
    });
    load.await_progress(300);
    fs::remove_file(filler).unwrap();
    until("node 2 takes writes again", || {
        client.call(&[b"SET", b"everywhere", &VALUE]).unwrap().is_ok().then_some(())
    });
    load.await_progress(100);
    cluster.await_whole();
    load.stop().verify(&cluster.resp_ports());
}
