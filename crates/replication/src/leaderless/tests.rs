//! Several replicas with stores in memory, under scripts and under random schedules.

mod histories;
mod scripts;
mod sync;
mod text;
mod world;
