//! Several replicas with stores in memory, under scripts and under random schedules.

mod histories;
mod scripts;
mod store;
mod text;
mod world;
