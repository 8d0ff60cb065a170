//! `kvorum dev`: a cluster in one command.

use std::time::{Duration, Instant};

use kvorum_e2e::resp::{Answer, Resp};
use kvorum_e2e::{Dev, DevNode, Reader, is_running, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Ports from here on are not among those that outgoing connections are given.
const QUIET_PORTS: [&str; 3] = ["--auto-ports", "--base-port-offset", "11000"];

fn start(arguments: &[&str]) -> Dev {
    Dev::start(&[&QUIET_PORTS, arguments].concat())
}

fn nodes(ready: &Value) -> Vec<DevNode> {
    let nodes = ready["nodes"].as_array().expect("a list of nodes");
    nodes.iter().map(DevNode::of).collect()
}

#[test]
fn dev_starts_three_nodes_restarts_a_killed_one_and_leaves_nothing_behind() {
    let began = Instant::now();
    let dev = start(&["--ephemeral"]);
    let ready = dev.event("ready");
    assert!(began.elapsed() < Duration::from_secs(30), "ready after {:?}", began.elapsed());
    let first = nodes(&ready);
    assert_eq!(first.len(), 3);
    let data_dir = ready["data_dir"].as_str().unwrap().to_owned();

    let set = Resp::connect(first[0].resp).unwrap().say(&["SET", "greeting", "hello"]);
    assert!(set.is_ok(), "{set:?}");
    let mut client = Resp::connect(first[0].resp).unwrap();
    assert_eq!(client.say(&["INCR", "visits"]), Answer::Integer(1), "default is strong");
    assert!(client.say(&["SELECT", "1"]).is_ok());
    let refused = client.say(&["INCR", "visits"]);
    let text = refused.error().unwrap_or_else(|| panic!("{refused:?}"));
    assert!(text.starts_with("NOTSTRONG ") && text.contains("SELECT 0"), "{text}");
    let pid = i32::try_from(first[1].pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let died = dev.event("died");
    assert_eq!((died["node"].as_u64(), died["signal"].as_u64()), (Some(2), Some(9)));
    let back = dev.event("back");
    assert_eq!(back["node"].as_u64(), Some(2));
    let second_pid = u32::try_from(back["pid"].as_u64().unwrap()).unwrap();
    assert_ne!(second_pid, first[1].pid);
    for node in &first {
        assert_eq!(Reader::new(node.resp).get("greeting").as_deref(), Some(b"hello".as_slice()));
    }

    dev.signal(Signal::INT);
    dev.event("stopped");
    let (status, _directory) = dev.wait();
    assert_eq!(status.code(), Some(0));
    for pid in [first[0].pid, second_pid, first[2].pid] {
        assert!(!is_running(pid), "process {pid} was left behind");
    }
    assert!(!std::path::Path::new(&data_dir).exists(), "{data_dir} was left behind");
}

#[test]
fn dev_keeps_its_data_over_a_restart_and_its_nodes_die_with_it() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--data-dir", data.path().to_str().unwrap()];
    let dev = start(&arguments);
    let before = nodes(&dev.event("ready"));
    assert!(Resp::connect(before[2].resp).unwrap().say(&["SET", "kept", "yes"]).is_ok());
    dev.signal(Signal::KILL);
    dev.wait();
    until("the nodes have died with it", || {
        before.iter().all(|node| !is_running(node.pid)).then_some(())
    });
    let dev = start(&arguments);
    for node in nodes(&dev.event("ready")) {
        assert_eq!(Reader::new(node.resp).get("kept").as_deref(), Some(b"yes".as_slice()));
    }
    dev.signal(Signal::TERM);
    assert_eq!(dev.wait().0.code(), Some(0));
}

#[test]
fn a_second_dev_on_the_same_data_or_the_same_ports_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let dev = start(&["--nodes", "1", "--data-dir", data]);
    let ready = dev.event("ready");
    let same_data = start(&["--nodes", "1", "--data-dir", data]);
    assert_eq!(same_data.wait().0.code(), Some(78));
    let offset = ready["base_port_offset"].as_u64().unwrap().to_string();
    let same_ports = Dev::start(&["--ephemeral", "--nodes", "1", "--base-port-offset", &offset]);
    assert_eq!(same_ports.wait().0.code(), Some(78));
}
