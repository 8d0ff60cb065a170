//! The front ends: Redis protocol, gRPC, HTTP; configuration and telemetry.
