//! Brings a plan into force, and again until it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Host;
use super::folder::Folder;
use super::plan::Plan;
use super::retry::Backoff;
use crate::import::ImportedFile;

/// What the gateway has been given.
pub(super) struct Loader<H> {
    host: Arc<H>,
    folder: Folder,
    /// Documents that were good, by the path of their resource.
    pub(super) former: BTreeMap<String, String>,
    /// Whether the gateway has taken what is in the folder, as far as is known. It has not where it stopped in between, and
    /// may have started without.
    is_loaded: bool,
    pub(super) backoff: Backoff,
}

impl<H: Host> Loader<H> {
    pub(super) fn new(host: Arc<H>, folder: Folder) -> Self {
        Self {
            host,
            former: folder.former(),
            folder,
            is_loaded: false,
            backoff: Backoff::default(),
        }
    }

    /// When to try again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.backoff.at()
    }

    /// Writes the configuration and has the gateway load it, where it is another or was not taken. Returns why the gateway
    /// does not go by it.
    pub(super) async fn load(&mut self, plan: &Plan) -> Result<(), String> {
        let loaded = self.try_load(plan).await;
        match loaded {
            Ok(()) => self.backoff.succeeded(),
            // What the gateway refuses now it may take when something else has changed that nobody tells us of.
            Err(_) => self.backoff.failed(None),
        }
        loaded
    }

    async fn try_load(&mut self, plan: &Plan) -> Result<(), String> {
        self.host.check(plan.text.clone()).await?;
        self.write(plan).await?;
        if !self.is_loaded {
            self.host.reload().await?;
            self.is_loaded = true;
        }
        self.former.clone_from(&plan.documents);
        let made = plan.files.iter().map(|file| file.name.clone());
        let needed = plan.needed.iter().map(|need| need.object.file.clone());
        let named: BTreeSet<String> = made.chain(needed).collect();
        let folder = self.folder.clone();
        // What is left over goes another time, and nothing names it meanwhile.
        let _ = spawn_blocking(move || folder.tidy(&named)).await;
        Ok(())
    }

    async fn write(&mut self, plan: &Plan) -> Result<(), String> {
        let folder = self.folder.clone();
        let (text, documents) = (plan.text.clone(), plan.documents.clone());
        let files = plan.files.iter().map(|file| ImportedFile {
            name: file.name.clone(),
            content: file.content.clone(),
            is_secret: file.is_secret,
        });
        let files: Vec<_> = files.collect();
        // Half of it may be written when it fails.
        let was_loaded = std::mem::take(&mut self.is_loaded);
        let written = spawn_blocking(move || folder.write(&text, &files, &documents)).await;
        let changed = written
            .map_err(|error| error.to_string())?
            .map_err(|fault| fault.to_string())?;
        self.is_loaded = was_loaded && !changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs;
    use std::sync::Mutex;

    use zeroize::Zeroizing;

    use super::*;
    use crate::controller::{ClusterFacts, PortFacts, Taken};

    /// A gateway that answers as it is told, and then takes everything.
    #[derive(Default)]
    struct Scripted {
        checks: Mutex<VecDeque<String>>,
        reloads: Mutex<VecDeque<String>>,
        reloaded: Mutex<usize>,
    }

    impl Host for Scripted {
        fn taken(&self) -> Taken {
            Taken::default()
        }

        fn ports(&self) -> Vec<PortFacts> {
            Vec::new()
        }

        async fn check(&self, _: String) -> Result<(), String> {
            let refusal = self.checks.lock().unwrap().pop_front();
            refusal.map_or(Ok(()), Err)
        }

        fn hear(&self, _: ClusterFacts) {}

        async fn reload(&self) -> Result<(), String> {
            let refusal = self.reloads.lock().unwrap().pop_front();
            *self.reloaded.lock().unwrap() += 1;
            refusal.map_or(Ok(()), Err)
        }
    }

    impl Scripted {
        fn reloads(&self) -> usize {
            *self.reloaded.lock().unwrap()
        }
    }

    fn plan(text: &str, file: &str) -> Plan {
        Plan {
            text: text.to_owned(),
            documents: BTreeMap::from([("a".to_owned(), text.to_owned())]),
            files: vec![ImportedFile {
                name: file.to_owned(),
                content: Zeroizing::new(b"1".to_vec()),
                is_secret: true,
            }],
            ..Plan::default()
        }
    }

    #[tokio::test]
    async fn what_is_refused_for_a_passing_reason_is_loaded_again() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path().join("kubernetes"));
        let host = Arc::new(Scripted::default());
        let mut loader = Loader::new(Arc::clone(&host), folder.clone());
        let first = plan("# one\n", "a.key");
        assert_eq!(loader.load(&first).await, Ok(()));
        assert_eq!(loader.load(&first).await, Ok(()));
        assert_eq!(host.reloads(), 1, "what is in force is not loaded again");

        let second = plan("# two\n", "b.key");
        host.reloads.lock().unwrap().push_back("busy".to_owned());
        assert_eq!(loader.load(&second).await, Err("busy".to_owned()));
        assert!(loader.next().is_some());
        assert_eq!(loader.former, first.documents, "it was never in force");
        assert!(
            folder.files().join("a.key").exists(),
            "what is in force names it"
        );
        assert_eq!(loader.load(&second).await, Ok(()));
        assert_eq!(host.reloads(), 3);
        assert_eq!(loader.next(), None);
        assert_eq!(loader.former, second.documents);
        assert!(!folder.files().join("a.key").exists());

        host.checks.lock().unwrap().push_back("no".to_owned());
        assert_eq!(loader.load(&first).await, Err("no".to_owned()));
        assert!(loader.next().is_some(), "the file may be mended");
    }

    #[tokio::test]
    async fn what_was_written_in_part_is_loaded_when_it_is_whole() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("kubernetes");
        let host = Arc::new(Scripted::default());
        let mut loader = Loader::new(Arc::clone(&host), Folder::new(path.clone()));
        let first = plan("# one\n", "a.key");
        loader.load(&first).await.unwrap();
        // The last one of the files cannot be written.
        let resources = path.join("resources.json");
        fs::remove_file(&resources).unwrap();
        fs::create_dir(&resources).unwrap();
        let second = plan("# two\n", "a.key");
        assert!(loader.load(&second).await.is_err());
        fs::remove_dir(&resources).unwrap();
        assert_eq!(loader.load(&second).await, Ok(()));
        assert_eq!(host.reloads(), 2);
    }
}
