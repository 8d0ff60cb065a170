//! Batching, acknowledging and running out of room, seen from two ends of one link.

use kvorum_core::{Error, Outcome, Reply};
use kvorum_replication::Ticket;

use super::*;

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn options(me: u32) -> Options {
    Options {
        max_pending_bytes: 1 << 20,
        max_pending_requests: 1000,
        max_peer_bytes: 4000,
        frame_bytes: 1000,
        bulk_bytes: 500,
        ..Options::new(node(me))
    }
}

/// An envelope of about `bytes` bytes.
fn envelope(id: u64, bytes: usize) -> Envelope {
    let header = kvorum_core::Header {
        version: kvorum_core::Version::default(),
        tombstone: false,
        tag: 0,
        expire_ms: 0,
        value_len: 0,
    };
    let value = Bytes::from(vec![b'v'; bytes]);
    let item = kvorum_core::Item { key: Bytes::new(), header, value };
    let outcome: Outcome<Reply> = Ok(Reply::Found(item));
    Envelope::Forwarded { id: Ticket(id), outcome }
}

fn pair() -> (Links, Links) {
    let (mut a, mut b) = (Links::new(&options(1), 1), Links::new(&options(2), 1));
    a.up(node(2));
    b.up(node(1));
    (a, b)
}

fn frames(out: &mut Vec<Out>) -> Vec<(Class, Bytes)> {
    let frame = |out| match out {
        Out::Send { class, frame, .. } => (class, frame),
        other => panic!("{other:?}"),
    };
    out.drain(..).map(frame).collect()
}

/// Sends what is in `out` to `links`, which knows the sender as `from`.
fn deliver(from: u32, out: &mut Vec<Out>, links: &mut Links) -> Vec<u64> {
    let mut envelopes = Vec::new();
    for (_, frame) in frames(out) {
        let received = links.receive(node(from), frame, &mut envelopes);
        assert!(!matches!(received, Received::Bad(_)), "{received:?}");
    }
    let id = |envelope| match envelope {
        Envelope::Forwarded { id, .. } => id.0,
        other => panic!("{other:?}"),
    };
    envelopes.into_iter().map(id).collect()
}

#[test]
fn envelopes_of_a_turn_share_a_frame_and_large_ones_travel_apart() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    for (id, bytes) in [(1, 10), (2, 600), (3, 10)] {
        a.push(node(2), &envelope(id, bytes), &mut out);
    }
    assert_eq!(out, []);
    a.flush(&mut out);
    let classes: Vec<Class> = frames(&mut out.clone()).iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [Class::Data, Class::Bulk]);
    assert_eq!(deliver(1, &mut out, &mut b), [1, 3, 2]);
    a.flush(&mut out);
    assert_eq!(out, [], "nothing more to send");
}

#[test]
fn a_full_frame_is_closed_within_the_turn() {
    let (mut a, _) = pair();
    let mut out = Vec::new();
    for id in 0..20 {
        a.push(node(2), &envelope(id, 200), &mut out);
    }
    a.flush(&mut out);
    let frames = frames(&mut out);
    assert!(frames.len() >= 4);
    assert!(frames.iter().all(|(_, frame)| frame.len() <= 1000));
}

#[test]
fn room_ends_at_the_limit_and_comes_back_with_acknowledgements() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    let mut sent = 0;
    while a.has_room(node(2)) {
        a.push(node(2), &envelope(sent, 300), &mut out);
        sent += 1;
    }
    assert!(!a.is_choked(node(2)));
    a.flush(&mut out);
    assert!(!a.has_room(node(2)));
    assert_eq!(deliver(1, &mut out, &mut b).len() as u64, sent);

    b.flush(&mut out);
    let mut acknowledgement = out.clone();
    assert_eq!(frames(&mut acknowledgement.clone()).len(), 1, "nothing else to send: one frame");
    assert_eq!(deliver(2, &mut acknowledgement, &mut a), []);
    assert_eq!(a.under_way(), [(node(2), 0)]);
    assert!(a.has_room(node(2)));
    out.clear();
    b.flush(&mut out);
    a.flush(&mut out);
    assert_eq!(out, [], "acknowledgements are not acknowledged");
}

