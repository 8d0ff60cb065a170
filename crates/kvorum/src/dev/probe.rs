//! Asks a node over HTTP whether it is ready, and whom it sees.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(2);
/// No answer that matters here is longer, in bytes.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Returns once the node at `http` (`host:port`) answers `/readyz` with 200.
pub async fn until_ready(http: &str) {
    while !is_ready(http).await {
        time::sleep(INTERVAL).await;
    }
}

/// Returns once the node at `http` is connected to so many nodes, itself among them.
pub async fn until_connected(http: &str, nodes: usize) {
    while members(http).await != Some(nodes) {
        time::sleep(INTERVAL).await;
    }
}

async fn is_ready(http: &str) -> bool {
    ask(http, "/readyz").await.is_some()
}

/// How many nodes the one at `http` says are connected.
async fn members(http: &str) -> Option<usize> {
    let body = ask(http, "/membership").await?;
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).ok()?;
    Some(members.len())
}

/// The body of the answer, if there is one in time and its status is 200.
async fn ask(http: &str, path: &str) -> Option<Vec<u8>> {
    let answer = time::timeout(TIMEOUT, exchange(http, path)).await.ok()?.ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body = answer.get(end + 4..)?.to_vec();
    says_ok(&answer).then_some(body)
}

/// One request per connection needs no more of HTTP than this.
async fn exchange(http: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
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

    /// Answers one request after the other, each with a status and a body.
    async fn answer(listener: TcpListener, path: &str, answers: [(&str, &str); 2]) {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(format!("GET {path} HTTP/1.1\r\n").as_bytes()));
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{answer}{body}").as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_node_is_ready_when_it_says_so_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap().to_string();
        let answers = [("503 Service Unavailable", ""), ("200 OK", "")];
        let server = tokio::spawn(answer(listener, "/readyz", answers));
        until_ready(&http).await;
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_node_is_connected_when_it_sees_all_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap().to_string();
        let answers = [("200 OK", r#"{"node-1":{}}"#), ("200 OK", r#"{"node-1":{},"node-2":{}}"#)];
        let server = tokio::spawn(answer(listener, "/membership", answers));
        until_connected(&http, 2).await;
        server.await.unwrap();
    }
}
