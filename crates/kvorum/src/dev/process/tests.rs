//! Supervision is tested with small shell scripts in the place of nodes.

use super::*;
use crate::dev::restart::PAUSE;

fn plan(directory: &tempfile::TempDir, script: &str) -> NodePlan {
    NodePlan {
        id: 2,
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        log: directory.path().join("node2.log"),
        // Nobody answers there, so that the node never counts as serving.
        http: "127.0.0.1:1".to_owned(),
    }
}

struct Supervised {
    events: mpsc::Receiver<Event>,
    orders: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

fn start(plan: NodePlan) -> Supervised {
    let (events_tx, events) = mpsc::channel(16);
    let (orders, orders_rx) = watch::channel(Order::Run);
    let task = tokio::spawn(supervise(plan, Restarts::new(true), events_tx, orders_rx));
    Supervised { events, orders, task }
}

async fn pid_of_next_start(supervised: &mut Supervised) -> i32 {
    match supervised.events.recv().await {
        Some(Event::Started { node: 2, pid }) => i32::try_from(pid).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn is_alive(pid: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[tokio::test]
async fn a_killed_node_is_reported_and_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(plan(&directory, "echo first words; exec sleep 600"));
    let first = pid_of_next_start(&mut node).await;
    rustix::process::kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    match node.events.recv().await {
        Some(Event::Died { node: 2, death: Death::Killed(9), next, hopeless: false, .. }) => {
            assert_eq!(next, Next::Restart(PAUSE));
        }
        other => panic!("{other:?}"),
    }
    let second = pid_of_next_start(&mut node).await;
    assert_ne!(first, second);
    node.orders.send(Order::Stop).unwrap();
    node.task.await.unwrap();
    assert!(!is_alive(second));
}

#[tokio::test]
async fn a_node_that_refuses_to_start_stays_down_and_its_last_words_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(plan(&directory, "echo the disk is not ours >&2; exit 78"));
    pid_of_next_start(&mut node).await;
    match node.events.recv().await {
        Some(Event::Died { death: Death::Exited(78), next: Next::StayDown, tail, .. }) => {
            assert_eq!(tail, ["the disk is not ours"]);
        }
        other => panic!("{other:?}"),
    }
    node.task.await.unwrap();
}

#[tokio::test]
async fn a_node_that_will_not_stop_is_killed_when_patience_ends() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script =
        format!("trap '' TERM; mkfifo {0}; echo > {0}; while :; do sleep 1; done", ready.display());
    let mut node = start(plan(&directory, &script));
    let pid = pid_of_next_start(&mut node).await;
    // Reading the pipe returns once the shell has set its trap.
    while tokio::fs::read(&ready).await.is_err() {
        tokio::task::yield_now().await;
    }
    node.orders.send(Order::Stop).unwrap();
    tokio::task::yield_now().await;
    assert!(is_alive(pid));
    node.orders.send(Order::Kill).unwrap();
    node.task.await.unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn the_last_lines_leave_out_empty_ones() {
    assert_eq!(last_lines("a\n\nb\nc\n", 2), ["b", "c"]);
    assert!(last_lines("", 2).is_empty());
}
