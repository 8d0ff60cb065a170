//! Who is here and who owns what, without I/O: placement, founding, gossip.
//!
//! - [`placement`]: which nodes hold which partition, computed once and then stored as lists;
//! - [`peers`]: the list of peers an operator writes;
//! - [`founding`]: how blank nodes become a cluster exactly once, and how a node that comes back
//!   with less than it once acknowledged is found out;
//! - [`membership`]: who is alive, by gossip;
//! - [`clocks`]: whether this node's clock is the one that is wrong.
//!
//! What it deliberately is not: a source of truth that changes. The list of nodes is static until
//! a control plane exists.
//!
//! **Invariant:** nothing here reads a clock, draws a random number or does I/O; what must be
//! durable goes out as bytes, and is announced to others only after the driver has said that it is.

pub mod clocks;
mod codec;
pub mod founding;
pub mod membership;
pub mod peers;
pub mod placement;
