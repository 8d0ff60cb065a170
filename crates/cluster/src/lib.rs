//! Who is here and who owns what, without I/O: placement, founding, liveness.