#[test]
fn a_peer_that_acknowledges_nothing_is_choked() {
    let (mut a, _) = pair();
    let mut out = Vec::new();
    for id in 0..40 {
        a.push(node(2), &envelope(id, 300), &mut out);
    }
    assert!(a.is_choked(node(2)));
}

#[test]
fn duplicates_are_ignored_and_later_frames_are_not() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    let mut sent = Vec::new();
    for id in 0..3 {
        a.push(node(2), &envelope(id, 10), &mut out);
        a.flush(&mut out);
        sent.push(out.clone());
        out.clear();
    }
    assert_eq!(deliver(1, &mut sent[0].clone(), &mut b), [0]);
    assert_eq!(deliver(1, &mut sent[0].clone(), &mut b), []);
    assert_eq!(deliver(1, &mut sent[2].clone(), &mut b), [2]);
    assert_eq!(deliver(1, &mut sent[1].clone(), &mut b), []);
}

#[test]
fn counting_starts_anew_with_every_life() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    a.push(node(2), &envelope(1, 10), &mut out);
    a.flush(&mut out);
    deliver(1, &mut out, &mut b);
    let life = a.life(node(2));
    a.push(node(2), &envelope(2, 10), &mut out);
    assert!(a.down(node(2)));
    assert!(
        !a.is_up(node(2))
            && !a.has_room(node(2))
            && a.push(node(2), &envelope(3, 1), &mut out).is_none()
    );
    a.flush(&mut out);
    assert_eq!(out, [], "what was not sent is gone");
    a.up(node(2));
    b.up(node(1));
    assert_ne!(a.life(node(2)), life);
    a.push(node(2), &envelope(4, 10), &mut out);
    a.flush(&mut out);
    assert_eq!(deliver(1, &mut out, &mut b), [4]);
}

#[test]
fn a_bad_frame_ends_the_use_of_the_link_and_nothing_of_it_is_applied() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    for id in 0..2 {
        a.push(node(2), &envelope(id, 10), &mut out);
        a.flush(&mut out);
    }
    let mut frames = frames(&mut out);
    let (_, good) = frames.pop().unwrap();
    let (_, frame) = frames.pop().unwrap();
    let mut damaged = BytesMut::from(&frame[..]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let mut envelopes = Vec::new();
    assert!(matches!(b.receive(node(1), damaged.freeze(), &mut envelopes), Received::Bad(_)));
    assert!(!b.is_up(node(1)));
    assert_eq!(b.receive(node(1), good, &mut envelopes), Received::Nothing);
    assert!(envelopes.is_empty());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let (mut a, _) = pair();
    let (class, durable) = (Class::Data, Lsn(0));
    let header = Header {
        class,
        count: 0,
        layout: 1,
        seq: 0,
        acks: [0, 1],
        durable,
        willingness: Willingness::Willing,
    };
    let frame = frame::seal(&header, &mut BytesMut::zeroed(HEADER));
    assert!(matches!(a.receive(node(2), frame, &mut Vec::new()), Received::Bad(_)));
}

#[test]
fn frames_of_one_layout_version_hold_nothing_of_another() {
    let (mut a, _) = pair();
    let mut out = Vec::new();
    a.push(node(2), &envelope(1, 10), &mut out);
    a.set_layout(2, &mut out);
    let outcome = Err(Error::invalid("no"));
    a.push(node(2), &Envelope::Forwarded { id: Ticket(2), outcome }, &mut out);
    a.flush(&mut out);
    let layout = |(_, frame): (Class, Bytes)| frame::open(frame).unwrap().0.layout;
    assert_eq!(frames(&mut out).into_iter().map(layout).collect::<Vec<u64>>(), [1, 2]);
}

#[test]
fn every_frame_tells_how_far_its_senders_log_is_durable() {
    let (mut a, mut b) = pair();
    let mut out = Vec::new();
    assert_eq!(b.durable(node(1)), Some(Lsn(0)));
    a.set_durable(Lsn(7));
    a.push(node(2), &envelope(1, 10), &mut out);
    a.flush(&mut out);
    deliver(1, &mut out, &mut b);
    assert_eq!(b.durable(node(1)), Some(Lsn(7)));
    b.down(node(1));
    assert_eq!(b.durable(node(1)), None, "the next process of the node may know less");
}
