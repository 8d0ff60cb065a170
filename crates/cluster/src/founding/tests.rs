//! Births, losses and duplicates, among others in all orders a random scheduler comes up with.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use kvorum_core::layout::Placement;
use kvorum_core::{Consistency, Keyspace, KeyspaceId, Mode, Writer};

fn id(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

/// Four partitions are enough to be told from others.
fn layout(nodes: u32) -> Layout {
    let nodes: Vec<NodeId> = (1..=nodes).map(id).collect();
    let keyspace = Keyspace {
        id: KeyspaceId::DEFAULT,
        name: "default".to_owned(),
        mode: Mode::Eventual,
        placement: 0,
        read: Consistency::Quorum,
        write: Consistency::Quorum,
    };
    let placement = Placement::new(vec![nodes.clone(); 4]).unwrap();
    Layout::new(1, nodes, vec![keyspace], vec![placement]).unwrap()
}

/// What survives a restart.
#[derive(Clone, Debug)]
struct Disk {
    log_id: u128,
    start: u32,
    durable: Lsn,
    persisted: Persisted,
}

/// A cluster of machines that introduce themselves, stop and lose their disks on command.
struct World {
    proposal: Layout,
    disks: Vec<Disk>,
    processes: Vec<Option<Founding>>,
    nonces: u64,
    now: Mono,
    /// What each process has been allowed to do since it started.
    served: Vec<bool>,
    rebuilt: Vec<bool>,
}

impl World {
    fn new(nodes: u32) -> World {
        let disk = |n: u32| Disk {
            log_id: u128::from(n) << 64,
            start: 0,
            durable: Lsn(0),
            persisted: Persisted::default(),
        };
        let count = nodes as usize;
        let mut world = World {
            proposal: layout(nodes),
            disks: (1..=nodes).map(disk).collect(),
            processes: vec![None; count],
            nonces: 0,
            now: Mono(0),
            served: vec![false; count],
            rebuilt: vec![false; count],
        };
        (0..count).for_each(|at| world.start(at));
        world
    }

    fn start(&mut self, at: usize) {
        self.nonces += 1;
        let disk = &mut self.disks[at];
        disk.start += 1;
        let me = Candidate {
            cluster: "test".to_owned(),
            node: id(at as u32 + 1),
            nonce: self.nonces,
            log_id: disk.log_id,
            start: disk.start,
            recovered: disk.durable,
            highest: Hlc(0),
            damaged: false,
        };
        let founding = Founding::new(me, self.proposal.clone(), disk.persisted.clone(), self.now);
        self.processes[at] = Some(founding.unwrap());
        (self.served[at], self.rebuilt[at]) = (false, false);
    }

    fn wipe(&mut self, at: usize) {
        self.nonces += 1;
        self.disks[at] = Disk {
            log_id: u128::from(self.nonces),
            start: 0,
            durable: Lsn(0),
            persisted: Persisted::default(),
        };
        self.start(at);
    }

    /// One node asks another; the answer may get lost.
    fn introduce(&mut self, from: usize, to: usize, answered: bool) {
        let (durable, clock) = (self.disks[from].durable, Hlc(0));
        let asking = self.processes[from].as_ref().unwrap();
        let hello = asking.hello(Some(id(to as u32 + 1)), durable, clock);
        let durable = self.disks[to].durable;
        let asked = self.processes[to].as_mut().unwrap();
        asked.receive(&hello, self.now).unwrap();
        let answer = asked.hello(Some(hello.node), durable, clock);
        if answered {
            self.processes[from].as_mut().unwrap().receive(&answer, self.now).unwrap();
        }
    }

    /// Does what a node decides, unless it crashes in the midst of it.
    fn carry_out(&mut self, at: usize, crash: bool) {
        loop {
            let process = self.processes[at].as_mut().unwrap();
            if let Some(record) = process.watermarks_due(self.now) {
                self.disks[at].persisted.watermarks = Some(record);
            }
            match process.decide(self.now) {
                Decision::Persist(_) if crash => return self.start(at),
                Decision::Persist(record) => {
                    self.disks[at].persisted.membership = Some(record);
                    process.persisted();
                }
                Decision::Serve => {
                    self.served[at] = true;
                    self.disks[at].durable.0 += 1;
                    return;
                }
                Decision::Rebuild { .. } => {
                    self.rebuilt[at] = true;
                    return;
                }
                Decision::Wait { .. } => return,
                Decision::Refuse(refusal) => panic!("{refusal}"),
            }
        }
    }

    fn everybody_meets(&mut self) {
        for _ in 0..3 {
            for from in 0..self.disks.len() {
                for to in (0..self.disks.len()).filter(|to| *to != from) {
                    self.introduce(from, to, true);
                }
                self.carry_out(from, false);
            }
        }
    }

    /// A random but reproducible mess: introductions, lost answers, crashes.
    fn scramble(&mut self, steps: &[(u8, u8, u8)], restarts: impl Fn(usize) -> bool) {
        let count = self.disks.len();
        for &(kind, a, b) in steps {
            let (a, b) = (usize::from(a) % count, usize::from(b) % count);
            self.now.0 += 100_000;
            match kind % 8 {
                0 if restarts(a) => self.start(a),
                1 => self.carry_out(a, restarts(a)),
                2 => self.carry_out(a, false),
                3 if a != b => self.introduce(a, b, false),
                _ if a != b => self.introduce(a, b, true),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_at_birth_every_node_serves_the_same_cluster(
        nodes in 1u32..5,
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..80),
    ) {
        let mut world = World::new(nodes);
        world.scramble(&steps, |_| true);
        world.everybody_meets();
        for at in 0..world.disks.len() {
            prop_assert!(world.served[at] && !world.rebuilt[at]);
            let process = world.processes[at].as_ref().unwrap();
            prop_assert_eq!(process.decide(world.now), Decision::Serve);
            prop_assert_eq!(&process.membership().unwrap().founded.layout, &world.proposal);
        }
    }

    #[test]
    fn a_wiped_node_never_serves_before_it_rebuilds_and_rebuilds_once(
        nodes in 2u32..5,
        wiped in any::<proptest::sample::Index>(),
        before in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        after in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..80),
    ) {
        let mut world = World::new(nodes);
        world.scramble(&before, |_| true);
        world.everybody_meets();
        let wiped = wiped.index(world.disks.len());
        world.wipe(wiped);
        world.scramble(&after, |at| at != wiped);
        prop_assert!(!world.served[wiped]);
        world.everybody_meets();
        prop_assert!(world.rebuilt[wiped] && !world.served[wiped]);

        world.start(wiped);
        world.carry_out(wiped, false);
        prop_assert!(world.rebuilt[wiped], "the verdict is durable");
        world.processes[wiped].as_mut().unwrap().rebuilt();
        world.everybody_meets();
        (0..world.disks.len()).for_each(|at| world.start(at));
        world.everybody_meets();
        for at in 0..world.disks.len() {
            prop_assert!(world.served[at] && !world.rebuilt[at], "node {}", at + 1);
        }
    }

    /// A node that loses its disk while the others found the cluster makes their accounts differ.
    #[test]
    fn all_nodes_key_their_digests_alike_even_if_a_disk_is_lost_during_the_birth(
        nodes in 2u32..5,
        wiped in any::<proptest::sample::Index>(),
        before in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        after in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..40),
    ) {
        let mut world = World::new(nodes);
        world.scramble(&before, |_| true);
        world.wipe(wiped.index(world.disks.len()));
        world.scramble(&after, |_| true);
        world.everybody_meets();
        let durable = |disk: &Disk| {
            let record = disk.persisted.membership.clone().unwrap();
            Membership::decode(record).unwrap().founded.digest_seed
        };
        let seeds: Vec<_> = world.disks.iter().map(durable).collect();
        prop_assert!(seeds.iter().all(|seed| *seed == seeds[0]), "{:?}", seeds);
    }

    #[test]
    fn an_older_image_of_a_disk_is_found_out(
        nodes in 2u32..5,
        at in any::<proptest::sample::Index>(),
        restarts in 0u8..3,
    ) {
        let mut world = World::new(nodes);
        world.everybody_meets();
        let at = at.index(world.disks.len());
        let image = world.disks[at].clone();
        world.start(at);
        world.everybody_meets();
        world.disks[at] = image;
        for _ in 0..=restarts {
            world.start(at);
        }
        let met = (at + 1) % world.disks.len();
        world.introduce(at, met, true);
        world.carry_out(at, false);
        prop_assert!(world.rebuilt[at] && !world.served[at]);
    }

    #[test]
    fn arbitrary_bytes_are_no_introduction(bytes in proptest::collection::vec(0u8..4, 0..300)) {
        let mut input = vec![1, 0];
        input.extend_from_slice(&bytes);
        let _ = Greeting::decode(Bytes::from(input.clone()));
        let _ = Membership::decode(Bytes::from(input.split_off(1)));
    }
}

fn founding(node: u32, nodes: u32) -> Founding {
    start(node, node.into(), nodes, Persisted::default()).unwrap()
}

fn start(node: u32, nonce: u64, nodes: u32, persisted: Persisted) -> Result<Founding, Refusal> {
    let me = Candidate {
        cluster: "test".to_owned(),
        node: id(node),
        nonce,
        log_id: node.into(),
        start: 1,
        recovered: Lsn(0),
        highest: Hlc(0),
        damaged: false,
    };
    Founding::new(me, layout(nodes), persisted, Mono(0))
}

fn hello(from: &Founding, to: u32) -> Hello {
    from.hello(Some(id(to)), Lsn(0), Hlc(0))
}

/// Three nodes that serve.
fn cluster() -> Vec<Founding> {
    let mut all: Vec<Founding> = (1..=3).map(|node| founding(node, 3)).collect();
    for _ in 0..2 {
        for from in 0..3 {
            for to in (0..3).filter(|to| *to != from) {
                let hello = hello(&all[from], to as u32 + 1);
                all[to].receive(&hello, Mono(0)).unwrap();
            }
        }
        all.iter_mut().for_each(Founding::persisted);
    }
    all
}

#[test]
fn a_member_of_another_cluster_of_the_same_name_and_nodes_harms_nobody() {
    let (mut ours, mut theirs) = (World::new(3), World::new(3));
    (0..3).for_each(|at| theirs.wipe(at));
    for world in [&mut ours, &mut theirs] {
        world.everybody_meets();
        assert_eq!(world.served, [true; 3]);
    }
    // Node 3 starts with the data directory of the other cluster.
    ours.disks[2] = theirs.disks[2].clone();
    ours.start(2);
    for at in 0..2 {
        let known = ours.processes[at].as_mut().unwrap();
        let stranger = theirs.processes[2].as_ref().unwrap();
        let refused = known.receive(&hello(stranger, at as u32 + 1), Mono(0));
        assert_eq!(kind(refused.clone()), RefusalKind::OtherCluster);
        assert_eq!(known.decide(Mono(0)), Decision::Serve);
        let stranger = ours.processes[2].as_mut().unwrap();
        stranger.refused(refused.unwrap_err());
        assert!(matches!(stranger.decide(Mono(0)), Decision::Refuse(_)));
    }
}

fn kind(result: Result<(), Refusal>) -> RefusalKind {
    result.unwrap_err().kind
}

#[test]
fn a_node_alone_founds_at_once() {
    let mut alone = founding(1, 1);
    assert!(matches!(alone.decide(Mono(0)), Decision::Persist(_)));
    alone.persisted();
    assert_eq!(alone.decide(Mono(0)), Decision::Serve);
}

#[test]
fn nothing_is_told_of_a_founding_that_is_not_durable() {
    let (mut a, b) = (founding(1, 2), founding(2, 2));
    assert!(matches!(a.decide(Mono(0)), Decision::Wait { missing, .. } if missing == [id(2)]));
    a.receive(&hello(&b, 1), Mono(0)).unwrap();
    assert!(matches!(a.decide(Mono(0)), Decision::Persist(_)));
    assert_eq!(hello(&a, 2).founded, None);
    a.persisted();
    assert!(hello(&a, 2).founded.is_some());
    a.rebuilt();
    assert!(hello(&a, 2).founded.is_some());
}

#[test]
fn strangers_are_refused_with_one_sentence() {
    let mut a = founding(1, 3);
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello(&founding(2, 3), 1);
        change(&mut hello);
        hello
    };
    let now = Mono(0);
    assert!(a.receive(&with(&|_| {}), now).is_ok());
    let refused = a.receive(&with(&|hello| hello.cluster = "other".to_owned()), now);
    let sentence = "node 2 belongs to the cluster \"other\" and node 1 to \"test\"";
    assert_eq!(refused.clone().unwrap_err().to_string(), sentence);
    assert_eq!(kind(refused), RefusalKind::OtherCluster);
    let refused = a.receive(&with(&|hello| hello.node = id(4)), now);
    assert_eq!(kind(refused), RefusalKind::OtherNode);
    let refused = a.receive(&with(&|hello| hello.peers += 1), now);
    assert_eq!(kind(refused), RefusalKind::OtherPeers);
    let refused = a.receive(&with(&|hello| hello.layout += 1), now);
    assert_eq!(kind(refused), RefusalKind::OtherSettings);
    let refused = a.receive(&with(&|hello| hello.node = id(1)), now);
    assert_eq!(kind(refused), RefusalKind::Duplicate);
    let refused = a.receive(&hello(&a.clone(), 1), now);
    assert_eq!(kind(refused), RefusalKind::Myself);
    let mut foreign = Greeting::Hello(Box::new(with(&|_| {}))).encode().to_vec();
    foreign[0] = 9;
    assert_eq!(Greeting::decode(Bytes::from(foreign)), Err(HelloError::Protocol(9)));
}

