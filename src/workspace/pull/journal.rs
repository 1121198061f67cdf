//! What a pull is about to change, a line of JSON for each change, written before the change is made.
//!
//! From a record and what lies on the stage can be told whether the change was made, and whether it was taken back
//! already: taking back may be killed, and begun again any number of times.

use super::fault::point;
use super::node::{BITS, Node};
use super::tree::{HostTree, look, names};
use pyro_protocol::Bytes;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What the records mean.
pub(super) const VERSION: u32 = 1;

/// One change. Names are those of the stage, paths those of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one.
    Begin {
        /// Of the meaning of the rest.
        version: u32,
        /// The directory, absolute.
        root: Bytes,
        /// Its device and inode.
        identity: (u64, u64),
        /// The name of the stage in it.
        stage: String,
    },
    /// A directory moves from the stage to where nothing is.
    Made {
        path: Bytes,
        name: String,
        inode: u64,
    },
    /// This file or link moves from the stage to where nothing is.
    Placed {
        path: Bytes,
        name: String,
        node: Node,
    },
    /// What is on the stage (this, with this inode) and what is at the path change places.
    Exchanged {
        path: Bytes,
        name: String,
        inode: u64,
        node: Node,
    },
    /// What is at the path moves to the stage.
    Taken { path: Bytes, name: String },
    /// A directory (with this inode) gets other permissions than these.
    Mode { path: Bytes, inode: u64, mode: u32 },
}

/// The journal of a pull that is being made.
#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    pub(super) fn create(path: &Path, begin: &Record) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut log = Self(file);
        log.append(begin)?;
        Ok(log)
    }

    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// The records of a journal; nothing where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<Record>>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        done => done?,
    };
    // The last line was cut off where its writer was killed: its change was not made.
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
    let mut records = Vec::new();
    for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
        let record: Record = serde_json::from_slice(line)?;
        match &record {
            Record::Begin { version, .. } if *version != VERSION || !records.is_empty() => {
                return Err(io::Error::other("the journal is of another pyro"));
            }
            Record::Begin { .. }
            | Record::Made { .. }
            | Record::Placed { .. }
            | Record::Exchanged { .. }
            | Record::Taken { .. }
            | Record::Mode { .. } => records.push(record),
        }
    }
    Ok(Some(records))
}

/// What could not be put back.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Paths that somebody has changed meanwhile, so that nothing is put there any more.
    pub(super) left: Vec<Vec<u8>>,
    /// The first thing that the host refused: another try may do it.
    pub(super) refused: Option<(Errno, Vec<u8>)>,
}

/// Takes back all that was done of `records`, the last first.
pub(super) fn undo(tree: &HostTree, stage: impl AsFd, records: &[Record]) -> Undone {
    let back = Back {
        tree,
        stage: stage.as_fd(),
    };
    let mut undone = Undone::default();
    for record in records.iter().rev() {
        let (path, done) = match record {
            Record::Begin { .. } => continue,
            Record::Made { path, name, inode } => (path, back.made(path, name, *inode)),
            Record::Placed { path, name, node } => (path, back.placed(path, name, node)),
            Record::Exchanged {
                path,
                name,
                inode,
                node,
            } => (path, back.exchanged(path, name, *inode, node)),
            Record::Taken { path, name } => (path, back.taken(path, name)),
            Record::Mode { path, inode, mode } => (path, back.mode(path, *inode, *mode)),
        };
        match done {
            Ok(true) => {}
            Ok(false) => undone.left.push(path.to_vec()),
            Err(errno) => drop(undone.refused.get_or_insert((errno, path.to_vec()))),
        }
    }
    undone
}

struct Back<'a> {
    tree: &'a HostTree,
    stage: std::os::fd::BorrowedFd<'a>,
}

