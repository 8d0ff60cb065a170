//! The protocol buffers of kvorum and the conversions to its own types.
//!
//! **Invariant:** prost types stay in this crate, in the gRPC front end, in the peer streams of
//! `node` and in the client.

#![allow(missing_docs, clippy::all, clippy::indexing_slicing)]

pub mod kvorum {
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("kvorum.peer.v1");
        }
    }
}

/// The descriptors of all services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
