//! Puts a node together: the store, the listeners, the shard thread.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};
use std::thread;

use bytes::Bytes;
use kvorum_storage::{OpenError, RealDisk, Recovery, Seed, Store};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;

use crate::clock::Clock;
use crate::connections::Connections;
use crate::founding::Founding;
use crate::gossip::Members;
use crate::handle::{self, Ending, QUEUED_BATCHES, Shared};
use crate::incoming::Incoming;
use crate::listener;
use crate::peer::Announcement;
use crate::peer::{self, Keeper, Links, LocalNode};
use crate::turn::inbox::Inbox;
use crate::turn::upkeep::Upkeep;
use crate::turn::wal::Wal;
use crate::turn::{Parts, Turn, inputs};
use crate::{Node, Options, Protocol, StartError};

/// The exit code after a fatal error of the disk (`EX_IOERR` of sysexits.h).
const EXIT_IO: i32 = 74;
/// The directory of the store inside the data directory.
const STORE_DIRECTORY: &str = "store";

type Protocols = Vec<(SocketAddr, Box<dyn Protocol>)>;

/// Starts the shard thread and waits until its listeners are bound.
pub(crate) async fn start(options: Options, protocols: Protocols) -> Result<Node, StartError> {
    let (ready, started) = oneshot::channel();
    let (end, ended) = watch::channel(None);
    let body = move || {
        let ending = shard_thread(options, protocols, ended, ready);
        // The store is closed by now: its directory may be opened again.
        end.send_replace(Some(ending));
    };
    let thread = thread::Builder::new().name("kvorum-shard".to_owned()).spawn(body);
    thread.map_err(|error| StartError::Failed(format!("cannot start a thread: {error}")))?;
    let ended_early = |_| StartError::Failed("the shard thread ended while starting".to_owned());
    started.await.map_err(ended_early)?
}

fn shard_thread(
    options: Options,
    protocols: Protocols,
    ended: watch::Receiver<Option<Ending>>,
    ready: oneshot::Sender<Result<Node, StartError>>,
) -> Ending {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = StartError::Failed(format!("cannot start a runtime: {error}"));
            // Nobody waits any more: there is nobody to tell.
            let _ = ready.send(Err(error.clone()));
            return Err(error);
        }
    };
    runtime.block_on(async move {
        let turn = match prepare(options, protocols, ended).await {
            Ok((node, turn)) => {
                if ready.send(Ok(node)).is_err() {
                    return Ok(());
                }
                turn
            }
            Err(error) => {
                // As above.
                let _ = ready.send(Err(error.clone()));
                return Err(error);
            }
        };
        turn.run().await.unwrap_or_else(|fatal| {
            tracing::error!("{fatal}");
            std::process::exit(EXIT_IO);
        })
    })
}

/// Opens the store, binds the listeners and starts the tasks of the shard thread.
async fn prepare(
    options: Options,
    protocols: Protocols,
    ended: watch::Receiver<Option<Ending>>,
) -> Result<(Node, Turn), StartError> {
    let clock = Clock::start();
    let now = clock.now();
    let (mut store, recovery) = open_store(&options)?;
    let process = peer::random().map_err(StartError::Failed)?;
    let founding = Founding::open(&options, process, &recovery, &mut store, now.mono)?;
    let founding = Rc::new(RefCell::new(founding));
    let mut listeners = Vec::new();
    for (address, protocol) in protocols {
        let listener = bind(protocol.name(), address).await?;
        let (name, refusal) = (protocol.name(), protocol.refusal());
        listeners.push((Incoming::new(name, listener, options.max_connections, refusal), protocol));
    }
    let peer_listener = bind("peer", options.peer_listen).await?;
    let peer_address = address_of(&peer_listener)?;
    let (commands, taken) = mpsc::channel(QUEUED_BATCHES);
    let shared = Arc::new(Shared {
        clock,
        commands,
        queued_bytes: AtomicUsize::new(0),
        status: RwLock::new(Arc::new(handle::first_status(&options, now.wall_ms / 1000))),
        layout: RwLock::new(None),
        max_value: options.max_value,
        peer_address,
        ended,
    });
    let node = Node::new(Arc::clone(&shared));
    let (signals, signalled) = mpsc::unbounded_channel();
    let thread = |error| StartError::Failed(format!("cannot start a thread: {error}"));
    let wal = Wal::new(options.wal_sync, signals.clone()).map_err(thread)?;
    let upkeep = Upkeep::new(signals).map_err(thread)?;
    let inbox = Rc::new(Inbox::default());
    spawn_local(inputs::commands(taken, Rc::clone(&inbox)));
    spawn_local(inputs::signals(signalled, Rc::clone(&inbox)));
    spawn_local(inputs::ticks(Rc::clone(&inbox)));
    let connections = Rc::new(Connections::new(node.clone(), Rc::clone(&inbox)));
    for (incoming, protocol) in listeners {
        spawn_local(listener::accept(incoming, protocol, Rc::clone(&connections)));
    }
    let socket = bind_gossip(options.gossip_listen).await?;
    let gossip_port = socket.local_addr().map_or(0, |address| address.port());
    let us = LocalNode { cluster: options.cluster.clone(), me: options.id, process };
    let links = Rc::new(Links::new(us, clock, Rc::clone(&inbox)));
    let incoming = Incoming::new("peer", peer_listener, options.max_connections, b"");
    spawn_local(peer::listen(incoming, Rc::clone(&links)));
    let ourselves = announcement(&options, peer_address.port(), gossip_port);
    keep_connected(&options, &ourselves, &founding, &links, &inbox);
    let members = Members::start(socket, &options, &ourselves, &founding, &links);
    let turn = Turn::new(Parts {
        clock,
        shared,
        inbox,
        connections,
        links,
        members,
        ourselves,
        store,
        frame_room: frame_room(&options),
        convergence: options.convergence,
        founding,
        wal,
        upkeep,
    });
    Ok((node, turn))
}

