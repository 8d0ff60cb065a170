//! The cluster that `kvorum dev` runs, driven through its JSON events.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::poll::PATIENCE;
use crate::process::Process;

/// A running `kvorum dev`. Dropping it kills it; its nodes die with it.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    events: mpsc::Receiver<Value>,
    directory: TempDir,
}

/// A node of such a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevNode {
    /// Its id.
    pub id: u32,
    /// Its process id.
    pub pid: u32,
    /// Its port of the Redis protocol.
    pub resp: u16,
    /// Its gRPC port.
    pub grpc: u16,
    /// Its HTTP port.
    pub http: u16,
}

/// Where all clusters of these tests, and no others, note what runs.
fn runtime_directory() -> PathBuf {
    let path = std::env::temp_dir().join("kvorum-e2e-runtime");
    fs::create_dir_all(&path).expect("a directory for what runs");
    path
}

impl DevNode {
    /// The node that an event describes.
    ///
    /// # Panics
    /// It describes none that runs.
    #[must_use]
    pub fn of(described: &Value) -> DevNode {
        let number =
            |name: &str| described[name].as_u64().and_then(|number| number.try_into().ok());
        let port = |name: &str| described[name].as_str()?.rsplit_once(':')?.1.parse().ok();
        let whole = || {
            Some(DevNode {
                id: number("id")?,
                pid: number("pid")?,
                resp: port("resp")?,
                grpc: port("grpc")?,
                http: port("http")?,
            })
        };
        whole().unwrap_or_else(|| panic!("no node: {described}"))
    }
}

impl Dev {
    /// Starts `kvorum dev` with these arguments, in an empty working directory.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Dev {
        let directory = tempfile::Builder::new().prefix("kvorum-e2e-dev-").tempdir();
        let directory = directory.expect("a temporary directory");
        let path = directory.path();
        let mut command = binary::command("dev");
        command.args(["--output", "json"]).args(arguments).current_dir(path);
        // What one leaves behind is seen; what several reserve they see of each other.
        command.env("TMPDIR", path).env("XDG_RUNTIME_DIR", runtime_directory());
        command.stdout(Stdio::piped()).stderr(File::create(path.join("stderr")).expect("a file"));
        let mut process = Process::start(&mut command);
        let stdout = process.take_stdout();
        let (sender, events) = mpsc::channel();
        // Ends with the process, whose death closes the pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line);
                let event = event.unwrap_or_else(|error| panic!("no event ({error}): {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Dev { process, events, directory }
    }

    /// Waits for the next event of this kind and returns it; others before it are passed over.
    ///
    /// # Panics
    /// There is none in time.
    pub fn event(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event =
                event.unwrap_or_else(|_| panic!("no event {kind:?}; {}", self.complaints()));
            if event.get("event").and_then(Value::as_str) == Some(kind) {
                return event;
            }
        }
    }

    fn complaints(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// Sends a signal to `kvorum dev` itself.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn wait(self) -> (ExitStatus, TempDir) {
        (self.process.wait(), self.directory)
    }
}
