//! Several replicas with stores in memory, under scripts and under random schedules.

mod histories;
mod scripts;
mod text;
mod world;
