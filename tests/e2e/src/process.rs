//! A child process that is ended with the value that owns it.

use std::fs;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll::within;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(30);

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Process {
        let child = command.spawn();
        Process { child: child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")) }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, which must be a pipe that nobody has taken.
    ///
    /// # Panics
    /// It is none.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is a pipe")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// It has ended already.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal can be sent");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn wait(mut self) -> ExitStatus {
        within(GRACE, "the process ends", || self.ended())
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to stop, and waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// The physical memory it uses, in bytes.
    ///
    /// # Panics
    /// The system has no `/proc`, or the process has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the status of a live process can be read");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.expect("the status tells the memory") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; killing also ends a process that is stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process with this id exists and is more than an unburied corpse.
#[must_use]
pub fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_the_value_that_owns_it() {
        let process = Process::start(Command::new("sleep").arg("600"));
        let id = process.id();
        assert!(is_running(id));
        assert!(process.memory() > 0);
        process.signal(Signal::STOP);
        drop(process);
        assert!(!is_running(id));
    }

    #[test]
    fn a_process_that_is_asked_to_stop_tells_how_it_ended() {
        let process = Process::start(Command::new("sleep").arg("600"));
        assert_eq!(process.stop().code(), None, "ended by the signal");
        let process = Process::start(Command::new("sh").args(["-c", "exit 78"]));
        assert_eq!(process.wait().code(), Some(78));
    }
}
