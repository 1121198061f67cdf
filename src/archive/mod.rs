//! Archives from strangers: a tar, as it is or packed with gzip or zstd, as a stream of checked entries.
//!
//! ```text
//!  file -> unpack (bounded) -> headers -> names checked -> visit(entry, its bytes)
//! ```
//! Nothing here touches a disk but to read the archive. What breaks a rule ends the reading with one sentence; what is
//! merely of no use here (devices, FIFOs) is told as left out.

mod header;
mod names;
mod stream;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

pub use unpack::{Unpacked, unpack};
pub(crate) use write::{Heading, Writes, end, fill_up, heading};

use header::{Header, Long, number, parse_pax};
use names::Names;
use std::fmt;
use std::io::{self, Read};
use stream::{Counted, Hashed};

/// Entries that one archive may have.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes of an extended header.
const MAX_EXTENDED: u64 = 1 << 20;
/// Bytes after the end of an archive: tar programs fill up what they call a record.
const MAX_AFTER: u64 = 16 << 20;
/// Pieces of one sparse file.
const MAX_PIECES: usize = 1 << 16;
pub(crate) const BLOCK: usize = 512;

/// Why an archive is not taken.
#[derive(Debug)]
pub enum ArchiveError {
    /// It is no archive, or one of a form that is not known; which, in words.
    NotAnArchive(String),
    /// It is damaged or cut off; how, in words.
    Damaged(String),
    /// It breaks a rule at this path; which, in words.
    Refused {
        /// As the archive says it.
        path: Vec<u8>,
        /// Completes "PATH ...".
        why: String,
    },
    /// It holds more than it may; what, in words.
    TooLarge(String),
    /// The disk refuses.
    Io(io::Error),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnArchive(why) => write!(f, "it is no archive: {why}"),
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Refused { path, why } => {
                let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
                write!(f, "`{}` {why}", path.escape_debug())
            }
            Self::TooLarge(why) => f.write_str(why),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArchiveError {}

/// One entry, its name checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, without `..`; empty for the top itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with the sticky bit of directories; setuid and setgid are gone.
    pub mode: u32,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of this many bytes; its contents are these pieces (offset, length) and holes between them.
    File {
        /// Bytes.
        size: u64,
        /// In order, not overlapping.
        pieces: Vec<(u64, u64)>,
    },
    /// A directory.
    Directory,
    /// A link, and where it points: kept, never followed.
    Symlink(Vec<u8>),
    /// Another name of an earlier file.
    HardLink(Vec<u8>),
    /// Not carried over: `device`, `fifo`.
    LeftOut(&'static str),
}

/// Reads an archive from its beginning to its end. `limit` bounds the bytes of all files together, and what the
/// archive may become when it is unpacked. Each entry is handed on with a reader of its pieces.
/// The file is read once, so that the digest is of exactly what was handed on.
///
/// # Errors
/// Where it is none, is damaged, breaks a rule or is too large, or where `visit` says so.
pub fn read(
    file: impl Read + Send + 'static,
    limit: u64,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), ArchiveError>,
) -> Result<Whole, ArchiveError> {
    let (file, hash) = Hashed::new(file);
    // Headers and padding beside the contents: an entry takes two blocks at least.
    let room = limit.saturating_add(MAX_ENTRIES * 4 * BLOCK as u64);
    let mut tar = Tar {
        from: Counted::new(stream::open(file)?, room),
        names: Names::default(),
        limit,
        bytes: 0,
        entries: 0,
    };
    tar.all(visit)?;
    // What comes after the end is not read as entries, but a packed archive has its own check at its end.
    tar.from.drain(MAX_AFTER)?;
    Ok(Whole {
        sha256: hash.digest(),
        bytes: tar.bytes,
    })
}

/// An archive that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Of the file as it lies there.
    pub sha256: [u8; 32],
    /// Of all files that it holds.
    pub bytes: u64,
}

struct Tar {
    from: Counted,
    names: Names,
    limit: u64,
    bytes: u64,
    entries: u64,
}

fn damaged<T>(why: &str) -> Result<T, ArchiveError> {
    Err(ArchiveError::Damaged(why.to_owned()))
}

