//! The protocol buffers of kvorum and the conversions to its own types.
//!
//! - [`kvorum::v1`]: the client's interface to data and cluster.
//! - [`kvorum::peer::v1`]: what nodes say to each other.
//! - [`kv`]: the services of the reference systems, merged into one package.
//! - [`convert`]: between those messages and the types of `kvorum-core`.
//! - [`DESCRIPTORS`] and [`methods`]: what all of them look like, for reflection and metrics.
//!
//! **Invariant:** prost types stay in this crate, in the gRPC front end, in the peer streams of
//! `node` and in the client.

pub mod convert;
mod descriptors;

pub use descriptors::{DESCRIPTORS, methods};

/// The package `kvorum`.
pub mod kvorum {
    /// The client's interface.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("kvorum.v1");
    }
    /// What nodes say to each other.
    pub mod peer {
        /// Its first version.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("kvorum.peer.v1");
        }
    }
}

/// The package `kv`: the services of the reference systems.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod kv {
    tonic::include_proto!("kv");
}