/// Each of them says whether the path is as it was, as far as that is for us to say.
impl Back<'_> {
    fn parent<'p>(&self, path: &'p [u8]) -> Result<Option<(OwnedFd, &'p [u8])>, Errno> {
        match self.tree.parent(path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            done => done.map(Some),
        }
    }

    fn on_stage(&self, name: &str) -> Result<Option<Stat>, Errno> {
        at(self.stage, name.as_bytes())
    }

    fn made(&self, path: &[u8], name: &str, inode: u64) -> Result<bool, Errno> {
        if self.on_stage(name)?.is_some() {
            return Ok(true);
        }
        let Some((folder, last)) = self.parent(path)? else {
            return Ok(true);
        };
        match at(&folder, last)? {
            Some(there) if there.st_ino == inode && is_directory(&there) => {
                point()?;
                match unlinkat(&folder, last, AtFlags::REMOVEDIR) {
                    // Somebody has put something into it.
                    Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
                    done => done.map(|()| true),
                }
            }
            Some(_) | None => Ok(true),
        }
    }

    fn placed(&self, path: &[u8], name: &str, node: &Node) -> Result<bool, Errno> {
        if self.on_stage(name)?.is_some() {
            return Ok(true);
        }
        let Some((folder, last)) = self.parent(path)? else {
            return Ok(true);
        };
        // By what it holds: the kernel gives an inode to another file as soon as it is free.
        match look(&folder, last)? {
            there if there == *node => {
                point()?;
                shift((&folder, last), (&self.stage, name.as_bytes()))?;
                Ok(true)
            }
            Node::Absent => Ok(true),
            Node::File { .. } | Node::Link { .. } | Node::Directory { .. } | Node::Other => {
                Ok(false)
            }
        }
    }

    fn exchanged(&self, path: &[u8], name: &str, inode: u64, node: &Node) -> Result<bool, Errno> {
        match self.on_stage(name)? {
            None => return Ok(true),
            Some(staged) if staged.st_ino == inode => return Ok(true),
            Some(_) => {}
        }
        let Some((folder, last)) = self.parent(path)? else {
            return Ok(false);
        };
        match look(&folder, last)? {
            there if there == *node => {
                point()?;
                exchange(self.stage, name.as_bytes(), &folder, last)?;
                Ok(true)
            }
            // Somebody took ours away.
            Node::Absent => {
                point()?;
                shift((&self.stage, name.as_bytes()), (&folder, last))?;
                Ok(true)
            }
            Node::File { .. } | Node::Link { .. } | Node::Directory { .. } | Node::Other => {
                Ok(false)
            }
        }
    }

    fn taken(&self, path: &[u8], name: &str) -> Result<bool, Errno> {
        if self.on_stage(name)?.is_none() {
            return Ok(true);
        }
        let Some((folder, last)) = self.parent(path)? else {
            return Ok(false);
        };
        point()?;
        match shift((&self.stage, name.as_bytes()), (&folder, last)) {
            Err(Errno::EXIST) => Ok(false),
            done => done.map(|()| true),
        }
    }

    fn mode(&self, path: &[u8], inode: u64, mode: u32) -> Result<bool, Errno> {
        let Some((folder, last)) = self.parent(path)? else {
            return Ok(true);
        };
        match at(&folder, last)? {
            Some(there) if there.st_ino == inode && is_directory(&there) => {
                point()?;
                set_mode(&folder, last, mode)?;
                Ok(true)
            }
            Some(_) | None => Ok(true),
        }
    }
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(super) fn at(folder: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Moves something to where nothing is.
pub(super) fn shift<A: AsFd, B: AsFd>(
    (from, name): (A, &[u8]),
    (to, target): (B, &[u8]),
) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, target, RenameFlags::NOREPLACE) {
        // The file system has no such rename. The window between look and rename is open to the caller's own
        // processes only.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match at(&to, target)? {
            Some(_) => Err(Errno::EXIST),
            None => rustix::fs::renameat(&from, name, &to, target),
        },
        done => done,
    }
}

/// Lets two things change their places, without a moment in which one of them is missing.
///
/// # Errors
/// What the kernel says; [`Errno::INVAL`] and [`Errno::NOSYS`] where the file system has no such rename.
pub(super) fn exchange(
    one: impl AsFd,
    name: &[u8],
    other: impl AsFd,
    path: &[u8],
) -> Result<(), Errno> {
    renameat_with(one, name, other, path, RenameFlags::EXCHANGE)
}

/// Sets the permissions of a directory that its owner may not even open.
pub(super) fn set_mode(folder: impl AsFd, name: &[u8], mode: u32) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let itself = crate::workspace::host_write::open_beneath(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&itself)?;
    // What a directory hands on to what is made in it stays.
    let kept = stat.st_mode & 0o7777 & !BITS;
    let path = format!("/proc/self/fd/{}", itself.as_raw_fd());
    rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(kept | (mode & BITS)))
}

/// Whether a directory has nothing in it.
pub(super) fn is_empty(folder: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    Ok(names(folder, name)?.is_empty())
}
