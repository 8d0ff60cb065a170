//! The connections that arrive at a listener, up to a limit.
//!
//! Every connection holds a file of the process, and the store needs files as well: a node whose
//! clients could take the last one would have to end. So each listener has places for so many
//! connections, and refuses the next one at once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long to wait when accepting fails (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of one listener.
#[derive(Debug)]
pub struct Incoming {
    name: &'static str,
    listener: TcpListener,
    /// What a connection is told that finds no place.
    refusal: &'static [u8],
    places: Arc<Semaphore>,
    limit: usize,
    /// The last connection was refused: said once in the log, not for each.
    full: bool,
    pause: Option<Pin<Box<Sleep>>>,
    open: Gauge,
    refused: Counter,
}

/// A connection, with its place among those of its listener.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    place: Place,
}

/// A place among the connections of a listener; free again when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Incoming {
    /// The connections of `listener`, of which `limit` may be open; the next one is told `refusal`.
    /// `name` is that of the protocol in logs and metrics.
    #[must_use]
    pub fn new(
        name: &'static str,
        listener: TcpListener,
        limit: usize,
        refusal: &'static [u8],
    ) -> Incoming {
        Incoming {
            name,
            listener,
            refusal,
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            limit,
            full: false,
            pause: None,
            open: metrics::gauge!("kvorum_connections", "protocol" => name),
            refused: metrics::counter!("kvorum_connections_refused_total", "protocol" => name),
        }
    }

    /// The next connection that finds a place, and where it comes from.
    pub async fn accept(&mut self) -> (Connection, SocketAddr) {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// Where the listener is bound.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<(Connection, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, client)) => {
                    if let Some(connection) = self.admit(stream) {
                        return Poll::Ready((connection, client));
                    }
                }
                Err(error) => {
                    tracing::warn!(protocol = self.name, %error, "cannot accept a connection");
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }

    /// Gives a connection its place; nothing if there is none, or if the client has gone.
    fn admit(&mut self, stream: TcpStream) -> Option<Connection> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            if !std::mem::replace(&mut self.full, true) {
                let (protocol, limit) = (self.name, self.limit);
                tracing::warn!(protocol, "connections are refused: {limit} are open");
            }
            self.refused.increment(1);
            // A socket that does not even take this has nobody who reads it.
            let _ = stream.try_write(self.refusal);
            return None;
        };
        self.full = false;
        // Without it small answers would wait for the client's acknowledgements.
        stream.set_nodelay(true).ok()?;
        self.open.increment(1.0);
        let place = Place { _permit: permit, open: self.open.clone() };
        Some(Connection { stream, place })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Connection>>> {
        self.poll_accept(context).map(|(connection, _)| Some(Ok(connection)))
    }
}

impl Connection {
    /// The socket, and the place that must be kept as long as it is.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Place) {
        (self.stream, self.place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_without_a_place_is_told_so_and_a_freed_place_is_given_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Incoming::new("test", listener, 1, b"full\n");
        let mut first = TcpStream::connect(address).await.unwrap();
        let (served, _) = incoming.accept().await;

        let mut second = TcpStream::connect(address).await.unwrap();
        let third = async {
            let mut told = String::new();
            second.read_to_string(&mut told).await.unwrap();
            assert_eq!(told, "full\n");
            drop(served);
            TcpStream::connect(address).await.unwrap()
        };
        let ((mut again, _), mut third) = tokio::join!(incoming.accept(), third);
        third.write_all(b"x").await.unwrap();
        assert_eq!(again.read_u8().await.unwrap(), b'x');
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "the first connection is closed");
    }
}
