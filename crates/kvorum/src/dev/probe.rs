//! Asks a node over HTTP whether it is ready.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns once the node at `http` (`host:port`) answers `/readyz` with 200.
pub async fn until_ready(http: &str) {
    while !is_ready(http).await {
        time::sleep(INTERVAL).await;
    }
}

async fn is_ready(http: &str) -> bool {
    let answer = time::timeout(TIMEOUT, ask(http)).await;
    matches!(answer, Ok(Ok(head)) if says_ok(&head))
}

/// The first bytes of the answer. One request per connection needs no more of HTTP than this.
async fn ask(http: &str) -> io::Result<[u8; 16]> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    Ok(head)
}

/// Whether a status line (RFC 9112, section 4) says 200.
fn says_ok(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.") && head.get(8..13) == Some(b" 200 ")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_status_200_means_ready() {
        assert!(says_ok(b"HTTP/1.1 200 OK\r"));
        assert!(!says_ok(b"HTTP/1.1 503 Serv"));
        assert!(!says_ok(b"-ERR unknown 200 "));
    }

    #[tokio::test]
    async fn a_node_is_ready_when_it_says_so_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        until_ready(&http).await;
        server.await.unwrap();
    }
}
