//! A minimal client of the Redis protocol (RESP2): enough to generate load with.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::Unreachable;

use super::transport::{Command, Connect, Outcome};

/// A connection with its buffers.
#[derive(Debug)]
pub struct RespConnection {
    stream: TcpStream,
    output: Vec<u8>,
    input: BytesMut,
    timeout: Duration,
}

impl RespConnection {
    /// Connects, and sets the consistency of the connection.
    ///
    /// # Errors
    /// If that is not possible, or nobody answers in the Redis protocol.
    pub async fn connect(connect: &Connect) -> anyhow::Result<RespConnection> {
        let address = &connect.address;
        let stream = match timeout(connect.timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => bail!(Unreachable(format!("cannot connect to {address}: {error}"))),
            Err(_) => bail!(Unreachable(format!("no answer from {address}"))),
        };
        stream.set_nodelay(true)?;
        let mut connection = RespConnection {
            stream,
            output: Vec::new(),
            input: BytesMut::with_capacity(16 << 10),
            timeout: connect.timeout,
        };
        let level = connect.consistency.map(|level| level.to_string());
        match &level {
            Some(level) => {
                connection.call(&["KV.CONSISTENCY", "READ", level, "WRITE", level]).await
            }
            None => connection.call(&["PING"]).await,
        }?;
        Ok(connection)
    }

    async fn call(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
        encode(&mut self.output, &arguments);
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        match self.reply().await? {
            Outcome::Failed(text) => bail!("the server answers {text}"),
            Outcome::Done | Outcome::Missing => Ok(()),
        }
    }

    /// Sends all commands at once and reports the answers as they arrive.
    ///
    /// # Errors
    /// If the connection is lost or the answers are not understood.
    pub async fn run(
        &mut self,
        commands: &[Command],
        mut report: impl FnMut(usize, Outcome),
    ) -> anyhow::Result<()> {
        self.output.clear();
        for command in commands {
            match command {
                Command::Get { key } => encode(&mut self.output, &[b"GET", key]),
                Command::Put { key, value } => encode(&mut self.output, &[b"SET", key, value]),
                Command::Scan { .. } => bail!("the Redis protocol has no scan in order of keys"),
            }
        }
        self.stream.write_all(&self.output).await?;
        for index in 0..commands.len() {
            let outcome = self.reply().await?;
            report(index, outcome);
        }
        Ok(())
    }

    async fn reply(&mut self) -> anyhow::Result<Outcome> {
        loop {
            if let Some((outcome, length)) = decode(&self.input)? {
                self.input.advance(length);
                return Ok(outcome);
            }
            let read = timeout(self.timeout, self.stream.read_buf(&mut self.input));
            let read = read.await.context("no answer in time")??;
            ensure!(read > 0, "the server closed the connection");
        }
    }
}

/// Appends a command (Redis serialization protocol specification, "Sending commands").
fn encode(output: &mut Vec<u8>, arguments: &[&[u8]]) {
    output.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        output.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        output.extend_from_slice(argument);
        output.extend_from_slice(b"\r\n");
    }
}

/// The first reply in `input` and its length; nothing if it is not complete. Aggregates are not
/// answers to anything that is sent here.
fn decode(input: &[u8]) -> anyhow::Result<Option<(Outcome, usize)>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let Some((kind, line)) = input.get(..end).and_then(<[u8]>::split_first) else {
        bail!("an empty reply");
    };
    let after = end + 2;
    match kind {
        b'+' | b':' => Ok(Some((Outcome::Done, after))),
        b'_' => Ok(Some((Outcome::Missing, after))),
        b'-' => {
            let text = String::from_utf8_lossy(line).into_owned();
            Ok(Some((Outcome::Failed(text), after)))
        }
        b'$' => {
            let length: i64 = std::str::from_utf8(line)?.parse().context("a broken length")?;
            let Ok(length) = usize::try_from(length) else {
                return Ok(Some((Outcome::Missing, after)));
            };
            let total = after + length + 2;
            Ok((input.len() >= total).then_some((Outcome::Done, total)))
        }
        _ => bail!("a reply of an unknown kind ({:?})", char::from(*kind)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut output = Vec::new();
        encode(&mut output, &[b"SET", b"k", b"\r\n"]);
        assert_eq!(output, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n");
    }

    #[test]
    fn replies_are_decoded_only_when_they_are_complete() {
        let complete = |input: &[u8], outcome: Outcome, length: usize| {
            let decoded = decode(input).unwrap();
            assert_eq!(decoded, Some((outcome, length)), "{}", input.escape_ascii());
        };
        complete(b"+OK\r\n+OK\r\n", Outcome::Done, 5);
        complete(b":1\r\n", Outcome::Done, 4);
        complete(b"$4\r\na\r\nb\r\nrest", Outcome::Done, 10);
        complete(b"$-1\r\n", Outcome::Missing, 5);
        complete(b"-TIMEOUT 1 of 2\r\n", Outcome::Failed("TIMEOUT 1 of 2".to_owned()), 17);
        for incomplete in [&b"$4\r\na\r\nb\r"[..], b"$4\r", b"+OK", b""] {
            assert_eq!(decode(incomplete).unwrap(), None, "{}", incomplete.escape_ascii());
        }
        assert!(decode(b"\r\n").is_err());
        assert!(decode(b"HTTP/1.1 400 Bad Request\r\n").is_err());
    }

    #[tokio::test]
    async fn pipelined_commands_are_answered_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut ping = [0; 14];
            stream.read_exact(&mut ping).await.unwrap();
            stream.write_all(b"+PONG\r\n").await.unwrap();
            let mut commands = vec![0; 27 + 20];
            stream.read_exact(&mut commands).await.unwrap();
            // In pieces, so that a reply is split between two reads.
            stream.write_all(b"+O").await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(b"K\r\n$-1\r\n").await.unwrap();
            commands
        });
        let connect = Connect {
            protocol: super::super::transport::Protocol::Resp,
            address,
            keyspace: "default".to_owned(),
            consistency: None,
            timeout: Duration::from_secs(5),
        };
        let mut connection = RespConnection::connect(&connect).await.unwrap();
        let commands =
            [Command::Put { key: "k".into(), value: "v".into() }, Command::Get { key: "x".into() }];
        let mut outcomes = Vec::new();
        connection.run(&commands, |index, outcome| outcomes.push((index, outcome))).await.unwrap();
        assert_eq!(outcomes, [(0, Outcome::Done), (1, Outcome::Missing)]);
        let sent = server.await.unwrap();
        assert!(sent.starts_with(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n"));
    }
}
