//! The front ends: Redis protocol, gRPC, HTTP; configuration and telemetry.
#![allow(dead_code, unused_imports)]

mod auth;
mod backend;
pub mod config;
mod data;
mod grpc;

pub mod resp;