impl Tar {
    fn all(
        &mut self,
        visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut long = Long::default();
        loop {
            let Some(block) = self.from.block()? else {
                return damaged("it ends without the mark of its end");
            };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let header = Header::parse(&block)?;
            match header.kind {
                b'g' => {
                    self.extended(header.size)?;
                }
                b'x' => parse_pax(&self.extended(header.size)?, &mut long)?,
                b'L' => long.path = Some(text(self.extended(header.size)?)),
                b'K' => long.link = Some(text(self.extended(header.size)?)),
                _ => self.entry(&block, &header, std::mem::take(&mut long), visit)?,
            }
        }
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENDED {
            return damaged("an extended header is longer than 1 MiB");
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.from.exact(&mut bytes)?;
        self.from.skip(padding(size))?;
        Ok(bytes)
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        header: &Header,
        long: Long,
        visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            let why = format!("it has more than {MAX_ENTRIES} entries");
            return Err(ArchiveError::TooLarge(why));
        }
        let Long {
            path,
            link,
            size,
            mtime_ns,
            sparse,
        } = long;
        let raw = path.unwrap_or_else(|| header.path.clone());
        let raw = sparse.name.clone().unwrap_or(raw);
        let link = link.unwrap_or_else(|| header.link.clone());
        let mut stored = size.unwrap_or(header.size);
        let refused = |why: &str| ArchiveError::Refused {
            path: raw.clone(),
            why: why.to_owned(),
        };
        let path = names::clean(&raw)?;
        let kind = match header.kind {
            b'0' | b'\0' | b'7' if raw.last() == Some(&b'/') => Kind::Directory,
            b'0' | b'\0' | b'7' => {
                let (size, pieces) = self.pieces(&sparse, &mut stored)?;
                Kind::File { size, pieces }
            }
            b'S' => {
                let mut pieces = header::old_pieces(&block[386..], 4)?;
                let mut more = block[482] != 0;
                while more {
                    let Some(next) = self.from.block()? else {
                        return damaged("it ends in the map of a sparse file");
                    };
                    pieces.extend(header::old_pieces(&next, 21)?);
                    more = next[504] != 0;
                    if pieces.len() > MAX_PIECES {
                        return damaged("a sparse file has too many pieces");
                    }
                }
                Kind::File {
                    size: number(&block[483..495])?,
                    pieces,
                }
            }
            b'5' => Kind::Directory,
            b'2' if link.is_empty() => return Err(refused("is a link to nowhere")),
            b'2' => Kind::Symlink(link),
            b'1' => Kind::HardLink(names::clean(&link)?),
            b'3' | b'4' => Kind::LeftOut("device"),
            b'6' => Kind::LeftOut("fifo"),
            _ => return Err(refused("is of a kind that is not known")),
        };
        let carries = matches!(kind, Kind::File { .. });
        if !carries && !matches!(kind, Kind::Directory) {
            // Some programs give a hard link the size of its file, and no contents.
            stored = 0;
        }
        if let Kind::File { size, pieces } = &kind {
            check_pieces(*size, pieces, stored)?;
            self.bytes = self.bytes.saturating_add(*size);
            if self.bytes > self.limit {
                let why = format!(
                    "it holds more than {} bytes, which is all that there may be",
                    self.limit
                );
                return Err(ArchiveError::TooLarge(why));
            }
        }
        self.names.add(&raw, &path, &kind)?;
        let entry = Entry {
            mode: header.mode
                & if kind == Kind::Directory {
                    0o1777
                } else {
                    0o777
                },
            path,
            kind,
            mtime_ns: mtime_ns.unwrap_or(header.mtime_ns),
        };
        let mut body = (&mut self.from).take(if carries { stored } else { 0 });
        visit(&entry, &mut body)?;
        let rest = body.limit() + if carries { 0 } else { stored };
        self.from.skip(rest + padding(stored))
    }

    /// Size and pieces of a file; the newest form of a sparse one begins with its map.
    fn pieces(
        &mut self,
        sparse: &header::Sparse,
        stored: &mut u64,
    ) -> Result<(u64, Vec<(u64, u64)>), ArchiveError> {
        if sparse.in_data {
            let Some(size) = sparse.size else {
                return damaged("a sparse file has no size");
            };
            let mut read = 0;
            let mut left: Option<u64> = None;
            let mut numbers = Vec::new();
            let mut digits = Vec::new();
            while left != Some(0) {
                let Some(block) = self.from.block()? else {
                    return damaged("it ends in the map of a sparse file");
                };
                read += BLOCK as u64;
                for byte in block {
                    if left == Some(0) {
                        break;
                    }
                    if byte != b'\n' {
                        digits.push(byte);
                        continue;
                    }
                    let value = std::str::from_utf8(&digits)
                        .ok()
                        .and_then(|text| text.parse::<u64>().ok());
                    let Some(value) = value else {
                        return damaged("the map of a sparse file is no list of numbers");
                    };
                    digits.clear();
                    left = match left {
                        None if value > MAX_PIECES as u64 => {
                            return damaged("a sparse file has too many pieces");
                        }
                        None => Some(value * 2),
                        Some(left) => {
                            numbers.push(value);
                            Some(left - 1)
                        }
                    };
                }
                if digits.len() > 20 {
                    return damaged("the map of a sparse file is no list of numbers");
                }
            }
            *stored = (stored.checked_sub(read)).ok_or_else(|| {
                ArchiveError::Damaged("a sparse file is shorter than its map".into())
            })?;
            let pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
            return Ok((size, pieces.collect()));
        }
        if sparse.map.is_empty() && sparse.size.is_none() {
            let whole = Some((0, *stored)).filter(|_| *stored > 0);
            return Ok((*stored, whole.into_iter().collect()));
        }
        Ok((sparse.size.unwrap_or(*stored), sparse.map.clone()))
    }
}

fn check_pieces(size: u64, pieces: &[(u64, u64)], stored: u64) -> Result<(), ArchiveError> {
    let mut end = 0;
    let mut sum = 0u64;
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *next <= size);
        match next {
            Some(next) if *offset >= end => end = next,
            Some(_) | None => return damaged("the pieces of a sparse file do not fit into it"),
        }
        sum = sum.saturating_add(*length);
    }
    if sum != stored {
        return damaged("a sparse file holds other bytes than its map says");
    }
    Ok(())
}

/// From the end of contents to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Without the NUL that ends GNU's long names.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
