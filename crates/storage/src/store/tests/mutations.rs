//! Each rule, left out, is noticed: otherwise the tests would not test it.

use super::commits::removed_for_good;
use super::crashes::{eventful_life, every_call};
use super::damage::{
    bad_checkpoint_is_replaced, checkpoint_is_read_back, flipped_bit, moved_never_creates,
    verdict_stands,
};
use super::promises::promises_are_kept;
use super::rig::small;
use super::space::{deletes_go_on, fills_and_empties};
use crate::{Mutation, Options};

fn without(rule: Mutation) -> Options {
    Options { mutation: Some(rule), scrub_bytes_per_second: u64::MAX, ..small() }
}

/// Asserts that one of the properties notices that the rule is missing, and says which.
fn noticed(rule: Mutation) -> String {
    let options = without(rule);
    for number in 0..200 {
        if let Err(violation) = eventful_life(&options, number, 800) {
            return violation;
        }
        if let Err(violation) = flipped_bit(&options, number) {
            return violation;
        }
        if let Some(Err(violation)) = (number < 2).then(|| every_call(&options, number, 200)) {
            return violation;
        }
    }
    panic!("nobody misses {rule:?}");
}

macro_rules! missed {
    ($($name:ident: $rule:ident,)+) => {
        $(
            #[test]
            fn $name() {
                println!("{}: {}", stringify!($rule), noticed(Mutation::$rule));
            }
        )+
    };
}

missed! {
    a_frame_without_a_sync_is_noticed: SkipSync,
    a_segment_without_a_durable_name_is_noticed: SkipDirectorySync,
    frames_of_former_lives_are_noticed: ConstantEpoch,
    trust_in_what_could_merely_be_read_is_noticed: TrustUnproved,
    a_repeated_start_number_is_noticed: RepeatStart,
    a_segment_freed_before_its_copies_are_durable_is_noticed: FreeBeforeCopies,
    a_segment_freed_above_the_checkpoint_is_noticed: FreeAboveCheckpoint,
    a_checkpoint_newer_than_the_log_is_noticed: CheckpointAheadOfLog,
    an_old_checkpoint_deleted_first_is_noticed: DropCheckpointFirst,
    a_copy_of_a_dead_record_is_noticed: CopyDead,
    values_taken_on_trust_are_noticed: TrustValues,
    corrupt_records_dropped_by_compaction_are_noticed: DropCorrupt,
    records_shown_before_they_are_durable_are_noticed: RevealPending,
    a_commit_made_in_part_is_noticed: CommitInPart,
    removals_that_replay_forgets_are_noticed: ForgetRemovals,
    a_segment_freed_before_a_removal_is_durable_is_noticed: FreeBeforeRemovals,
    a_replaced_record_left_in_the_sums_is_noticed: KeepReplaced,
}

#[test]
fn holes_taken_for_tails_are_noticed() {
    assert!(verdict_stands(&without(Mutation::HolesAreTails)).is_err());
}

#[test]
fn a_forgotten_verdict_is_noticed() {
    assert!(verdict_stands(&without(Mutation::ForgetVerdict)).is_err());
}

#[test]
fn a_verdict_voided_early_is_noticed() {
    // Scrub would find the damage too, and ask for the checkpoint that is missed here.
    let options = Options { scrub_bytes_per_second: 0, ..without(Mutation::VoidVerdictEarly) };
    assert!(verdict_stands(&options).is_err());
}

#[test]
fn a_checkpoint_read_back_from_the_cache_is_noticed() {
    assert!(checkpoint_is_read_back(&without(Mutation::ReadBackCache)).is_err());
}

#[test]
fn a_bad_checkpoint_left_as_it_is_is_noticed() {
    assert!(bad_checkpoint_is_replaced(&without(Mutation::KeepBadCheckpoint)).is_err());
}

#[test]
fn moved_records_that_create_keys_are_noticed() {
    assert!(moved_never_creates(&without(Mutation::MovedCreates)).is_err());
    assert!(removed_for_good(&without(Mutation::MovedCreates)).is_err());
}

#[test]
fn deletes_without_room_of_their_own_are_noticed() {
    let options = without(Mutation::NoRoomForDeletes);
    let options = Options { segment_bytes: 256 << 10, max_disk_bytes: 32 << 18, ..options };
    assert!(deletes_go_on(&options).is_err());
}

#[test]
fn records_taken_without_space_are_noticed() {
    assert!(fills_and_empties(&without(Mutation::IgnoreSpace)).is_err());
    assert!(promises_are_kept(&without(Mutation::IgnoreSpace), 100, 1000).is_err());
}
