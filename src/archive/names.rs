//! Names of an archive: what leads out, what lies below something that holds nothing, what is there twice.

use super::{ArchiveError, Kind};
use std::collections::HashMap;

/// Bytes of all names together.
const MAX_NAMES: usize = 128 << 20;
const PATH_MAX: usize = 4095;
const NAME_MAX: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Directory,
    File,
    Link,
    LeftOut,
}

/// The entries so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: HashMap<Vec<u8>, Seen>,
    bytes: usize,
}

fn refused(path: &[u8], why: &str) -> ArchiveError {
    ArchiveError::Refused {
        path: path.to_vec(),
        why: why.to_owned(),
    }
}

/// A name as a path below the top; empty for the top itself.
pub(super) fn clean(raw: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    if raw.first() == Some(&b'/') {
        return Err(refused(raw, "is an absolute name"));
    }
    if raw.contains(&0) {
        return Err(refused(raw, "has a NUL byte"));
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refused(raw, "leads out by `..`")),
            part if part.len() > NAME_MAX => return Err(refused(raw, "is too long a name")),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    if path.len() > PATH_MAX {
        return Err(refused(raw, "is too long a name"));
    }
    Ok(path)
}

impl Names {
    /// Notes an entry.
    pub(super) fn add(&mut self, raw: &[u8], path: &[u8], kind: &Kind) -> Result<(), ArchiveError> {
        if path.is_empty() {
            return match kind {
                Kind::Directory => Ok(()),
                Kind::File { .. } | Kind::Symlink(_) | Kind::HardLink(_) | Kind::LeftOut(_) => {
                    Err(refused(raw, "is no name of a file"))
                }
            };
        }
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            match self.seen.get(&path[..end]) {
                None => self.note(&path[..end], Seen::Directory)?,
                Some(Seen::Directory) => {}
                Some(Seen::Link) => return Err(refused(raw, "lies behind a link of the archive")),
                Some(Seen::File | Seen::LeftOut) => {
                    return Err(refused(raw, "lies below a file of the archive"));
                }
            }
        }
        let now = match kind {
            Kind::Directory => Seen::Directory,
            Kind::File { .. } | Kind::HardLink(_) => Seen::File,
            Kind::Symlink(_) => Seen::Link,
            Kind::LeftOut(_) => Seen::LeftOut,
        };
        if let Kind::HardLink(target) = kind
            && self.seen.get(target) != Some(&Seen::File)
        {
            return Err(refused(
                raw,
                "is another name of what no earlier entry is a file",
            ));
        }
        match self.seen.get(path) {
            None => self.note(path, now),
            // Told again, as some programs do.
            Some(Seen::Directory) if now == Seen::Directory => Ok(()),
            Some(_) => Err(refused(raw, "is in the archive twice")),
        }
    }

    fn note(&mut self, path: &[u8], seen: Seen) -> Result<(), ArchiveError> {
        self.bytes += path.len();
        if self.bytes > MAX_NAMES {
            let why = "its names alone take more than 128 MiB".to_owned();
            return Err(ArchiveError::TooLarge(why));
        }
        self.seen.insert(path.to_vec(), seen);
        Ok(())
    }
}