#[test]
fn a_directory_of_another_node_cluster_or_list_is_refused() {
    let membership = cluster()[0].membership().unwrap().clone();
    let open = |node, nodes, change: &dyn Fn(&mut Membership)| {
        let mut found = membership.clone();
        change(&mut found);
        let persisted = Persisted { membership: Some(found.encode()), watermarks: None };
        start(node, 9, nodes, persisted).map(|_| ()).map_err(|refusal| refusal.kind)
    };
    assert_eq!(open(1, 3, &|_| {}), Ok(()));
    assert_eq!(open(2, 3, &|_| {}), Err(RefusalKind::OtherNode));
    assert_eq!(open(1, 4, &|_| {}), Err(RefusalKind::OtherPeers));
    let renamed = open(1, 3, &|found| found.cluster = "other".to_owned());
    assert_eq!(renamed, Err(RefusalKind::OtherCluster));
    let garbage = Persisted { membership: Some(Bytes::from_static(b"?")), watermarks: None };
    assert_eq!(start(1, 9, 3, garbage).unwrap_err().kind, RefusalKind::OtherCluster);
}

#[test]
fn a_lost_tail_is_found_out_and_settled_by_one_rebuild() {
    let mut all = cluster();
    let membership = Some(all[1].membership().unwrap().encode());
    for at in [0, 2] {
        all[at].connected(id(2), 2, Mono(0));
        all[at].told(id(2), Lsn(100));
    }
    let restarted = |nonce, start, recovered, membership| {
        let me = Candidate {
            cluster: "test".to_owned(),
            node: id(2),
            nonce,
            log_id: 2,
            start,
            recovered: Lsn(recovered),
            highest: Hlc(0),
            damaged: false,
        };
        let persisted = Persisted { membership, watermarks: None };
        Founding::new(me, layout(3), persisted, Mono(0)).unwrap()
    };
    let mut whole = restarted(21, 2, 100, membership.clone());
    whole.receive(&hello(&all[0], 2), Mono(0)).unwrap();
    assert_eq!(whole.decide(Mono(0)), Decision::Serve);

    let mut lost = restarted(22, 2, 99, membership);
    lost.receive(&hello(&all[0], 2), Mono(0)).unwrap();
    let Decision::Persist(record) = lost.decide(Mono(0)) else { panic!("no verdict") };
    assert!(Membership::decode(record).unwrap().rebuilding);
    lost.persisted();
    let Decision::Rebuild { reason, .. } = lost.decide(Mono(0)) else { panic!("no rebuild") };
    assert!(reason.contains("up to record 100, but only 99"), "{reason}");
    assert_eq!(lost.clock(0).unwrap().writer(), Writer::new(id(2), 2), "above what node 1 knows");
    all[0].disconnected(id(2));
    all[0].receive(&hello(&lost, 1), Mono(0)).unwrap();
    assert_eq!(hello(&all[0], 2).known.unwrap().durable, Lsn(100), "kept until it is rebuilt");

    lost.rebuilt();
    let Decision::Persist(record) = lost.decide(Mono(0)) else { panic!("not persisted") };
    lost.persisted();
    all[0].receive(&hello(&lost, 1), Mono(0)).unwrap();
    assert_eq!(hello(&all[0], 2).known.unwrap().nonce, 22);
    // Node 3 has missed all that.
    let mut again = restarted(23, 3, 99, Some(record));
    again.receive(&hello(&all[2], 2), Mono(0)).unwrap();
    assert_eq!(again.decide(Mono(0)), Decision::Serve);
}

