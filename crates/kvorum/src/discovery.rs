//! How commands find the cluster that `kvorum dev` runs on this machine.
//!
//! `dev` holds a lock on its data directory for as long as it lives and keeps a description of
//! the cluster beside it. A description whose lock is free is a leftover and is ignored, so that
//! a `dev` that was killed misleads nobody.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where `dev` keeps its data unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "kvorum-data/dev";

const DESCRIPTION: &str = "dev.json";
const LOCK: &str = "dev.lock";
/// Names the data directory of the cluster that was started last, for commands typed elsewhere.
const NEWEST: &str = "newest";
/// Commands that look for a cluster hold its lock for an instant; `dev` waits that long.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A cluster on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCluster {
    /// The process that runs it.
    pub supervisor: u32,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// What was added to the default ports.
    pub base_port_offset: u16,
    /// Its nodes, by id.
    pub nodes: Vec<LocalNode>,
}

/// A node of a cluster on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNode {
    /// Its id.
    pub id: u32,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Redis protocol, `host:port`.
    pub resp: String,
    /// gRPC, `host:port`.
    pub grpc: String,
    /// HTTP, `host:port`.
    pub http: String,
}

/// The cluster that runs in `./kvorum-data/dev`, else the one that was started last by this user.
#[must_use]
pub fn find() -> Option<LocalCluster> {
    running_in(Path::new(DEFAULT_DATA_DIR)).or_else(|| {
        let newest = fs::read_to_string(runtime_dir().ok()?.join(NEWEST)).ok()?;
        running_in(Path::new(newest.trim_end()))
    })
}

/// The cluster that runs in a data directory.
fn running_in(data_dir: &Path) -> Option<LocalCluster> {
    let lock = File::open(data_dir.join(LOCK)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    serde_json::from_slice(&fs::read(data_dir.join(DESCRIPTION)).ok()?).ok()
}

/// The right to run a cluster in a data directory; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    data_dir: PathBuf,
    _lock: File,
}

/// Why a data directory could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another cluster runs there.
    #[error(
        "a cluster is already running in {}{}; stop it first or choose another --data-dir",
        data_dir.display(),
        supervisor.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    Taken {
        /// The data directory.
        data_dir: PathBuf,
        /// The process that runs it, if its description can be read.
        supervisor: Option<u32>,
    },
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {source}", data_dir.display())]
    Io {
        /// The data directory.
        data_dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Claim {
    /// Claims a data directory, which is created if need be.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take(data_dir: &Path) -> Result<Claim, ClaimError> {
        let io_error = |source| ClaimError::Io { data_dir: data_dir.to_owned(), source };
        fs::create_dir_all(data_dir).map_err(io_error)?;
        let data_dir = data_dir.canonicalize().map_err(io_error)?;
        let lock = File::create(data_dir.join(LOCK)).map_err(io_error)?;
        for attempt in 1.. {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(io_error(error)),
                Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let supervisor = running_in(&data_dir).map(|cluster| cluster.supervisor);
                    return Err(ClaimError::Taken { data_dir, supervisor });
                }
            }
        }
        Ok(Claim { data_dir, _lock: lock })
    }

    /// The claimed directory, as an absolute path.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Publishes a description of the cluster, in place of the one before.
    ///
    /// # Errors
    /// Those of the file system. The description is never half written.
    pub fn publish(&self, cluster: &LocalCluster) -> io::Result<()> {
        replace(&self.data_dir.join(DESCRIPTION), &serde_json::to_vec_pretty(cluster)?)
    }

    /// Makes this the cluster that commands find wherever they are typed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn make_newest(&self) -> io::Result<()> {
        let newest = runtime_dir()?.join(NEWEST);
        replace(&newest, self.data_dir.to_string_lossy().as_bytes())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock alone tells whether a cluster runs; a description that stays is ignored.
        let _ = fs::remove_file(self.data_dir.join(DESCRIPTION));
    }
}

/// The right to use a range of port offsets, between processes of `kvorum dev` that start at the
/// same time: a port that was seen free could otherwise be taken before the node binds it.
#[derive(Debug)]
pub struct PortReservation {
    _locks: Vec<File>,
}

impl PortReservation {
    /// Reserves the ports of `nodes` nodes from `offset` on; nothing if another process has one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(nodes: u32, offset: u16) -> io::Result<Option<PortReservation>> {
        PortReservation::take_in(&runtime_dir()?, nodes, offset)
    }

    fn take_in(directory: &Path, nodes: u32, offset: u16) -> io::Result<Option<PortReservation>> {
        let mut locks = Vec::new();
        for shift in u32::from(offset)..u32::from(offset) + nodes {
            let lock = File::create(directory.join(format!("offset-{shift}.lock")))?;
            match lock.try_lock() {
                Ok(()) => locks.push(lock),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Some(PortReservation { _locks: locks }))
    }
}

/// A directory for small files of this user's running processes.
fn runtime_dir() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(base) if Path::new(&base).is_dir() => Path::new(&base).join("kvorum"),
        _ => std::env::temp_dir().join(format!("kvorum-{user}")),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    // In a directory that everybody can write, somebody else may have made it first.
    if fs::symlink_metadata(&directory)?.uid() != user {
        let text = format!("{} belongs to another user", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(directory)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(data_dir: &Path) -> LocalCluster {
        let node = LocalNode {
            id: 1,
            pid: Some(7),
            resp: "127.0.0.1:6379".to_owned(),
            grpc: "127.0.0.1:50051".to_owned(),
            http: "127.0.0.1:8001".to_owned(),
        };
        LocalCluster {
            supervisor: 42,
            data_dir: data_dir.to_owned(),
            base_port_offset: 0,
            nodes: vec![node],
        }
    }

    #[test]
    fn a_claimed_directory_is_found_and_refused_to_others_until_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let claim = Claim::take(directory.path()).unwrap();
        assert_eq!(running_in(directory.path()), None);
        claim.publish(&cluster(directory.path())).unwrap();
        assert_eq!(running_in(directory.path()), Some(cluster(directory.path())));

        let refusal = Claim::take(directory.path()).unwrap_err().to_string();
        assert!(refusal.contains("already running"), "{refusal}");
        assert!(refusal.contains("(process 42)"), "{refusal}");

        drop(claim);
        assert_eq!(running_in(directory.path()), None);
        Claim::take(directory.path()).unwrap();
    }

    #[test]
    fn the_description_of_a_cluster_that_was_killed_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK), "").unwrap();
        let text = serde_json::to_vec(&cluster(directory.path())).unwrap();
        fs::write(directory.path().join(DESCRIPTION), text).unwrap();
        assert_eq!(running_in(directory.path()), None);
    }

    #[test]
    fn port_offsets_are_reserved_once() {
        let directory = tempfile::tempdir().unwrap();
        let take =
            |nodes, offset| PortReservation::take_in(directory.path(), nodes, offset).unwrap();
        let first = take(3, 100).unwrap();
        assert!(take(3, 102).is_none());
        assert!(take(3, 103).is_some());
        drop(first);
        assert!(take(3, 102).is_some());
    }
}
