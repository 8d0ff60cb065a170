//! A client of the Redis protocol, small enough to be obviously right, and able to misbehave.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection attempt may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take: longer than the deadline of any request without its own.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status such as `OK`.
    Simple(String),
    /// An error, its code included.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// No value.
    Null,
    /// Several answers.
    Array(Vec<Answer>),
}

impl Answer {
    /// The bytes of a value; nothing if there is none.
    ///
    /// # Panics
    /// The answer is neither.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Answer::Bulk(bytes) => Some(bytes),
            Answer::Null => None,
            other => panic!("expected a value, got {other:?}"),
        }
    }

    /// The text of an error; nothing for any other answer.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Answer::Error(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is the status `OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Answer::Simple(text) if text == "OK")
    }

    /// Whether this is an error after which nothing of the request was or will be executed.
    #[must_use]
    pub fn is_not_executed(&self) -> bool {
        self.error().is_some_and(|text| text.ends_with("nothing was executed"))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Simple(text) => write!(f, "+{text}"),
            Answer::Error(text) => write!(f, "-{text}"),
            Answer::Integer(number) => write!(f, ":{number}"),
            Answer::Bulk(bytes) if bytes.len() > 80 => write!(f, "{} bytes", bytes.len()),
            Answer::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Answer::Null => f.write_str("(nil)"),
            Answer::Array(items) => f.debug_list().entries(items).finish(),
        }
    }
}

/// A connection. Commands may be sent ahead of their answers.
#[derive(Debug)]
pub struct Resp {
    stream: BufReader<TcpStream>,
    unsent: Vec<u8>,
}

impl Resp {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(port: u16) -> io::Result<Resp> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Resp { stream: BufReader::new(stream), unsent: Vec::new() })
    }

    /// Changes how long an answer may take.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn set_answer_limit(&self, limit: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))
    }

    /// Adds a command to what is sent next.
    pub fn push(&mut self, command: &[&[u8]]) {
        self.unsent.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for part in command {
            self.unsent.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            self.unsent.extend_from_slice(part);
            self.unsent.extend_from_slice(b"\r\n");
        }
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.unsent);
        self.send_raw(&bytes)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// The connection is closed, silent for too long, or says something that is no answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        read_answer(&mut self.stream)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// Those of the connection; an error that the server answers is an [`Answer`].
    pub fn call(&mut self, command: &[&[u8]]) -> io::Result<Answer> {
        self.push(command);
        self.flush()?;
        self.receive()
    }

    /// [`Resp::call`] with a command of words.
    ///
    /// # Panics
    /// The connection fails.
    pub fn say(&mut self, words: &[&str]) -> Answer {
        let command: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.call(&command).unwrap_or_else(|error| panic!("no answer to {words:?}: {error}"))
    }

    /// Sends commands in one go and reads all their answers.
    ///
    /// # Panics
    /// The connection fails.
    pub fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> Vec<Answer> {
        for command in commands {
            self.push(command);
        }
        self.flush().expect("commands can be sent");
        commands.iter().map(|_| self.receive().expect("every command is answered")).collect()
    }

    /// Whether the server has closed the connection; waits until it does, or says something.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let line = read_line(stream)?;
    let (&kind, rest) = line.split_first().ok_or_else(|| strange(&line))?;
    let text = || String::from_utf8_lossy(rest).into_owned();
    let number = || text().parse::<i64>().map_err(|_| strange(&line));
    Ok(match kind {
        b'+' => Answer::Simple(text()),
        b'-' => Answer::Error(text()),
        b':' => Answer::Integer(number()?),
        b'_' => Answer::Null,
        b'$' => match usize::try_from(number()?) {
            Ok(len) => Answer::Bulk(read_bulk(stream, len)?),
            Err(_) => Answer::Null,
        },
        b'*' => match usize::try_from(number()?) {
            Ok(count) => {
                let items = (0..count).map(|_| read_answer(stream));
                Answer::Array(items.collect::<io::Result<_>>()?)
            }
            Err(_) => Answer::Null,
        },
        _ => return Err(strange(&line)),
    })
}

fn read_line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match line.strip_suffix(b"\r\n") {
        Some(stripped) => Ok(stripped.to_vec()),
        None => Err(strange(&line)),
    }
}

fn read_bulk(stream: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len + 2];
    stream.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(strange(&bytes));
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn strange(bytes: &[u8]) -> io::Error {
    let start = bytes.get(..80).unwrap_or(bytes);
    let text = format!("no answer of this protocol: \"{}\"", start.escape_ascii());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn read(text: &str) -> io::Result<Answer> {
        read_answer(&mut text.as_bytes())
    }

    #[test]
    fn every_kind_of_answer_is_understood() {
        let bulk = |text: &str| Answer::Bulk(text.as_bytes().to_vec());
        for (text, answer) in [
            ("+OK\r\n", Answer::Simple("OK".to_owned())),
            ("-ERR no\r\n", Answer::Error("ERR no".to_owned())),
            (":-3\r\n", Answer::Integer(-3)),
            ("$4\r\na\r\nb\r\n", bulk("a\r\nb")),
            ("$-1\r\n", Answer::Null),
            ("_\r\n", Answer::Null),
            ("*2\r\n$1\r\na\r\n*0\r\n", Answer::Array(vec![bulk("a"), Answer::Array(vec![])])),
        ] {
            assert_eq!(read(text).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in ["", "HTTP/1.1 400 Bad Request\r\n", "+OK\n", "$3\r\nabcd\r\n", ":x\r\n", "+OK"]
        {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn commands_are_sent_in_one_go_and_answered_in_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let expected = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(b"+PONG\r\n$-1\r\n").unwrap();
            received
        });
        let mut client = Resp::connect(port).unwrap();
        let answers = client.pipeline(&[vec![b"PING"], vec![b"GET", b"a"]]);
        assert_eq!(server.join().unwrap(), expected);
        assert_eq!(answers, [Answer::Simple("PONG".to_owned()), Answer::Null]);
        assert!(client.is_closed());
    }
}
