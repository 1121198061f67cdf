//! A directory of the host that changes are brought home into. Everything is found below one descriptor, through no
//! link.

use super::error::PullError;
use super::node::{BITS, Node};
use crate::request::Digest;
use crate::workspace::host_write::open_beneath;
use pyro_protocol::Bytes;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, readlinkat, statat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another pull into the same directory is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a moment is between two looks at its lock.
const LOOK: Duration = Duration::from_millis(10);

/// The directory, held open.
#[derive(Debug)]
pub struct HostTree {
    pub(super) root: OwnedFd,
    path: PathBuf,
}

/// What is found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This.
    Node(Node),
    /// One of the directories on the way is something else; which one, and what it is.
    Blocked(Vec<u8>, Node),
}

impl HostTree {
    /// Opens the directory, which is absolute. A link on the way, or in its place, is not followed.
    ///
    /// # Errors
    /// Where it is no directory, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, PullError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opening = PullError::host("open", path);
        let mut folder =
            rustix::fs::open(c"/", flags | OFlags::CLOEXEC, Mode::empty()).map_err(&opening)?;
        for part in path.components() {
            let Component::Normal(part) = part else {
                continue;
            };
            folder = match open_beneath(&folder, part.as_bytes(), flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(PullError::NotADirectory(path.to_owned()));
                }
                Err(errno) => return Err(opening(errno)),
            };
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = open_beneath(&folder, b".", flags, Mode::empty()).map_err(opening)?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other pull writes into it, and keeps others out for as long as this value lives.
    ///
    /// # Errors
    /// Where another one takes too long.
    pub fn lock(&self) -> Result<(), PullError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => {
                    return Err(PullError::Busy(self.path.clone()));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK),
                // Not every file system has locks. Each change is checked where it is made all the same.
                Ok(()) | Err(_) => return Ok(()),
            }
        }
    }

    /// The absolute path of something in it, for people and receipts.
    pub fn shown(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }

    pub(super) fn stat(&self) -> Result<Stat, PullError> {
        fstat(&self.root).map_err(PullError::host("look at", &self.path))
    }

    /// The directory that a path lies in, and its last part.
    pub(super) fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (above, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let above = if above.is_empty() { b"." } else { above };
        Ok((open_beneath(&self.root, above, flags, Mode::empty())?, name))
    }

    /// What is at a path. A file is read for its digest.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn find(&self, path: &[u8]) -> Result<Found, PullError> {
        let refused = |errno| PullError::host("look at", &self.shown(path))(errno);
        match self.parent(path) {
            Ok((folder, name)) => look(&folder, name).map(Found::Node).map_err(refused),
            Err(Errno::NOENT) => Ok(Found::Node(Node::Absent)),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let ends = (path.iter().enumerate())
                    .filter(|(_, byte)| **byte == b'/')
                    .map(|(end, _)| &path[..end]);
                for above in ends {
                    match self.find(above)? {
                        Found::Node(Node::Directory { .. }) => {}
                        Found::Node(Node::Absent) => break,
                        Found::Node(there) => return Ok(Found::Blocked(above.to_vec(), there)),
                        blocked @ Found::Blocked(..) => return Ok(blocked),
                    }
                }
                // It was put right meanwhile.
                Ok(Found::Node(Node::Absent))
            }
            Err(errno) => Err(refused(errno)),
        }
    }

    /// The contents of a regular file, at most `limit` bytes.
    ///
    /// # Errors
    /// Where it cannot be read, or is longer.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, PullError> {
        let shown = self.shown(path);
        let refused = PullError::host("read", &shown);
        let (folder, name) = self.parent(path).map_err(&refused)?;
        let flags = OFlags::RDONLY;
        let file = open_beneath(&folder, name, flags, Mode::empty()).map_err(&refused)?;
        let mut bytes = Vec::new();
        let read = File::from(file).take(limit + 1).read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 <= limit => Ok(bytes),
            Ok(_) => Err(PullError::Changed(shown)),
            Err(error) => Err(refused(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        }
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, PullError> {
        let read = || {
            let (folder, name) = self.parent(path)?;
            names(&folder, name)
        };
        read().map_err(PullError::host("read", &self.shown(path)))
    }
}

/// The names in a directory of an open one.
pub(super) fn names(folder: impl AsFd, name: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = open_beneath(folder, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// What is at a name of an open directory.
pub(super) fn look(folder: impl AsFd, name: &[u8]) -> Result<Node, Errno> {
    let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Node::Absent),
        Err(errno) => return Err(errno),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Node::Directory {
            mode: stat.st_mode & BITS,
        }),
        FileType::Symlink => match readlinkat(&folder, name, Vec::new()) {
            Ok(target) => Ok(Node::Link {
                target: Bytes::from(target.to_bytes()),
            }),
            Err(Errno::NOENT) => Ok(Node::Absent),
            Err(errno) => Err(errno),
        },
        FileType::RegularFile => {
            let file = match open_beneath(&folder, name, OFlags::RDONLY, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Ok(Node::Absent),
                Err(errno) => return Err(errno),
            };
            // It may be another one by now.
            let stat = fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(Node::Other);
            }
            let (size, sha256) =
                hash(file).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            Ok(Node::File {
                mode: stat.st_mode & BITS,
                size,
                sha256,
            })
        }
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Ok(Node::Other),
    }
}

fn hash(mut file: File) -> io::Result<(u64, Digest)> {
    let mut sha256 = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, Digest(sha256.finalize().into()))),
            Ok(count) => {
                sha256.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The directory part and the last part of a path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Whether a path names something below a tree and nothing else: relative, without `.`, `..` and empty parts.
pub fn is_below(path: &[u8]) -> bool {
    !path.is_empty()
        && !path.contains(&0)
        && path
            .split(|byte| *byte == b'/')
            .all(|part| !part.is_empty() && part != b"." && part != b"..")
}