#[test]
fn a_damaged_log_is_rebuilt_whether_or_not_its_id_has_changed() {
    let all = cluster();
    let membership = Some(all[1].membership().unwrap().encode());
    for (log_id, damaged) in [(2, true), (77, false), (77, true)] {
        let me = Candidate {
            cluster: "test".to_owned(),
            node: id(2),
            nonce: 8,
            log_id,
            start: 2,
            recovered: Lsn(5),
            highest: Hlc(0),
            damaged,
        };
        let persisted = Persisted { membership: membership.clone(), watermarks: None };
        let mut node = Founding::new(me, layout(3), persisted, Mono(0)).unwrap();
        assert!(matches!(node.decide(Mono(0)), Decision::Persist(_)));
        node.persisted();
        assert!(matches!(node.decide(Mono(0)), Decision::Rebuild { .. }));
        node.rebuilt();
        node.persisted();
        node.receive(&hello(&all[0], 2), Mono(0)).unwrap();
        assert_eq!(node.decide(Mono(0)), Decision::Serve, "the old log is accounted for");
    }
}

#[test]
fn a_member_without_company_serves_after_a_while_unless_it_is_refused() {
    let membership = Some(cluster()[1].membership().unwrap().encode());
    let mut node = start(2, 9, 3, Persisted { membership, watermarks: None }).unwrap();
    let Decision::Wait { missing, until: Some(until) } = node.decide(Mono(0)) else {
        panic!("did not wait")
    };
    assert_eq!(missing, [id(1), id(3)]);
    assert_eq!(node.decide(until), Decision::Serve);
    let busy = Refusal { kind: RefusalKind::Busy, reason: String::new() };
    node.refused(busy.clone());
    assert_eq!(node.decide(until), Decision::Refuse(busy));
}

