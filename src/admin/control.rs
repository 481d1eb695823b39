//! The control socket: who connects gives commands, one JSON object per line.
//!
//! The permissions of the socket file decide who may look; the user of the peer decides who may change.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Source;
use super::address::SocketPath;
use super::commands::{self, Peer, Role};
use super::protocol::{
    CommandFault, FaultKind, OPERATOR_REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, Response,
};

/// Peers served at one time; people and a monitor or two.
const PEERS_MAX: usize = 16;

/// Time that a peer may take to send a request or to take an answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept, so that a lack of descriptors does not turn into a lack of processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Read and write for the owner and for the group, which a site gives to its technicians.
const SOCKET_MODE: u32 = 0o660;

/// The control socket of a gateway. The file goes when the value does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlFault {
    /// Its folder is missing and cannot be made.
    #[error("cannot make the folder of the control socket `{}`", path.display())]
    Folder {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens there already.
    #[error("another process listens on the control socket `{}`", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way.
    #[error("`{}` is in the way of the control socket and is not a socket", path.display())]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot listen on the control socket `{}`", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens on `path`. A file that a killed gateway left behind is replaced.
    pub async fn bind(path: &Path) -> Result<Self, ControlFault> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|source| ControlFault::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        remove_stale(path).await?;
        let fault = |source| ControlFault::Listen {
            path: path.to_owned(),
            source,
        };
        let address = SocketPath::new(path).map_err(fault)?;
        let listener = UnixListener::bind(address.as_path()).map_err(fault)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))
            .map_err(fault)?;
        let inode = std::fs::symlink_metadata(path).map_err(fault)?.ino();
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until dropped.
    pub async fn serve<S: Source>(self, source: Arc<S>) {
        let mut peers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if peers.len() < PEERS_MAX => match accepted {
                    Ok((stream, _)) => {
                        peers.spawn(serve_peer(stream, Arc::clone(&source)));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept on the control socket");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = peers.join_next() => {}
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Another gateway may have put its own file there; that one is not ours to remove.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a listener that is gone. A listener that answers, and anything but a socket, stays.
async fn remove_stale(path: &Path) -> Result<(), ControlFault> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => {
            return Err(ControlFault::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(_) => return Ok(()),
    }
    let address = SocketPath::new(path).map_err(|source| ControlFault::Listen {
        path: path.to_owned(),
        source,
    })?;
    match UnixStream::connect(address.as_path()).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| ControlFault::Listen {
                path: path.to_owned(),
                source,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ControlFault::Listen {
            path: path.to_owned(),
            source,
        }),
        Ok(_) => Err(ControlFault::Taken {
            path: path.to_owned(),
        }),
    }
}

async fn serve_peer<S: Source>(stream: UnixStream, source: Arc<S>) {
    let peer = peer_of(&stream);
    let bytes_max = match peer.role {
        Role::Viewer => REQUEST_BYTES_MAX,
        Role::Operator => OPERATOR_REQUEST_BYTES_MAX,
    };
    let mut stream = BufReader::with_capacity(1024, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        line.shrink_to(REQUEST_BYTES_MAX);
        let read = read_line(&mut stream, &mut line, bytes_max);
        let Ok(Ok(_)) = timeout(PEER_TIMEOUT, read).await else {
            return;
        };
        if line.is_empty() {
            return;
        }
        let whole = line.last() == Some(&b'\n');
        let becomes_link = whole && commands::is_probe_link(peer, &line);
        let response = if becomes_link {
            Response::Ok(Value::Null)
        } else if whole {
            match commands::carry_out(&source, peer, &line).await {
                Ok(answer) => Response::Ok(answer),
                Err(fault) => Response::Error(fault),
            }
        } else {
            Response::Error(unfinished(line.len(), bytes_max))
        };
        let sent = timeout(PEER_TIMEOUT, send(stream.get_mut(), &response)).await;
        if becomes_link && stream.buffer().is_empty() && matches!(sent, Ok(Ok(()))) {
            return source.serve_probe(stream.into_inner()).await;
        }
        if becomes_link || !whole || !matches!(sent, Ok(Ok(()))) {
            debug!("a peer of the control socket was left");
            return;
        }
    }
}

async fn read_line(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<usize> {
    reader.take(bytes_max as u64).read_until(b'\n', line).await
}

fn unfinished(length: usize, bytes_max: usize) -> CommandFault {
    let message = if length >= bytes_max {
        format!("a request has at most {bytes_max} bytes")
    } else {
        "a request ends with a line end".to_owned()
    };
    CommandFault {
        kind: FaultKind::BadRequest,
        message,
    }
}

async fn send(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    response: &Response,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

fn peer_of(stream: &UnixStream) -> Peer {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let own = nix::unistd::geteuid().as_raw();
    let role = match uid {
        Some(uid) if may_operate(uid, own) => Role::Operator,
        Some(_) | None => Role::Viewer,
    };
    Peer { role, uid }
}

fn may_operate(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_of_a_gateway_that_is_gone_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        std::fs::create_dir(folder.path().join("run")).unwrap();
        // It never listens: a child that another test starts has a copy of it until it runs its program.
        let gone = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let address = socket2::SockAddr::unix(&path).unwrap();
        gone.unwrap().bind(&address).unwrap();
        let socket = ControlSocket::bind(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn socket_of_a_gateway_that_listens_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let first = ControlSocket::bind(&path).await.unwrap();
        let fault = ControlSocket::bind(&path).await.unwrap_err();
        assert!(matches!(fault, ControlFault::Taken { .. }), "{fault}");
        assert!(first.path().exists());
    }

    #[tokio::test]
    async fn file_that_is_no_socket_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = ControlSocket::bind(file.path()).await.unwrap_err();
        assert!(matches!(fault, ControlFault::NotASocket { .. }), "{fault}");
        assert!(file.path().exists());
    }

    #[tokio::test]
    async fn file_of_a_successor_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = ControlSocket::bind(&path).await.unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        std::fs::write(&path, "another file").unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn root_and_the_own_user_may_operate() {
        assert!(may_operate(0, 1000));
        assert!(may_operate(1000, 1000));
        assert!(!may_operate(1001, 1000));
    }
}
