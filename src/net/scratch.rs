//! One buffer per thread for bytes that are on their way through.
//!
//! A connection that waits holds no buffer. Whoever moves bytes borrows the one of the thread for as long as it does not
//! wait, so that memory grows with the number of threads and not with the number of connections.

use std::cell::RefCell;

/// Bytes that one read takes from a socket at most.
///
/// 64 KiB: a busy connection costs one system call for hundreds of small packets, and four full TLS records fit.
pub(crate) const SCRATCH_LEN: usize = 64 * 1024;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer for bytes that come in; it is `SCRATCH_LEN` long and its content is undefined.
pub(crate) fn with_incoming<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    INCOMING.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.resize(SCRATCH_LEN, 0);
            work(&mut buffer)
        }
        // A nested use does not happen today; if it ever does it costs an allocation, not a panic.
        Err(_) => work(&mut vec![0; SCRATCH_LEN]),
    })
}

/// Lends the thread's buffer for bytes that go out; it is empty, and what is left in it is forgotten.
pub(crate) fn with_outgoing<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    OUTGOING.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            let done = work(&mut buffer);
            buffer.clear();
            buffer.shrink_to(2 * SCRATCH_LEN);
            done
        }
        Err(_) => work(&mut Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_use_gets_a_buffer_of_its_own() {
        with_incoming(|outer| {
            outer[0] = 1;
            with_incoming(|inner| {
                assert_eq!(inner.len(), SCRATCH_LEN);
                inner[0] = 2;
            });
            assert_eq!(outer[0], 1);
        });
    }

    #[test]
    fn outgoing_begins_empty() {
        with_outgoing(|buffer| buffer.extend_from_slice(b"left"));
        with_outgoing(|buffer| assert!(buffer.is_empty()));
    }
}