#[test]
fn two_processes_under_one_id_are_told_apart_from_a_restart() {
    let mut all = cluster();
    let seconds = |s: u64| Mono(s * 1_000_000);
    let membership = Some(all[1].membership().unwrap().encode());
    let copy = start(2, 99, 3, Persisted { membership, watermarks: None }).unwrap();
    let a = &mut all[0];
    a.connected(id(2), 2, seconds(0));
    assert_eq!(kind(a.receive(&hello(&copy, 1), seconds(1))), RefusalKind::Busy);
    a.heard(id(2), 2, seconds(2));
    assert_eq!(kind(a.receive(&hello(&copy, 1), seconds(2))), RefusalKind::Busy);
    a.heard(id(2), 99, seconds(4));
    assert_eq!(kind(a.receive(&hello(&copy, 1), seconds(4))), RefusalKind::Busy);
    a.heard(id(2), 2, seconds(4));
    assert_eq!(kind(a.receive(&hello(&copy, 1), seconds(5))), RefusalKind::Duplicate);
    a.disconnected(id(2));
    assert_eq!(a.receive(&hello(&copy, 1), seconds(6)), Ok(()));
}

#[test]
fn watermarks_are_persisted_once_a_second_and_survive() {
    let mut all = cluster();
    let a = &mut all[0];
    let seconds = |s: u64| Mono(s * 1_000_000);
    assert!(a.watermarks_due(seconds(1)).is_some());
    assert_eq!((a.watermarks_due(seconds(1)), a.next_watermarks()), (None, None));
    a.connected(id(2), 2, seconds(1));
    a.told(id(2), Lsn(7));
    assert_eq!((a.watermarks_due(seconds(1)), a.next_watermarks()), (None, Some(seconds(2))));
    let watermarks = a.watermarks_due(seconds(2));
    let membership = Some(a.membership().unwrap().encode());
    let again = start(1, 9, 3, Persisted { membership, watermarks }).unwrap();
    assert_eq!(hello(&again, 2).known.unwrap().durable, Lsn(7));
}

