//! The bytes of the tar itself, whatever it is packed with, and never more of them than was allowed.

use super::header::has_right_sum;
use super::{ArchiveError, BLOCK, damaged};
use sha2::{Digest as _, Sha256};
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// What people try as well.
const OTHERS: [(&[u8], &str); 4] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
];

/// Looks at the first bytes of a file and unpacks what it is.
pub(super) fn open(
    mut file: impl Read + Send + 'static,
) -> Result<Box<dyn Read + Send>, ArchiveError> {
    let start = beginning(&mut file).map_err(ArchiveError::Io)?;
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(ArchiveError::NotAnArchive(format!(
            "{name} is not read here; a tar, plain or packed with gzip or zstd, is"
        )));
    }
    let packed = start.starts_with(GZIP) || start.starts_with(ZSTD);
    let is_zstd = start.starts_with(ZSTD);
    let whole = Cursor::new(start.clone()).chain(file);
    let mut unpacked: Box<dyn Read + Send> = match (packed, is_zstd) {
        (true, true) => Box::new(Frames::new(Box::new(whole))),
        (true, false) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (false, _) => Box::new(whole),
    };
    let start = beginning(&mut unpacked).map_err(|error| torn(&error))?;
    let is_tar = <[u8; BLOCK]>::try_from(start.as_slice())
        .is_ok_and(|block| has_right_sum(&block) || block.iter().all(|byte| *byte == 0));
    if !is_tar {
        let is_named = start.get(257..262) == Some(b"ustar");
        return match (start.is_empty(), is_named) {
            (true, _) => Err(ArchiveError::NotAnArchive("it is empty".to_owned())),
            (_, true) => damaged("the checksum of a header is wrong"),
            (_, false) => Err(ArchiveError::NotAnArchive(
                "it does not begin as a tar does".to_owned(),
            )),
        };
    }
    Ok(Box::new(Cursor::new(start).chain(unpacked)))
}

/// At most one block from the beginning.
fn beginning(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(BLOCK as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn torn(error: &io::Error) -> ArchiveError {
    ArchiveError::Damaged(error.to_string())
}

/// zstd: one frame after the other.
struct Frames {
    now: Option<Decoder>,
    rest: Option<Box<dyn Read + Send>>,
}

type Decoder =
    ruzstd::decoding::StreamingDecoder<Box<dyn Read + Send>, ruzstd::decoding::FrameDecoder>;

impl Frames {
    fn new(from: Box<dyn Read + Send>) -> Self {
        Self {
            now: None,
            rest: Some(from),
        }
    }
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.now {
                match decoder.read(out)? {
                    0 if !out.is_empty() => {}
                    count => return Ok(count),
                }
            }
            if let Some(decoder) = self.now.take() {
                self.rest = Some(decoder.into_inner());
            }
            let Some(mut rest) = self.rest.take() else {
                return Ok(0);
            };
            // Nothing more is the end; else another frame begins.
            let mut first = [0; 1];
            if rest.read(&mut first)? == 0 {
                return Ok(0);
            }
            let next: Box<dyn Read + Send> = Box::new(Cursor::new(first).chain(rest));
            let decoder =
                Decoder::new(next).map_err(|error| io::Error::other(error.to_string()))?;
            self.now = Some(decoder);
        }
    }
}

/// A reader that hashes what goes through it.
pub(super) struct Hashed<R> {
    inner: R,
    hash: Hash,
}

/// Of all that went through so far: the reader itself ends up deep inside of what unpacks it.
#[derive(Clone, Default)]
pub(super) struct Hash(Arc<Mutex<Sha256>>);

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> (Self, Hash) {
        let hash = Hash::default();
        let hashed = Self {
            inner,
            hash: hash.clone(),
        };
        (hashed, hash)
    }
}

impl Hash {
    pub(super) fn digest(&self) -> [u8; 32] {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hash.clone().finalize().into()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        let mut hash = self.hash.0.lock().unwrap_or_else(PoisonError::into_inner);
        hash.update(&out[..count]);
        Ok(count)
    }
}

/// A reader that gives no more than it was allowed to.
pub(super) struct Counted {
    inner: Box<dyn Read + Send>,
    left: u64,
    allowed: u64,
    failed: Option<ArchiveError>,
}

impl Counted {
    pub(super) fn new(inner: Box<dyn Read + Send>, allowed: u64) -> Self {
        Self {
            inner,
            left: allowed,
            allowed,
            failed: None,
        }
    }

    fn blame(&mut self, error: &io::Error) -> ArchiveError {
        self.failed.take().unwrap_or_else(|| torn(error))
    }

    /// One block; nothing at the end.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return damaged("it ends within a block"),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.blame(&error)),
            }
        }
        Ok(Some(block))
    }

    pub(super) fn exact(&mut self, out: &mut [u8]) -> Result<(), ArchiveError> {
        match self.read_exact(out) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it ends within a header")
            }
            Err(error) => Err(self.blame(&error)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        match io::copy(&mut self.by_ref().take(count), &mut io::sink()) {
            Ok(skipped) if skipped < count => damaged("it ends within a file"),
            Ok(_) => Ok(()),
            Err(error) => Err(self.blame(&error)),
        }
    }

    /// Reads to the end of all, which is not far.
    pub(super) fn drain(&mut self, most: u64) -> Result<(), ArchiveError> {
        (self.left, self.allowed) = (self.left.min(most), most);
        match io::copy(self, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.blame(&error)),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !out.is_empty() {
            let why = format!(
                "what it is packed with makes it larger than {} bytes",
                self.allowed
            );
            self.failed = Some(ArchiveError::TooLarge(why));
            return Err(io::Error::other("too large"));
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let count = self.inner.read(&mut out[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}
