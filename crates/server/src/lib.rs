//! The front ends: Redis protocol, gRPC, HTTP; configuration and telemetry.
#![allow(dead_code, unused_imports)]

mod auth;
mod backend;
pub mod config;
mod data;
mod grpc;
mod http;
pub mod resp;
mod telemetry;
