//! The systems under test: started, awaited, their CPU time read, stopped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long a system may take to serve.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The kernel reports CPU time in ticks of this length to programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running system; stopped when dropped.
pub(crate) struct Server {
    /// Where clients connect that use one of its nodes.
    pub(crate) port: u16,
    /// Where clients connect that are spread over its nodes.
    pub(crate) ports: Vec<u16>,
    children: Vec<Child>,
}

impl Server {
    /// Three nodes of the release build (or of the binary that `KVORUM_BIN` names) with these flags,
    /// every write synced on a majority.
    pub(crate) fn cluster(root: &Path, folder: &Path, flags: &[&str]) -> Result<Server> {
        let offset = free_offset()?;
        let mut command = Command::new(binary(root)?);
        command.args(["dev", "--nodes", "3", "--base-port-offset", &offset.to_string()]);
        command.arg("--data-dir").arg(folder).arg("--").args(flags);
        let server = Server::start(6379 + offset, command, folder)?;
        for http in [8001, 8002, 8003] {
            await_answer(http + offset, "GET /readyz HTTP/1.0\r\n\r\n", "200 OK")?;
        }
        Ok(server)
    }

    /// One redis-server that syncs every write before it answers.
    pub(crate) fn redis(folder: &Path) -> Result<Server> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--dir"]).arg(folder);
        let server = Server::start(port, command, folder)?;
        await_answer(port, "PING\r\n", "PONG")?;
        Ok(server)
    }

    /// Three members of etcd, which syncs every write on a majority.
    pub(crate) fn etcd(folder: &Path) -> Result<Server> {
        let mut ports = [0; 6];
        for port in &mut ports {
            *port = free_port()?;
        }
        let [a, b, c, peers @ ..] = ports;
        let clients = [a, b, c];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let members = || clients.into_iter().zip(peers);
        let named = members().map(|(client, peer)| format!("m{client}={}", url(peer)));
        let cluster = named.collect::<Vec<_>>().join(",");
        let mut server = Server { port: a, ports: clients.to_vec(), children: Vec::new() };
        for (client, peer) in members() {
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{client}"), "--initial-cluster", &cluster]);
            command.args(["--listen-client-urls", &url(client)]);
            command.args(["--advertise-client-urls", &url(client)]);
            command.args(["--listen-peer-urls", &url(peer)]);
            command.args(["--initial-advertise-peer-urls", &url(peer)]);
            command.args(["--logger", "zap", "--log-level", "error", "--data-dir"]);
            let folder = folder.join(client.to_string());
            command.arg(&folder);
            server.children.push(spawn(command, &folder).context("Debian: etcd-server")?);
        }
        for port in clients {
            await_answer(port, "GET /health HTTP/1.0\r\n\r\n", "true")?;
        }
        Ok(server)
    }

    fn start(port: u16, command: Command, folder: &Path) -> Result<Server> {
        let children = vec![spawn(command, folder)?];
        Ok(Server { port, ports: vec![port], children })
    }

    /// Where a node of the cluster speaks the Redis protocol.
    pub(crate) fn resp_port(&self, node: u32) -> Result<u16> {
        Ok(self.port + u16::try_from(node)? - 1)
    }

    /// Where a node of the cluster speaks HTTP.
    pub(crate) fn http_port(&self, node: u32) -> Result<u16> {
        Ok(self.resp_port(node)? - 6379 + 8001)
    }

    /// Kills a node of the cluster as `kill -9` does; `kvorum dev` starts it again.
    pub(crate) fn kill(&self, node: u32) -> Result<()> {
        let number = ["--node-num".to_owned(), node.to_string()];
        let parents = self.processes();
        for entry in fs::read_dir("/proc")?.flatten() {
            // Whatever cannot be read is not a process of ours, or has just ended.
            let read = |name| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let ours =
                Stat::parse(&read("stat")).is_some_and(|stat| parents.contains(&stat.parent));
            let words: Vec<String> = read("cmdline").split('\0').map(str::to_owned).collect();
            if ours && words.windows(2).any(|pair| *pair == number) {
                let id = entry.file_name();
                let killed = Command::new("kill").arg("-KILL").arg(id).status()?;
                ensure!(killed.success(), "node {node} cannot be killed");
                return Ok(());
            }
        }
        bail!("node {node} is not running")
    }

    fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// CPU seconds, user and system, that its processes have used so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let ours = self.processes();
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            // A process may end between the listing and the reading; it is not one of ours then.
            let Ok(text) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let stat = Stat::parse(&text).with_context(|| format!("reading the state of {id}"))?;
            if ours.contains(&id) || ours.contains(&stat.parent) {
                ticks += stat.ticks;
            }
        }
        Ok(f64::from(u32::try_from(ticks)?) / TICKS_PER_SECOND)
    }
}

