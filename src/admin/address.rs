//! Paths that are too long for the address of a Unix socket.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Longest path in the address of a Unix socket, without the zero at its end.
const PATH_BYTES_MAX: usize = 107;

/// A path that fits into the address of a socket and leads to another one, as long as the value lives.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// The path itself if it fits, else one through the descriptor of its folder.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }

    /// What to put into the address.
    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn long_path_is_reached_through_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");

        let listener = UnixListener::bind(SocketPath::new(&path).unwrap().as_path()).unwrap();
        UnixStream::connect(SocketPath::new(&path).unwrap().as_path()).unwrap();

        listener.accept().unwrap();
        assert!(path.exists());
    }
}
