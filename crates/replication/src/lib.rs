//! What makes copies agree, without I/O: leaderless quorums (and Raft later).
