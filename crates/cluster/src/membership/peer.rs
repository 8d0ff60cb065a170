//! What this node has seen of one other node, and how it judges that.

use std::time::Duration;

use foca::State;
use kvorum_core::Mono;

use super::incarnation::Incarnation;
use super::window::Window;
use super::{Path, Standing};

/// How many questions to a peer may be without an answer before the oldest is forgotten.
const OPEN_QUESTIONS: usize = 4;

/// How patient a node is with the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// A node that gave a sign of life this recently is alive, whatever the SWIM protocol says.
    pub(super) fresh: Duration,
    /// A node that was silent for this long is asked on all paths.
    pub(super) quiet: Duration,
    /// A question is answered within this, or was asked in vain.
    pub(super) answer: Duration,
    /// A node that was doubted, and silent, for this long is voted down.
    pub(super) down: Duration,
    /// A path that was silent for this long may be blocked.
    pub(super) path: Duration,
}

/// One other node.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) window: Window,
    /// The latest incarnation it has spoken as.
    pub(super) incarnation: Incarnation,
    /// What the SWIM protocol says.
    pub(super) swim: Option<State>,
    pub(super) standing: Standing,
    /// A stream with it is up.
    pub(super) connected: bool,
    /// When this node began to look after it.
    begun: Mono,
    /// The last sign of life: an answer, or a frame of a stream. A datagram that answers nothing
    /// is none, because its sender may be deaf.
    alive: Option<Mono>,
    /// The last answer that came by UDP.
    answered_by_udp: Option<Mono>,
    /// The last of anything it has sent, in milliseconds since 1970; zero for never.
    pub(super) seen_ms: u64,
    /// Since when it has not been alive.
    doubted: Option<Mono>,
    /// The first question since the last sign of life, and the first one through the stream.
    asked: Option<Mono>,
    asked_by_stream: Option<Mono>,
    questions: Vec<(u64, Mono)>,
    /// When it was last invited to take part.
    invited: Option<Mono>,
    /// How many questions it has answered.
    pub(super) answers: u64,
}

impl Peer {
    pub(super) fn new(now: Mono) -> Peer {
        Peer {
            window: Window::default(),
            incarnation: Incarnation::default(),
            swim: None,
            standing: Standing::Suspect,
            connected: false,
            begun: now,
            alive: None,
            answered_by_udp: None,
            seen_ms: 0,
            doubted: Some(now),
            asked: None,
            asked_by_stream: None,
            questions: Vec::new(),
            invited: None,
            answers: 0,
        }
    }

    /// It gave a sign of life.
    pub(super) fn alive_at(&mut self, at: Mono) {
        if self.alive < Some(at) {
            self.alive = Some(at);
            self.asked.take_if(|asked| *asked <= at);
            self.asked_by_stream.take_if(|asked| *asked <= at);
        }
    }

    /// It is asked for an answer that repeats `token`, also through its stream or not.
    pub(super) fn ask(&mut self, token: u64, by_stream: bool, at: Mono) {
        self.asked.get_or_insert(at);
        if by_stream {
            self.asked_by_stream.get_or_insert(at);
        }
        if self.questions.len() == OPEN_QUESTIONS {
            self.questions.remove(0);
        }
        self.questions.push((token, at));
    }

    /// It has answered; when it was asked that.
    pub(super) fn answered(&mut self, token: u64, path: Path, at: Mono) -> Option<Mono> {
        let place = self.questions.iter().position(|(asked, _)| *asked == token)?;
        let (_, asked) = self.questions.remove(place);
        self.answers += 1;
        self.alive_at(at);
        if path == Path::Udp {
            self.answered_by_udp = Some(at);
        }
        Some(asked)
    }

    /// For how long there was no sign of life.
    pub(super) fn silence(&self, now: Mono) -> Duration {
        now.since(self.alive.unwrap_or(self.begun))
    }

    /// Whether what is sent by UDP may not arrive, or not come back, although a stream does.
    pub(super) fn needs_stream(&self, now: Mono, patience: &Patience) -> bool {
        let by_udp = now.since(self.answered_by_udp.unwrap_or(self.begun));
        self.connected && by_udp >= patience.path
    }

    /// Whether the SWIM protocol counts it in.
    pub(super) fn takes_part(&self) -> bool {
        matches!(self.swim, Some(State::Alive | State::Suspect))
    }

    /// Whether it is time to invite it; notes that it is done.
    pub(super) fn may_be_invited(&mut self, at: Mono, interval: Duration) -> bool {
        let due = self.invited.is_none_or(|invited| at.since(invited) >= interval);
        if due {
            self.invited = Some(at);
        }
        due
    }

    /// Whether it is alive: in the eyes of the SWIM protocol, or because it was heard just now.
    pub(super) fn is_alive(&self, now: Mono, patience: &Patience) -> bool {
        let fresh = self.alive.is_some_and(|at| now.since(at) < patience.fresh);
        self.swim == Some(State::Alive) || fresh
    }

    /// Takes note of whether it is alive. It is down, once it is, until it is alive again.
    pub(super) fn note(&mut self, alive: bool, now: Mono) -> Standing {
        if alive {
            self.doubted = None;
            Standing::Alive
        } else {
            self.doubted.get_or_insert(now);
            if self.standing == Standing::Down { Standing::Down } else { Standing::Suspect }
        }
    }

    /// Whether this node votes it down: doubted for long, and itself asked in vain.
    pub(super) fn is_voted_down(&self, now: Mono, patience: &Patience) -> bool {
        self.doubted.is_some_and(|since| now.since(since) >= patience.down)
            && self.asked.is_some_and(|asked| now.since(asked) >= patience.answer)
            && self.silence(now) >= patience.down
    }

    /// Whether it left a question in its stream without an answer: if it is not alive either, the
    /// stream leads nowhere.
    pub(super) fn is_mute(&self, now: Mono, patience: &Patience) -> bool {
        self.connected
            && self.asked_by_stream.is_some_and(|asked| now.since(asked) >= patience.answer)
    }
}
