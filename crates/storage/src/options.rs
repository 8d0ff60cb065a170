//! What can be configured, and which configurations make sense.

use kvorum_core::limits;

use crate::error::OpenError;
use crate::log::{BLOCK, RECORD_HEADER};

/// How a store is laid out and limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of a segment file in bytes, a multiple of 4096, 64 KiB to 1 GiB. A turn's frame
    /// holds at most a quarter of it.
    pub segment_bytes: u32,
    /// The longest value in bytes, at most [`limits::HARD_MAX_VALUE`].
    pub max_value: usize,
    /// How much memory the index may take before new keys are refused, in bytes.
    pub index_limit_bytes: u64,
    /// How much disk space all files together may take, in bytes; zero for what the disk has.
    pub max_disk_bytes: u64,
    /// A checkpoint is written after this many bytes of log, or after as many as the last
    /// checkpoint had if that is more.
    pub checkpoint_min_bytes: u64,
    /// Compaction begins when this share of the log (in percent, 1 to 99) is dead.
    pub compaction_dead_percent: u8,
    /// How many bytes of moved records compaction adds to one turn's frame, beside twice what the
    /// turn before added to the log.
    pub compaction_turn_bytes: u32,
    /// How fast old segments are read again to verify them, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
    /// Leaves out one rule, to prove that the tests would notice.
    #[cfg(any(test, feature = "mutations"))]
    pub mutation: Option<Mutation>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            max_value: limits::DEFAULT_MAX_VALUE,
            index_limit_bytes: 4 << 30,
            max_disk_bytes: 0,
            checkpoint_min_bytes: 256 << 20,
            compaction_dead_percent: 40,
            compaction_turn_bytes: 64 << 10,
            scrub_bytes_per_second: 4 << 20,
            #[cfg(any(test, feature = "mutations"))]
            mutation: None,
        }
    }
}

impl Options {
    /// Checks the options against their ranges and against each other.
    ///
    /// # Errors
    /// [`OpenError::Options`] that names the setting and the range.
    pub fn validate(&self) -> Result<(), OpenError> {
        let refuse = |text: String| Err(OpenError::Options(text));
        let segment = self.segment_bytes as usize;
        if !segment.is_multiple_of(BLOCK) || !(64 << 10..=1 << 30).contains(&segment) {
            return refuse(format!(
                "segment_bytes is {segment}; it must be a multiple of {BLOCK} from 64 KiB to 1 GiB"
            ));
        }
        if self.max_value > limits::HARD_MAX_VALUE {
            let (value, limit) = (self.max_value, limits::HARD_MAX_VALUE);
            return refuse(format!("max_value is {value}; the limit is {limit}"));
        }
        if self.max_value + limits::MAX_KEY + RECORD_HEADER > self.frame_bytes() {
            return refuse(format!(
                "a value of max_value ({}) does not fit into a quarter of segment_bytes ({segment})",
                self.max_value
            ));
        }
        if !(1..=99).contains(&self.compaction_dead_percent) {
            let percent = self.compaction_dead_percent;
            return refuse(format!("compaction_dead_percent is {percent}; it must be 1 to 99"));
        }
        let least = u64::from(self.segment_bytes) * 8;
        if self.max_disk_bytes != 0 && self.max_disk_bytes < least {
            let limit = self.max_disk_bytes;
            return refuse(format!("max_disk_bytes is {limit}; eight segments take {least}"));
        }
        Ok(())
    }

    /// How many bytes of records a frame may hold.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.segment_bytes as usize / 4
    }

    /// Whether a rule is left out; always false in the product.
    #[cfg(any(test, feature = "mutations"))]
    pub(crate) fn lacks(&self, rule: Mutation) -> bool {
        self.mutation == Some(rule)
    }
}

/// Asks whether a rule is left out; compiles to `false` in the product.
macro_rules! lacks {
    ($options:expr, $rule:ident) => {{
        #[cfg(any(test, feature = "mutations"))]
        let lacking = $options.lacks($crate::options::Mutation::$rule);
        #[cfg(not(any(test, feature = "mutations")))]
        let lacking = {
            let _ = &$options;
            false
        };
        lacking
    }};
}
pub(crate) use lacks;

/// A rule that can be left out, to prove that the tests would notice.
#[cfg(any(test, feature = "mutations"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A frame counts as durable without a sync.
    SkipSync,
    /// A new segment's name is not synced before its first frame.
    SkipDirectorySync,
    /// Every life of every segment has the same epoch, so frames of former lives verify.
    ConstantEpoch,
    /// Recovery counts the last frame as durable because it could be read.
    TrustUnproved,
    /// Recovery takes every hole of the last segment for a torn tail.
    HolesAreTails,
    /// Recovery forgets an earlier verdict.
    ForgetVerdict,
    /// Every start uses the same start number.
    RepeatStart,
    /// A segment is freed before the copies of its records are durable.
    FreeBeforeCopies,
    /// A segment is freed although its newest record is not below the checkpoint.
    FreeAboveCheckpoint,
    /// A checkpoint becomes valid before the log is durable up to it.
    CheckpointAheadOfLog,
    /// The old checkpoint is deleted before the new one is complete.
    DropCheckpointFirst,
    /// Replay of a moved record creates keys that are not there.
    MovedCreates,
    /// Compaction does not look again whether a record is still live when it copies it.
    CopyDead,
    /// Values are returned without looking at their checksum.
    TrustValues,
    /// Compaction drops live records that fail their checksum.
    DropCorrupt,
    /// A record that is not durable does not say so.
    RevealPending,
    /// Records are taken however little space is left.
    IgnoreSpace,
    /// Values are taken until deletes have only the room of compaction left.
    NoRoomForDeletes,
    /// A new checkpoint is read back from the cache, not from the device.
    ReadBackCache,
    /// A checkpoint that scrub finds damaged is left as it is.
    KeepBadCheckpoint,
    /// The verdict is voided while the log that a start replays is still damaged.
    VoidVerdictEarly,
    /// A commit begins in a frame that has no room for all of it.
    CommitInPart,
    /// Replay does not remove what was removed.
    ForgetRemovals,
    /// A segment is freed before the removal of what was in it is durable.
    FreeBeforeRemovals,
    /// The hash of a record that is replaced stays in the sums.
    KeepReplaced,
}

#[cfg(any(test, feature = "mutations"))]
impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 25] = [
        Mutation::SkipSync,
        Mutation::SkipDirectorySync,
        Mutation::ConstantEpoch,
        Mutation::TrustUnproved,
        Mutation::HolesAreTails,
        Mutation::ForgetVerdict,
        Mutation::RepeatStart,
        Mutation::FreeBeforeCopies,
        Mutation::FreeAboveCheckpoint,
        Mutation::CheckpointAheadOfLog,
        Mutation::DropCheckpointFirst,
        Mutation::MovedCreates,
        Mutation::CopyDead,
        Mutation::TrustValues,
        Mutation::DropCorrupt,
        Mutation::RevealPending,
        Mutation::IgnoreSpace,
        Mutation::NoRoomForDeletes,
        Mutation::ReadBackCache,
        Mutation::KeepBadCheckpoint,
        Mutation::VoidVerdictEarly,
        Mutation::CommitInPart,
        Mutation::ForgetRemovals,
        Mutation::FreeBeforeRemovals,
        Mutation::KeepReplaced,
    ];
}