#[test]
fn greetings_and_memberships_round_trip() {
    let all = cluster();
    let hello = hello(&all[0], 2);
    assert!(hello.founded.is_some() && hello.known.is_some());
    for greeting in [
        Greeting::Name(Name { cluster: "test".to_owned(), node: id(1), nonce: 5 }),
        Greeting::Hello(Box::new(hello)),
        Greeting::Refused(Refusal { kind: RefusalKind::Myself, reason: "no".to_owned() }),
    ] {
        let bytes = greeting.encode();
        assert_eq!(Greeting::decode(bytes.clone()), Ok(greeting));
        for cut in 0..bytes.len() {
            assert!(Greeting::decode(bytes.slice(..cut)).is_err());
        }
    }
    let membership = all[0].membership().unwrap().clone();
    assert_eq!(Membership::decode(membership.encode()), Ok(membership));
}

#[test]
fn a_replaced_log_is_persisted_at_once() {
    let mut all = cluster();
    let second = |tenths: u64| Mono(1_000_000 + tenths * 100_000);
    all[0].watermarks_due(second(0)).unwrap();
    let mut replaced = hello(&all[1], 1);
    replaced.mark = Watermark { log_id: 99, nonce: 99, ..replaced.mark };
    replaced.founded = None;
    all[0].receive(&replaced, second(1)).unwrap();
    assert_eq!(hello(&all[0], 2).known.unwrap().log_id, 2, "it belongs to no cluster");
    replaced.founded = all[1].membership().map(|known| known.founded.clone());
    replaced.settled = vec![Settled { log_id: 2, nonce: 0 }];
    all[0].receive(&replaced, second(2)).unwrap();
    assert_eq!(hello(&all[0], 2).known.unwrap().log_id, 99);
    assert!(all[0].watermarks_due(second(3)).is_some());
}

