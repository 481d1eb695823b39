//! Says when the files of the configuration changed.
//!
//! It looks once a second at what the file system says about them, and at their content when that differs. So a file that
//! is written in pieces, moved into place, or swapped through a symbolic link (as Kubernetes does with `..data`) is
//! noticed once, on every file system, and one that is written with what it said before is not noticed at all.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

/// Folder beside the configuration file whose files are merged after it.
const FOLDER: &str = "conf.d";

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Time without a change after which the files are taken as complete; an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(250);

/// Looks after which a file that never rests is read none the less.
const RESTLESS_MAX: u32 = 20;

/// Largest file whose content is compared; the configuration refuses larger ones anyway.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Watches the files of a configuration.
#[derive(Debug)]
pub(crate) struct Watcher {
    main: PathBuf,
    outside: u64,
    content: u64,
    running: Option<JoinHandle<u64>>,
}

impl Watcher {
    /// Watches `main` and the files that are merged after it, starting from what they say now.
    pub(crate) fn new(main: &Path) -> Self {
        Self {
            main: main.to_owned(),
            outside: hash_files(main, hash_outside),
            content: hash_files(main, hash_content),
            running: None,
        }
    }

    /// As [`Self::new`], where clients must not wait for it.
    pub(crate) async fn start(main: PathBuf) -> Option<Self> {
        spawn_blocking(move || Self::new(&main)).await.ok()
    }

    /// Completes when the files say something else than when it last completed.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            sleep(LOOK).await;
            if self.look(hash_outside).await == Some(self.outside) {
                continue;
            }
            let Some(outside) = self.rest().await else {
                continue;
            };
            let Some(content) = self.look(hash_content).await else {
                continue;
            };
            // Not before the last wait, so that a change is found again if this is dropped in between.
            self.outside = outside;
            if std::mem::replace(&mut self.content, content) != content {
                return;
            }
        }
    }

    /// Waits until nobody writes; returns what the file system says then.
    async fn rest(&mut self) -> Option<u64> {
        let mut before = self.look(hash_outside).await?;
        for _ in 0..RESTLESS_MAX {
            sleep(QUIET).await;
            let now = self.look(hash_outside).await?;
            if std::mem::replace(&mut before, now) == now {
                break;
            }
        }
        Some(before)
    }

    /// Looks at the files on a thread that may wait: they may be on a slow card or a network. `None` if there is no such
    /// thread any more.
    async fn look(&mut self, hash: fn(&Path, &mut DefaultHasher)) -> Option<u64> {
        // A look that was given up goes on; files that do not answer must not cost a thread each time.
        if let Some(former) = &mut self.running {
            let _ = former.await;
            self.running = None;
        }
        let main = self.main.clone();
        let running = self
            .running
            .insert(spawn_blocking(move || hash_files(&main, hash)));
        let found = running.await.ok();
        self.running = None;
        found
    }
}

/// One number for all files of a configuration. Two different ones have the same number about never.
fn hash_files(main: &Path, hash: fn(&Path, &mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(main, &mut hasher);
    let folder = match main.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(FOLDER),
        _ => PathBuf::from(FOLDER),
    };
    let mut fragments: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    fragments.sort();
    for fragment in fragments {
        fragment.hash(&mut hasher);
        hash(&fragment, &mut hasher);
    }
    hasher.finish()
}

/// What differs as soon as anybody touches the file, seen through links.
fn hash_outside(path: &Path, hasher: &mut DefaultHasher) {
    match std::fs::metadata(path) {
        Ok(file) => {
            (file.dev(), file.ino(), file.len()).hash(hasher);
            (
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            )
                .hash(hasher);
        }
        Err(error) => error.kind().hash(hasher),
    }
}

fn hash_content(path: &Path, hasher: &mut DefaultHasher) {
    match read(path) {
        Ok(content) => content.hash(hasher),
        Err(error) => error.kind().hash(hasher),
    }
}

/// The content, or the length in its place where that is beyond reason.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        return Ok(length.to_le_bytes().to_vec());
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tokio::time::timeout;

    use super::*;

    /// Time is driven by the test, so this passes at once.
    async fn noticed(watcher: &mut Watcher) -> bool {
        timeout(LOOK * 60, watcher.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn written_moved_and_merged_files_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        std::fs::write(&main, "a").unwrap();
        let mut watcher = Watcher::new(&main);

        std::fs::write(&main, "bb").unwrap();
        assert!(noticed(&mut watcher).await, "written in place");

        let new = folder.path().join("gateway.toml.new");
        std::fs::write(&new, "ccc").unwrap();
        std::fs::rename(&new, &main).unwrap();
        assert!(noticed(&mut watcher).await, "moved into place");

        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        std::fs::write(folder.path().join("conf.d/10-x.toml"), "d").unwrap();
        assert!(noticed(&mut watcher).await, "file in a new conf.d");

        std::fs::write(folder.path().join("conf.d/10-x.toml"), "ee").unwrap();
        assert!(noticed(&mut watcher).await, "file in conf.d");

        std::fs::remove_file(&main).unwrap();
        assert!(noticed(&mut watcher).await, "removed");
    }

    #[tokio::test(start_paused = true)]
    async fn swapped_data_folder_of_a_config_map_is_noticed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "a"), ("..2", "bb")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("gateway.toml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/gateway.toml", at("gateway.toml")).unwrap();
        let mut watcher = Watcher::new(&at("gateway.toml"));

        symlink("..2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();

        assert!(noticed(&mut watcher).await);
    }

    #[tokio::test(start_paused = true)]
    async fn file_behind_a_link_elsewhere_is_noticed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("real.toml"), "a").unwrap();
        let main = folder.path().join("gateway.toml");
        std::os::unix::fs::symlink(elsewhere.path().join("real.toml"), &main).unwrap();
        let mut watcher = Watcher::new(&main);

        std::fs::write(elsewhere.path().join("real.toml"), "bb").unwrap();

        assert!(noticed(&mut watcher).await);
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_takes_long_to_read_keeps_nobody_waiting() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        std::fs::write(&main, "a").unwrap();
        let mut watcher = Watcher::new(&main);
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::rename(&pipe, &main).unwrap();
        let (ask, asked) = tokio::sync::oneshot::channel();
        let (answer, answered) = std::sync::mpsc::channel();

        let writer = std::thread::spawn(move || {
            // Waits for the reader, who then waits for what is written.
            let mut file = File::options().write(true).open(&main).unwrap();
            ask.send(()).unwrap();
            let is_served = answered.recv_timeout(Duration::from_secs(5)).is_ok();
            file.write_all(b"bb").unwrap();
            is_served
        });
        let somebody = async {
            asked.await.unwrap();
            // Nobody listens any more if it took too long.
            let _ = answer.send(());
        };
        tokio::join!(watcher.changed(), somebody);

        assert!(writer.join().unwrap(), "the runtime waited for the file");
    }

    #[tokio::test(start_paused = true)]
    async fn same_content_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        std::fs::write(&main, "a").unwrap();
        let mut watcher = Watcher::new(&main);
        std::fs::write(&main, "a").unwrap();
        assert!(!noticed(&mut watcher).await);
    }
}
