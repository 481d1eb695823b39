//! Descriptors for tests with very many connections.

use std::sync::{Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process, and those that it starts, have as many descriptors as a test needs.
pub(crate) fn allow_descriptors(count: u64) {
    // Between a look and a change another test must not have got more.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of descriptors");
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count)).expect("more descriptors");
    }
}