/// Where a listener was really bound.
fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Failed(error.to_string()))
}

/// How many bytes of records one turn may write. The store's frames hold a quarter of a segment; what
/// this node writes besides requests (compaction, its own records) needs a part of it.
fn frame_room(options: &Options) -> usize {
    usize::try_from(options.segment_bytes / 6).unwrap_or(usize::MAX)
}

/// What this node says of itself, but for its founding state.
fn announcement(options: &Options, peer_port: u16, gossip_port: u16) -> Announcement {
    let mut advertised = options.advertised.clone();
    if advertised.peer_port == 0 {
        advertised.peer_port = peer_port;
    }
    if advertised.gossip_port == 0 {
        advertised.gossip_port = gossip_port;
    }
    Announcement { name: options.name.clone(), advertised, body: Bytes::new() }
}

/// Starts the tasks that introduce this node to its peers and keep it connected.
fn keep_connected(
    options: &Options,
    ourselves: &Announcement,
    founding: &Rc<RefCell<Founding>>,
    links: &Rc<Links>,
    inbox: &Rc<Inbox>,
) {
    for (place, address) in options.peers.iter().cloned().enumerate() {
        if address.id == Some(options.id) {
            continue;
        }
        let keeper = Keeper {
            place,
            address,
            ourselves: ourselves.clone(),
            founding: Rc::clone(founding),
            links: Rc::clone(links),
            inbox: Rc::clone(inbox),
        };
        spawn_local(keeper.run());
    }
}

/// Why there is no data directory. A path that leads nowhere, or where nothing may be written, is
/// a mistake in the configuration; anything else may pass.
fn cannot_open(path: &Path, error: &io::Error) -> StartError {
    let text = format!("cannot open {}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => StartError::Refused(text),
        _ => StartError::Failed(text),
    }
}

/// Opens the store.
fn open_store(options: &Options) -> Result<(Store, Recovery), StartError> {
    let path = options.data_dir.join(STORE_DIRECTORY);
    let disk = RealDisk::open(&path).map_err(|error| cannot_open(&path, &error))?;
    let mut seed = Seed { bytes: [0; 32] };
    getrandom::fill(&mut seed.bytes)
        .map_err(|error| StartError::Failed(format!("cannot draw a random number: {error}")))?;
    let segment_bytes = u32::try_from(options.segment_bytes);
    let store_options = kvorum_storage::Options {
        segment_bytes: segment_bytes
            .map_err(|_| StartError::Refused("segment_bytes is above 1 GiB".to_owned()))?,
        max_value: options.max_value,
        index_limit_bytes: options.index_limit_bytes,
        max_disk_bytes: options.max_disk_bytes,
        scrub_bytes_per_second: options.scrub_bytes_per_second,
        ..kvorum_storage::Options::default()
    };
    Store::open(Arc::new(disk), store_options, seed).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        match error {
            OpenError::Locked
            | OpenError::Foreign(_)
            | OpenError::Format { .. }
            | OpenError::Options(_) => StartError::Refused(text),
            OpenError::NoSpace { .. } | OpenError::Io { .. } => StartError::Failed(text),
        }
    })
}

/// Binds a listener. An address that is taken is a matter of configuration.
async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let refused = |error| format!("cannot listen on {address} ({what}): {error}");
    TcpListener::bind(address).await.map_err(|error| StartError::Refused(refused(error)))
}

/// Binds the socket of the gossip. An address that is taken is a matter of configuration.
async fn bind_gossip(address: SocketAddr) -> Result<UdpSocket, StartError> {
    let refused = |error| format!("cannot receive datagrams on {address} (gossip): {error}");
    UdpSocket::bind(address).await.map_err(|error| StartError::Refused(refused(error)))
}