#[test]
fn a_node_born_damaged_rebuilds() {
    let me = Candidate { damaged: true, ..founding(1, 2).me };
    let mut node = Founding::new(me, layout(2), Persisted::default(), Mono(0)).unwrap();
    node.receive(&hello(&founding(2, 2), 1), Mono(0)).unwrap();
    node.persisted();
    assert!(matches!(node.decide(Mono(0)), Decision::Rebuild { .. }));
}

#[test]
fn who_does_not_know_to_whom_it_speaks_has_not_been_met() {
    let all = cluster();
    let membership = Some(all[1].membership().unwrap().encode());
    let mut node = start(2, 9, 3, Persisted { membership, watermarks: None }).unwrap();
    let anonymous = all[0].hello(None, Lsn(0), Hlc(0));
    node.receive(&anonymous, Mono(0)).unwrap();
    assert!(matches!(node.decide(Mono(0)), Decision::Wait { missing, .. } if missing.len() == 2));
}

#[test]
fn a_refusal_for_a_moment_is_forgotten_and_one_for_good_is_not() {
    let refuse = |kind| Refusal { kind, reason: String::new() };
    let mut node = founding(1, 3);
    node.refused(refuse(RefusalKind::Busy));
    assert!(matches!(node.decide(Mono(0)), Decision::Refuse(_)));
    node.receive(&hello(&founding(2, 3), 1), Mono(0)).unwrap();
    assert!(matches!(node.decide(Mono(0)), Decision::Wait { .. }));
    node.refused(refuse(RefusalKind::OtherCluster));
    node.refused(refuse(RefusalKind::Busy));
    node.receive(&hello(&founding(2, 3), 1), Mono(0)).unwrap();
    let decision = node.decide(Mono(0));
    assert_eq!(decision, Decision::Refuse(refuse(RefusalKind::OtherCluster)));
}