fn spawn(mut command: Command, folder: &Path) -> Result<Child> {
    fs::create_dir_all(folder)?;
    let log = File::create(folder.with_extension("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            let id = child.id().to_string();
            // SIGTERM lets `kvorum dev` stop its nodes; there is nobody to tell if that fails.
            let asked = Command::new("kill").args(["-TERM", &id]).status();
            if !asked.is_ok_and(|status| status.success()) {
                let _ = child.kill();
            }
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// A folder of our own on the disk that the build uses: temporary file systems often have none.
pub(crate) fn scratch_folder(purpose: &str) -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    let target = binary.parent().context("the program lies in a folder")?;
    let scratch = target.join(format!("{purpose}-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    Ok(scratch)
}

/// The binary that `KVORUM_BIN` names, or else the release build of what is below `root`.
pub(super) fn binary(root: &Path) -> Result<PathBuf> {
    match std::env::var_os("KVORUM_BIN") {
        Some(binary) => Ok(PathBuf::from(binary)),
        None => build(root),
    }
}

/// The release build of what is below `root`.
fn build(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "kvorum"])
        .current_dir(root)
        .status()
        .context("running cargo")?;
    ensure!(built.success(), "the release build failed");
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Ok(root.join(target).join("release/kvorum"))
}

/// What we need of `/proc/PID/stat` (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The name of the program, in parentheses, may contain anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let mut times = fields.skip(9);
        let user: u64 = times.next()?.parse().ok()?;
        let system: u64 = times.next()?.parse().ok()?;
        Some(Stat { parent, ticks: user + system })
    }
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(local(0))?.local_addr()?.port())
}

/// The first of so many ports that nobody uses now, and that the kernel does not hand out: a node
/// that was stopped finds its ports free when it starts again.
pub(super) fn free_block(ports: u16) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(local(port)).is_ok();
    let mut blocks = (24_000..30_000).step_by(usize::from(ports));
    blocks.find(|first| (0..ports).all(|port| free(first + port))).context("no free ports")
}

/// An offset at which three nodes find their ports free.
fn free_offset() -> Result<u16> {
    let free = |port: u16| TcpListener::bind(local(port)).is_ok();
    let mut offsets = (20..40).map(|hundreds| hundreds * 100);
    let all_free = |offset: &u16| {
        let bases = [6379, 7001, 8001, 50051, 51051];
        bases.iter().all(|base| (0..3).all(|node| free(base + offset + node)))
    };
    offsets.find(all_free).context("no free ports for three nodes")
}

/// Asks again and again until the answer contains `wanted`.
pub(super) fn await_answer(port: u16, question: &str, wanted: &str) -> Result<()> {
    let end = Instant::now() + START_TIMEOUT;
    while Instant::now() < end {
        if ask(port, question, wanted).unwrap_or(false) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("nothing on port {port} answered {wanted} within {START_TIMEOUT:?}")
}

/// All that a port answers until it closes the connection.
pub(super) fn answer(port: u16, question: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&local(port), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(question.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn ask(port: u16, question: &str, wanted: &str) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&local(port), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = [0_u8; 512];
    let length = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
    Ok(text.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_contain_anything() {
        let text = "42 (a) b (c)) S 7 1 1 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 1 0 1 1\n";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 200 }));
    }

    #[test]
    fn our_own_state_can_be_read() {
        let text = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(Stat::parse(&text).unwrap().parent > 0);
    }
}
