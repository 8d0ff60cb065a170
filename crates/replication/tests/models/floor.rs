//! The floor: how promise, clean comparisons and commit let tombstones go for good.

mod properties;
mod rules;
mod state;

use stateright::{Model, Property};

use self::rules::{Step, World};
use self::state::{Fault, MEMBERS, Set, State, Version};
use crate::{bound, explore, find};

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// What is at or below the floor is taken.
    FloorRefusesNothing,
    /// Clients' writes at or below the promise are taken.
    PromiseRefusesNothing,
    /// A client's write at or below the promise is acknowledged if it is stored already.
    LateWritesAreAcknowledged,
    /// The promises of a majority are enough.
    RoundWithoutTheDown,
    /// One clean pair is enough.
    OneSessionForAll,
    /// A clean comparison counts for any promise, also a later one.
    SnapshotsBeforeThePromiseCount,
    /// A snapshot shows what a crash may take back.
    SnapshotsAreNotDurable,
    /// A snapshot counts though its member has lost its disk since.
    SnapshotsOfAFormerLifeCount,
    /// A commit is taken whatever log it names.
    CommitToAnotherLog,
    /// A rebuilding member stores before it knows floor and promise of the cover.
    RebuildWithoutFloor,
    /// A rebuilding member does not adopt the floors of its sources' pages.
    PageWithoutFloor,
    /// A rebuilding member keeps what its sources have purged.
    LeftoversAreKept,
    /// Every source tells what is left over, not one alone.
    LeftoversJudgedByAll,
}

/// Three members of a partition, and one key.
#[derive(Clone, Copy)]
struct Floor {
    /// How many writes clients send.
    writes: u8,
    /// Which of them are deletes; any if not said.
    deletes: Option<Set>,
    /// Up to which of them floors are proposed; any if not said.
    only_floor: Option<Version>,
    /// How often a member may lose its disk.
    losses: u8,
    /// How often a member may lose what is not durable.
    crashes: u8,
    /// How many snapshots may be older than what their member holds: none or one.
    snapshots: u8,
    mutation: Option<Mutation>,
}

impl Floor {
    fn new(losses: u8, crashes: u8, snapshots: u8) -> Floor {
        Floor {
            writes: bound("MODEL_WRITES", 2),
            deletes: None,
            only_floor: None,
            losses: bound("MODEL_LOSSES", losses),
            crashes: bound("MODEL_CRASHES", crashes),
            snapshots: bound("MODEL_SNAPSHOTS", snapshots),
            mutation: None,
        }
    }

    /// A put, and the delete that follows.
    const fn put_and_delete(self) -> Floor {
        Floor { deletes: Some(0b10), ..self }
    }

    const fn only_floor(self, floor: Version) -> Floor {
        Floor { only_floor: Some(floor), ..self }
    }

    const fn without(self, mutation: Mutation) -> Floor {
        Floor { mutation: Some(mutation), ..self }
    }

    fn after(&self, before: &State, action: Action) -> Option<State> {
        let Action { step, shows } = action;
        let mut world = World { state: *before, mutation: self.mutation };
        if let Some(member) = shows
            && !world.show(member)
        {
            return None;
        }
        let shown = world.state;
        world.step(step);
        if world.state == shown {
            return None;
        }
        let mut state = world.state;
        let lost = matches!(step, Step::Lose(..));
        for (before, after) in before.members.iter().zip(&state.members) {
            if !lost && (after.floor < before.floor || after.promise < before.promise) {
                state.fault = Fault::WentBack;
            }
        }
        Some(state)
    }

    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        let versions = || 1..=self.writes;
        let readings =
            || versions().filter(|reading| self.only_floor.is_none_or(|only| only == *reading));
        for member in 0..MEMBERS {
            steps.extend(versions().map(|version| Step::Write(version, member)));
            steps.extend(versions().map(|version| Step::Repair(version, member)));
            if state.crashes < self.crashes {
                steps.extend(versions().map(|version| Step::RepairInVain(version, member)));
            }
            steps.extend([Step::Crash(member), Step::Purge(member), Step::CompareLate(member)]);
            steps.extend(readings().map(|reading| Step::Promise(reading, member)));
            steps.extend(readings().map(|reading| Step::Commit(reading, member)));
            for other in (0..MEMBERS).filter(|&other| other != member) {
                steps.extend([Step::Adopt(member, other), Step::Compare(member, other)]);
                steps.extend([Step::Ask(member, other), Step::Page(member, other)]);
            }
            if state.losses < self.losses {
                steps.extend((0..=self.writes).map(|image| Step::Lose(image, member)));
            }
        }
        steps
    }
}

