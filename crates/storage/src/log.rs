//! The log's layout on disk: segments of frames of records.

pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod record;
pub(crate) mod segment;

/// The unit of alignment in bytes: an acknowledged block is never written again.
pub(crate) const BLOCK: usize = 4096;
/// Length of a record without its key and value.
pub(crate) const RECORD_HEADER: usize = record::HEADER;
/// The version of all formats of this crate.
pub(crate) const FORMAT: u32 = 1;
