//! Who holds a port: read from `/proc`, where there is one.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.pid)
    }
}

/// The process that holds a local TCP port; nothing if it cannot be told (another user's process,
/// another system than Linux).
#[must_use]
pub fn holder_of(port: u16) -> Option<Holder> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_at(&table, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let holder = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|&pid| has_open(pid, &links))?;
    let program = fs::read_to_string(format!("/proc/{holder}/comm")).ok()?;
    Some(Holder { pid: holder, program: program.trim_end().to_owned() })
}

fn has_open(pid: u32, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|descriptor| {
        let target = fs::read_link(descriptor.path());
        target.is_ok_and(|target| links.iter().any(|link| target == Path::new(link)))
    })
}

/// The inodes of the sockets at a local port in a table of `proc(5)`, `/proc/net/tcp`: the second
/// column is `address:port` in hexadecimal, the tenth the inode (zero: nobody's any more).
fn inodes_at(table: &str, port: u16) -> Vec<u64> {
    let inode_at = |line: &str| {
        let mut columns = line.split_whitespace();
        let (_, local_port) = columns.nth(1)?.rsplit_once(':')?;
        let inode: u64 = columns.nth(7)?.parse().ok()?;
        let same = u16::from_str_radix(local_port, 16).ok()? == port;
        (same && inode != 0).then_some(inode)
    };
    table.lines().skip(1).filter_map(inode_at).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:18EB 0100007F:9C40 06 00000000:00000000 03:00000017 00000000     0        0 0 3
   2: 0100007F:18EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1
";

    #[test]
    fn the_table_of_sockets_is_read_by_port() {
        assert_eq!(inodes_at(TABLE, 6379), [4711]);
        assert_eq!(inodes_at(TABLE, 6380), [4712]);
        assert!(inodes_at(TABLE, 6381).is_empty());
        assert!(inodes_at("header\ngarbage", 1).is_empty());
    }

    #[test]
    fn the_holder_of_a_port_of_ours_is_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(holder_of(port).map(|holder| holder.pid), Some(std::process::id()));
    }
}
