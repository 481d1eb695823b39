//! Work of other parts for the one connection that writes: closures that wait in a bounded queue until the thread of the
//! writer has a moment between two batches.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::fault::StoreError;
use super::schema;
use super::writer::Writer;

/// Jobs that may wait. Each is answered before its caller asks for the next, so this is how many callers there may be.
const JOBS_MAX: usize = 128;

/// Where jobs for the database are handed over.
#[derive(Clone, Debug)]
pub struct Jobs(Hand);

#[derive(Clone, Debug)]
enum Hand {
    /// The thread of the writer does them.
    Queue(Arc<Shared>),
    /// Whoever hands them over does them.
    Own(Arc<Mutex<Writer>>),
}

/// The end at which the thread of the writer takes jobs. When it is dropped those that wait are answered with an error, and so
/// are all that come.
#[derive(Debug)]
pub struct JobQueue(Arc<Shared>);

/// A job that waits.
pub struct Job(Box<dyn Attempt>);

trait Attempt: Send {
    fn attempt(&mut self, writer: &mut Writer) -> Result<(), StoreError>;

    fn refuse(self: Box<Self>, fault: StoreError);
}

/// Something to do, with the way back to whoever waits for it.
struct Errand<T, F> {
    work: F,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Whom to wake.
    writer: Option<Thread>,
    is_closed: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Jobs {
    /// A queue for the store of a state folder, and its other end.
    #[must_use]
    pub fn queue(folder: &Path) -> (Self, JobQueue) {
        let shared = Arc::new(Shared {
            path: folder.join(schema::FILE_NAME),
            state: Mutex::default(),
        });
        (Self(Hand::Queue(Arc::clone(&shared))), JobQueue(shared))
    }

    /// Without a thread: for commands that have the database to themselves.
    #[must_use]
    pub fn own(writer: Writer) -> Self {
        Self(Hand::Own(Arc::new(Mutex::new(writer))))
    }

    /// Jobs that nobody does: every one is answered with an error.
    #[must_use]
    pub fn none(folder: &Path) -> Self {
        // The other end is gone at once.
        Self::queue(folder).0
    }

    /// Has a job done in a transaction of its own and waits for it: when this returns without an error, what the job has
    /// written outlives a power cut. Must not be called on a thread that runs tasks.
    ///
    /// A job may be begun again when there was no room for it.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.0 {
            Hand::Queue(shared) => {
                let answer = shared.submit(job)?;
                answer.blocking_recv().unwrap_or_else(|_| shared.closed())
            }
            Hand::Own(writer) => run_here(writer, job),
        }
    }

    /// As [`Jobs::run`], for tasks. The job is done even if nobody waits for it any more.
    pub async fn run_async<T: Send + 'static>(
        &self,
        job: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.0 {
            Hand::Queue(shared) => {
                let answer = shared.submit(job)?;
                answer.await.unwrap_or_else(|_| shared.closed())
            }
            Hand::Own(writer) => run_here(writer, job),
        }
    }
}

impl<T, F> Attempt for Errand<T, F>
where
    T: Send,
    F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn attempt(&mut self, writer: &mut Writer) -> Result<(), StoreError> {
        let done = writer.run(&mut self.work)?;
        if let Some(reply) = self.reply.take() {
            // Nobody waits any more where this fails; what was done stays done.
            let _ = reply.send(Ok(done));
        }
        Ok(())
    }

    fn refuse(self: Box<Self>, fault: StoreError) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Err(fault));
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl Job {
    /// Does the job and answers whoever waits for it. After an error it can be tried again.
    pub fn attempt(&mut self, writer: &mut Writer) -> Result<(), StoreError> {
        self.0.attempt(writer)
    }

    /// Answers with an error.
    pub fn refuse(self, fault: StoreError) {
        self.0.refuse(fault);
    }
}

impl JobQueue {
    /// Has `writer` woken for each job from here on.
    pub fn attend(&self, writer: Thread) {
        self.0.state().writer = Some(writer);
    }

    /// The next job.
    #[must_use]
    pub fn take(&self) -> Option<Job> {
        self.0.state().waiting.pop_front()
    }
}

impl Drop for JobQueue {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state();
            state.is_closed = true;
            std::mem::take(&mut state.waiting)
        };
        for job in waiting {
            let path = self.0.path.clone();
            job.refuse(StoreError::Closed { path });
        }
    }
}

fn run_here<T>(
    writer: &Mutex<Writer>,
    mut job: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    writer.run(&mut job)
}

impl Shared {
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let errand = Errand {
            work,
            reply: Some(reply),
        };
        let mut state = self.state();
        if state.is_closed {
            return self.closed();
        }
        if state.waiting.len() >= JOBS_MAX {
            let path = self.path.clone();
            return Err(StoreError::Overloaded { path });
        }
        state.waiting.push_back(Job(Box::new(errand)));
        if let Some(writer) = &state.writer {
            writer.unpark();
        }
        Ok(answer)
    }

    fn closed<T>(&self) -> Result<T, StoreError> {
        let path = self.path.clone();
        Err(StoreError::Closed { path })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
