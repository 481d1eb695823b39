//! The lines of an answer that does not end.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::fault::ApiFault;

/// Bytes of one line: an object has at most 1.5 MiB in the database of a cluster.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Takes an answer apart as it comes.
pub(super) struct Lines {
    body: Incoming,
    buffer: Buffer,
}

impl Lines {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: Buffer::default(),
        }
    }

    /// The next line; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiFault> {
        loop {
            if let Some(line) = self.buffer.take() {
                return Ok(Some(line));
            }
            if self.buffer.bytes.len() > LINE_BYTES_MAX {
                return Err(ApiFault::TooLarge);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.push(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(ApiFault::Unreachable(format!(
                        "the connection to the API server broke: {error}"
                    )));
                }
            }
        }
    }
}

/// What has come and is no whole line yet.
#[derive(Default)]
struct Buffer {
    bytes: BytesMut,
    /// Bytes that are known to hold no end of a line.
    searched: usize,
}

impl Buffer {
    fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    fn take(&mut self) -> Option<Bytes> {
        let rest = self.bytes.get(self.searched..)?;
        let Some(found) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.bytes.split_to(self.searched + found).freeze();
        self.bytes.advance(1);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for size in 1..9 {
            let mut buffer = Buffer::default();
            let mut lines = Vec::new();
            for piece in b"one\n\ntwo three\nrest".chunks(size) {
                buffer.push(piece);
                while let Some(line) = buffer.take() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, ["one", "", "two three"], "{size}");
            assert_eq!(&buffer.bytes[..], b"rest", "{size}");
        }
    }
}
