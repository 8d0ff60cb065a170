//! Binding ports, and saying clearly which setting is at fault if that fails.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::{TcpListener, UdpSocket};

/// A listener could not be bound. Starting again will not help before the setting or the machine
/// changes.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("port {} on {} ({setting}) is in use by another process", address.port(), address.ip())]
    Busy {
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: &'static str,
    },
    /// The system does not allow it.
    #[error("port {} on {} ({setting}) cannot be bound: {why}", address.port(), address.ip())]
    Refused {
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: &'static str,
        /// What the system says.
        why: io::Error,
    },
}

/// Binds a listener.
///
/// # Errors
/// [`ListenError`] names the port and its setting.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|why| failed(address, setting, why))
}

/// Binds a socket for datagrams.
///
/// # Errors
/// [`ListenError`] names the port and its setting.
pub async fn bind_udp(
    address: SocketAddr,
    setting: &'static str,
) -> Result<UdpSocket, ListenError> {
    UdpSocket::bind(address).await.map_err(|why| failed(address, setting, why))
}

fn failed(address: SocketAddr, setting: &'static str, why: io::Error) -> ListenError {
    match why.kind() {
        ErrorKind::AddrInUse => ListenError::Busy { address, setting },
        _ => ListenError::Refused { address, setting, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_named_with_its_setting() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "http_port").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "http_port").await.unwrap_err().to_string();
        let port = address.port();
        let expected = format!("port {port} on 127.0.0.1 (http_port) is in use by another process");
        assert_eq!(error, expected);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let address = "192.0.2.1:1".parse().unwrap();
        let error = bind(address, "grpc_port").await.unwrap_err().to_string();
        assert!(error.starts_with("port 1 on 192.0.2.1 (grpc_port) cannot be bound: "), "{error}");
    }
}
