//! Keeps one output stream: head and tail in memory, everything in a file once it is long.

use crate::receipt::{OutputReport, Text};
use crate::request::Digest;
use pyro_protocol::message::StreamReport;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// One output stream, as it arrives. Until it is longer than twice `half`, head and tail are all of it.
#[derive(Debug)]
pub(super) struct Output {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    received: usize,
    /// Of all that arrived, where it may not be what the guest counted.
    sha256: Option<Sha256>,
    path: PathBuf,
    file: Option<File>,
    error: Option<io::Error>,
    /// Secrets were taken out of it before it came here: the guest's own account is of something else.
    pub(super) redacted: bool,
}

impl Output {
    /// Keeps `limit` bytes in memory; once there is more, everything is in a file at `path` as well.
    pub(super) fn new(limit: u64, path: PathBuf) -> Self {
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1);
        Self {
            half,
            head: Vec::new(),
            tail: VecDeque::new(),
            received: 0,
            sha256: None,
            path,
            file: None,
            error: None,
            redacted: false,
        }
    }

    /// Counts by itself: what comes is without secrets.
    pub(super) fn counting(mut self, counts: bool) -> Self {
        self.sha256 = counts.then(Sha256::new);
        self
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received = self.received.saturating_add(bytes.len());
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if self.received > self.half.saturating_mul(2)
            && self.error.is_none()
            && let Err(error) = self.spill(bytes)
        {
            self.error = Some(error);
        }
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..excess);
    }

    /// Writes the bytes to the file, which gets everything before them when it is made.
    fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)?;
            file.write_all(&self.head)?;
            file.write_all(self.tail.make_contiguous())?;
            self.file = Some(file);
        }
        self.file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Everything that arrived.
    ///
    /// # Errors
    /// Where the file could not be written or read.
    pub(super) fn all(&mut self) -> io::Result<Cow<'_, [u8]>> {
        if let Some(error) = &self.error {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        if self.file.is_some() {
            return fs::read(&self.path).map(Cow::Owned);
        }
        let mut bytes = self.head.clone();
        bytes.extend(&self.tail);
        Ok(Cow::Owned(bytes))
    }

    /// For the receipt; `counted` is the guest's own account.
    pub(super) fn report(mut self, counted: &StreamReport) -> OutputReport {
        let truncated = self.file.is_some() || self.error.is_some();
        if !truncated {
            self.head.extend(&self.tail);
        }
        let sha256 = self.sha256.filter(|_| self.redacted);
        let (bytes, sha256) = match sha256 {
            Some(sha256) => (
                self.received as u64 + counted.dropped,
                Digest(sha256.finalize().into()).hex(),
            ),
            None => (counted.bytes, counted.sha256.clone()),
        };
        OutputReport {
            bytes,
            dropped: counted.dropped,
            sha256,
            redacted: self.redacted,
            head: Text::from(&self.head[..]),
            tail: truncated.then(|| Text::from(&*self.tail.make_contiguous())),
            truncated,
            file: self.file.is_some().then(|| self.path.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use pyro_protocol::message::StreamReport;
    use std::io::Read as _;

    #[test]
    fn short_output_is_whole_and_long_output_has_head_tail_and_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for (total, piece) in [
            (0, 1),
            (7, 3),
            (10, 4),
            (11, 11),
            (25, 1),
            (1000, 7),
            (1000, 999),
        ] {
            let path = folder.path().join(format!("{total}-{piece}"));
            let all: Vec<u8> = (0..total)
                .map(|index| b'a' + u8::try_from(index % 26).expect("small"))
                .collect();
            let mut output = Output::new(10, path.clone());
            for bytes in all.chunks(piece) {
                output.push(bytes);
            }
            assert_eq!(
                output.all().expect("kept").as_ref(),
                all,
                "{total} in pieces of {piece}"
            );
            let report = output.report(&StreamReport::default());
            assert_eq!(report.truncated, total > 10, "{total} in pieces of {piece}");
            if report.truncated {
                assert_eq!(report.head.text.as_bytes(), &all[..5]);
                assert_eq!(
                    report.tail.expect("a tail").text.as_bytes(),
                    &all[total - 5..]
                );
                let mut kept = Vec::new();
                std::fs::File::open(&path)
                    .expect("a file")
                    .read_to_end(&mut kept)
                    .expect("reads");
                assert_eq!(kept, all);
            } else {
                assert_eq!(report.head.text.as_bytes(), all);
                assert!(!path.exists());
            }
        }
    }
}
