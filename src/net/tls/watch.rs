//! Says when something in a folder may have changed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Symbolic links that are followed from one path at most.
const LINKS_MAX: usize = 16;

/// Watches the folders on the way to a set of files.
///
/// It notices new files, changed files, renamed files, and links that are turned to another place, as Kubernetes does
/// with `..data` when it renews a secret.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    inotify: Inotify,
    /// The same descriptor once more, for waiting. What the events say does not matter, only that there are any.
    events: pipe::Receiver,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
}

impl FolderWatch {
    /// A watch that watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self {
            events: pipe::Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?,
            inotify,
            watched: BTreeMap::new(),
        })
    }

    /// Watches the folders on the way to `files`, and no others.
    pub(crate) fn set_files<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        let mut wanted: Vec<PathBuf> = files.flat_map(folders_of).collect();
        wanted.sort();
        wanted.dedup();
        let inotify = &self.inotify;
        self.watched.retain(|folder, watch| {
            let keep = wanted.binary_search(folder).is_ok();
            if !keep {
                // A folder that was deleted has lost its watch already.
                let _ = inotify.rm_watch(*watch);
            }
            keep
        });
        for folder in wanted {
            // Asked anew each time: a folder that was replaced has the same name and another watch.
            match inotify.add_watch(&folder, every_change()) {
                Ok(watch) => {
                    self.watched.insert(folder, watch);
                }
                Err(_) => {
                    self.watched.remove(&folder);
                }
            }
        }
    }

    /// Waits until something may have changed.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        // Room for an event with the longest file name, many times over.
        let mut events = [0; 4096];
        self.events.read(&mut events).await.map(drop)
    }
}

fn every_change() -> AddWatchFlags {
    AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

/// The folders in which a change may change what `file` is: its own, or the nearest that exists, and those of every link
/// on the way.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = file.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some(folder) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
            folders.push(folder.to_owned());
        }
        let Some((link, target)) = first_link(&path) else {
            break;
        };
        let Some(folder) = link.parent() else { break };
        folders.push(folder.to_owned());
        // The path with the link replaced by what it points to.
        let rest = path.strip_prefix(&link).unwrap_or(Path::new(""));
        path = match rest.as_os_str().is_empty() {
            true => folder.join(target),
            false => folder.join(target).join(rest),
        };
    }
    folders
}

fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    ancestors
        .into_iter()
        .find_map(|part| Some((part.to_owned(), std::fs::read_link(part).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    async fn notices(watch: &mut FolderWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_file_that_appears_in_a_new_folder_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tls/server.crt");
        let mut watch = FolderWatch::new().unwrap();
        watch.set_files([file.as_path()].into_iter());
        fs::create_dir(dir.path().join("tls")).unwrap();
        assert!(notices(&mut watch).await);
        watch.set_files([file.as_path()].into_iter());
        fs::write(&file, "x").unwrap();
        assert!(notices(&mut watch).await);
    }

    #[tokio::test]
    async fn a_link_that_is_turned_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("tls.crt"), text).unwrap();
        }
        symlink("..1", dir.path().join("..data")).unwrap();
        symlink("..data/tls.crt", dir.path().join("tls.crt")).unwrap();
        let file = dir.path().join("tls.crt");
        let mut watch = FolderWatch::new().unwrap();
        watch.set_files([file.as_path()].into_iter());
        symlink("..2", dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        assert!(notices(&mut watch).await);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn every_link_on_the_way_has_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("archive/one")).unwrap();
        fs::write(root.join("archive/one/a.pem"), "x").unwrap();
        fs::create_dir(root.join("live")).unwrap();
        symlink("../archive/one", root.join("live/site")).unwrap();
        let folders = folders_of(&root.join("live/site/a.pem"));
        assert!(folders.contains(&root.join("live")), "{folders:?}");
        assert!(
            folders
                .iter()
                .any(|f| f.canonicalize().unwrap() == root.join("archive/one")),
            "{folders:?}"
        );
    }

    #[test]
    fn a_circle_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(folders_of(&dir.path().join("a")).len() <= 2 * LINKS_MAX);
    }
}