#[test]
fn a_replaced_node_does_not_hold_the_founding_against_one_replaced_twice() {
    let mut world = World::new(3);
    world.everybody_meets();
    for replaced in [0, 0, 2] {
        world.wipe(replaced);
        world.everybody_meets();
        assert!(world.rebuilt[replaced]);
        world.processes[replaced].as_mut().unwrap().rebuilt();
        world.everybody_meets();
    }
    world.rebuilt[0] = false;
    world.everybody_meets();
    assert!(!world.rebuilt[0], "the third replacement knows the first node by its founding only");
}

impl World {
    /// The start number with which a node stamps.
    fn stamps_as(&self, at: usize) -> u32 {
        self.processes[at].as_ref().unwrap().clock(0).unwrap().writer().start()
    }
}

#[test]
fn no_start_number_is_used_twice_however_often_a_node_loses_its_disk() {
    let mut world = World::new(3);
    world.everybody_meets();
    let mut used = 0;
    for _ in 0..3 {
        for _ in 0..5 {
            world.start(1);
            world.everybody_meets();
            assert!(world.served[1] && world.stamps_as(1) > used);
            used = world.stamps_as(1);
        }
        world.wipe(1);
        world.everybody_meets();
        assert!(world.rebuilt[1] && world.stamps_as(1) > used, "{}", world.stamps_as(1));
        used = world.stamps_as(1);
        // The process ends in the middle of its rebuild; the next one has met nobody yet.
        world.start(1);
        assert!(world.stamps_as(1) > used, "the start number of the lost log is forgotten");
        used = world.stamps_as(1);
        world.everybody_meets();
        world.processes[1].as_mut().unwrap().rebuilt();
        world.everybody_meets();
    }
}

#[test]
fn an_older_image_of_a_disk_repeats_no_start_number() {
    let mut world = World::new(3);
    world.everybody_meets();
    let image = world.disks[1].clone();
    for _ in 0..4 {
        world.start(1);
        world.everybody_meets();
    }
    let used = world.stamps_as(1);
    world.disks[1] = image;
    world.start(1);
    world.everybody_meets();
    assert!(world.rebuilt[1] && world.stamps_as(1) > used);
}

#[test]
fn when_start_numbers_repeat_nothing_is_stamped_before_the_log_is_past() {
    let begun = |start| {
        let me = Candidate {
            cluster: "test".to_owned(),
            node: id(1),
            nonce: 1,
            log_id: 1,
            start,
            recovered: Lsn(0),
            highest: Hlc::from_wall_ms(1_700_000_000_000),
            damaged: false,
        };
        Founding::new(me, layout(1), Persisted::default(), Mono(0)).unwrap()
    };
    let last = begun(Writer::STARTS - 1);
    assert!(last.clock(0).is_some(), "nobody has stamped as this start before");
    let repeated = begun(Writer::STARTS);
    assert!(repeated.clock(1_700_000_000_000).is_none());
    let mut clock = repeated.clock(1_700_000_000_001).unwrap();
    assert_eq!(clock.writer(), Writer::new(id(1), 0));
    assert!(clock.tick(0).hlc > Hlc::from_wall_ms(1_700_000_000_001), "the clock was set back");
}