/// A step, and whether a snapshot leaves the member that it changes just before. Showing changes no member, so
/// it may as well be done at the last moment before it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Action {
    step: Step,
    shows: Option<usize>,
}

impl Model for Floor {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let any = || (0..1 << self.writes).map(State::new).collect();
        self.deletes.map_or_else(any, |deletes| vec![State::new(deletes)])
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for step in self.steps(state) {
            actions.push(Action { step, shows: None });
            let shows = step.changes_what_is_shown();
            if shows.is_some() && self.snapshots > 0 {
                actions.push(Action { step, shows });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.after(state, action)
    }

    fn properties(&self) -> Vec<Property<Floor>> {
        use self::properties as p;
        vec![
            Property::always(p::DELETED_STAYS_DELETED, |_, state| p::deleted_stays_deleted(state)),
            Property::always(p::ACKNOWLEDGED_IS_KEPT, |_, state| p::acknowledged_is_kept(state)),
            Property::always(p::NOTHING_BELOW_THE_FLOOR, |_, state| {
                p::nothing_below_the_floor(state)
            }),
            Property::always(p::FLOOR_BELOW_PROMISE, |_, state| p::floor_below_promise(state)),
            Property::always(p::NEVER_BACK, |_, state| p::never_back(state)),
            Property::sometimes("a delete is purged", |_, state| p::delete_is_purged(state)),
            Property::sometimes("a write is late", |_, state| p::write_is_late(state)),
            Property::sometimes("a repair is below the floor", |_, state| {
                p::repair_is_below_the_floor(state)
            }),
            Property::sometimes("a member is rebuilt", |model: &Floor, state: &State| {
                model.losses == 0 || p::member_is_rebuilt(state)
            }),
            Property::sometimes("a leftover is found", |model: &Floor, state: &State| {
                model.losses == 0 || p::leftover_is_found(state)
            }),
        ]
    }
}

#[test]
fn a_member_may_crash_and_messages_be_late() {
    explore("floor: a crash, late snapshots", Floor::new(0, 1, 1));
}

#[test]
fn a_disk_may_be_lost() {
    explore("floor: a lost disk", Floor::new(1, 0, 0));
}

#[test]
fn a_disk_may_be_lost_while_snapshots_are_under_way() {
    explore(
        "floor: a lost disk, late snapshots, the first floor",
        Floor::new(1, 0, 1).only_floor(1),
    );
    explore(
        "floor: a lost disk, late snapshots, the second floor",
        Floor::new(1, 0, 1).only_floor(2),
    );
}

#[test]
fn every_rule_of_the_floor_is_needed() {
    use self::properties as p;
    use Mutation as M;
    let calm = Floor::new(0, 0, 0).put_and_delete();
    let crash = Floor::new(0, 1, 0).put_and_delete();
    let loss = Floor::new(1, 0, 0).put_and_delete();
    let late = Floor::new(1, 0, 1).put_and_delete();
    for (mutation, model, violated) in [
        (M::FloorRefusesNothing, calm, p::DELETED_STAYS_DELETED),
        (M::PromiseRefusesNothing, calm, p::DELETED_STAYS_DELETED),
        (M::LateWritesAreAcknowledged, loss.only_floor(2), p::DELETED_STAYS_DELETED),
        (M::RoundWithoutTheDown, calm, p::DELETED_STAYS_DELETED),
        (M::OneSessionForAll, calm, p::DELETED_STAYS_DELETED),
        (M::SnapshotsBeforeThePromiseCount, calm, p::DELETED_STAYS_DELETED),
        (M::SnapshotsAreNotDurable, crash, p::DELETED_STAYS_DELETED),
        (M::CommitToAnotherLog, loss, p::FLOOR_BELOW_PROMISE),
        (M::RebuildWithoutFloor, loss, p::FLOOR_BELOW_PROMISE),
        (M::PageWithoutFloor, loss.only_floor(2), p::DELETED_STAYS_DELETED),
        (M::LeftoversAreKept, loss.only_floor(2), p::DELETED_STAYS_DELETED),
        (M::LeftoversJudgedByAll, loss.only_floor(1), p::ACKNOWLEDGED_IS_KEPT),
        (M::SnapshotsOfAFormerLifeCount, late.only_floor(1), p::FLOOR_BELOW_PROMISE),
    ] {
        let name = format!("floor without a rule: {mutation:?}");
        find(&name, model.without(mutation), violated);
    }
}
