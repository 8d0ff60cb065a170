//! Re-stamping and blocking read repair: why the later write wins, and reads never go back.

mod rules;
mod state;

use stateright::{Model, Property};

use self::rules::{Step, World};
use self::state::{Fault, MEMBERS, Stage, State};
use crate::{bound, explore, find};

const LATER_WRITE_WINS: &str =
    "E7: a write that begins after another was acknowledged, or shown, has the larger version";
const READ_SHOWS_WRITES: &str = "E3: a read shows what was acknowledged before it began";
const READS_NEVER_GO_BACK: &str = "E4: a read shows what a read before it showed";

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// "Superseded" counts in the first attempt.
    SupersededCountsAtOnce,
    /// Answers to the first attempt count for the second.
    FormerAnswersCount,
    /// A read is answered before a majority holds what it shows.
    RepairAfterTheAnswer,
}

/// Three replicas, and clients that write and read one key at QUORUM.
struct Restamp {
    writes: usize,
    reads: usize,
    /// How far the clocks are apart at first.
    clocks: Clocks,
    mutation: Option<Mutation>,
}

/// Which clocks are ahead of the others at first.
enum Clocks {
    /// Any of them, none, all.
    Any,
    /// That of the first write's coordinator: the worst case for the writes that follow.
    First,
}

impl Restamp {
    fn new(writes: u8, reads: u8, clocks: Clocks) -> Restamp {
        let writes = usize::from(bound("MODEL_WRITES", writes));
        let reads = usize::from(bound("MODEL_READS", reads));
        Restamp { writes, reads, clocks, mutation: None }
    }
}

impl Model for Restamp {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        const AHEAD: u8 = 2;
        let clock = |number: u8, member: u8| AHEAD * (number >> member & 1);
        let clocks = |number| State::new([clock(number, 0), clock(number, 1), clock(number, 2)]);
        match self.clocks {
            Clocks::Any => (0..1 << MEMBERS).map(clocks).collect(),
            Clocks::First => vec![clocks(0b001)],
        }
    }

    fn actions(&self, _state: &State, steps: &mut Vec<Step>) {
        for member in 0..MEMBERS {
            for write in 0..self.writes {
                steps.push(Step::Deliver(write, member));
                steps.extend([Step::DeliverFormer(write, member), Step::Count(write, member)]);
                steps.push(Step::CountFormer(write, member));
            }
            for read in 0..self.reads {
                steps.extend([Step::Tell(read, member), Step::Repair(read, member)]);
            }
        }
        steps.extend((0..self.writes).map(Step::Write));
        steps.extend((0..self.writes).map(Step::StampAgain));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut world = World { state: *state, mutation: self.mutation };
        world.step(step);
        (world.state != *state).then_some(world.state)
    }

    fn properties(&self) -> Vec<Property<Restamp>> {
        vec![
            Property::always(LATER_WRITE_WINS, |_, state: &State| {
                state.fault != Fault::LaterWriteLoses
            }),
            Property::always(READ_SHOWS_WRITES, |_, state: &State| {
                state.fault != Fault::ReadMissesWrite
            }),
            Property::always(READS_NEVER_GO_BACK, |_, state: &State| {
                state.fault != Fault::ReadGoesBack
            }),
            Property::sometimes("all writes are acknowledged", |model: &Restamp, state: &State| {
                let mut writes = state.writes.iter().take(model.writes);
                writes.all(|write| write.stage == Stage::Acknowledged)
            }),
        ]
    }
}

#[test]
fn later_writes_win_whatever_the_clocks_say() {
    explore("restamp: writes", Restamp::new(2, 0, Clocks::Any));
}

#[test]
fn reads_show_what_was_acknowledged_and_never_go_back() {
    explore("restamp: a write and reads", Restamp::new(1, 2, Clocks::Any));
    explore("restamp: writes and a read", Restamp::new(2, 1, Clocks::First));
}

#[test]
fn every_rule_of_restamping_is_needed() {
    use Mutation as M;
    for (mutation, writes, reads, violated) in [
        (M::SupersededCountsAtOnce, 2, 0, LATER_WRITE_WINS),
        (M::FormerAnswersCount, 2, 1, READ_SHOWS_WRITES),
        (M::RepairAfterTheAnswer, 1, 2, READS_NEVER_GO_BACK),
    ] {
        let model = Restamp::new(writes, reads, Clocks::First);
        let model = Restamp { mutation: Some(mutation), ..model };
        find(&format!("restamp without a rule: {mutation:?}"), model, violated);
    }
}
