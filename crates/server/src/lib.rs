//! The front ends: Redis protocol, gRPC, HTTP; configuration and telemetry.

mod auth;
mod backend;
mod data;
