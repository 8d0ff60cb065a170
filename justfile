# What people do here. `just` without a name lists everything; CONTRIBUTING.md says more.

_:
    @just --list --unsorted

# Start a three-node cluster on this machine.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Everything a change must pass.
ci:
    .ci/run

# What to run while writing: format, lints, tests.
check:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# Check the repository's own rules (also part of `cargo test`).
tidy *ARGS:
    cargo xtask tidy {{ARGS}}

# Simulate seeds of 60 virtual seconds each.
sim SEEDS="200" *ARGS:
    cargo run --release --package kvorum-sim -- --seeds {{SEEDS}} --seconds 60 {{ARGS}}

# Measure the cluster beside redis-server and etcd on this machine; writes docs/benchmarks.md.
bench *ARGS:
    cargo xtask bench {{ARGS}}

# Run redis-server's own test suite against a cluster (needs Debian's apt, and tcl).
redis-suite *ARGS:
    cargo xtask redis-suite {{ARGS}}

# Licences, duplicate versions, advisories (needs cargo-deny).
deny:
    cargo deny check
