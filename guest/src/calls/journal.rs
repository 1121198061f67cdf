//! Changes to the tree that can be taken back: each one is noted on disk before it is made.
//!
//! ```text
//!  stage/wN/        a corner: everything that moves lies here before or after
//!          journal  what was begun; while it is there, the set is not finished
//!
//!  note, change, note, change, ... --keep--> journal removed: the new tree
//!                  `--- failure, or the agent is killed and the next one comes: undo --> the old tree
//! ```
//! One set at a time changes the tree, so that what is taken back is never what another set has made.

mod fault;
mod record;
mod recover;
mod rubbish;
#[cfg(test)]
mod tests;
mod undo;

#[cfg(test)]
pub(super) use fault::Faults;
pub(super) use fault::point;
pub use recover::Recovered;
pub(super) use recover::recover;
pub(crate) use rubbish::names;

use super::World;
use crate::tree::{self, Links};
use pyro_protocol::Bytes;
use pyro_protocol::message::{Failure, Kind};
use record::{Log, Record};
pub(crate) use rubbish::{remove_all, unlink_shared};
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};
use undo::{Undone, undo};

/// How often a directory that somebody else makes and removes is looked at again.
const RETRIES: u32 = 16;

/// The changes of one call, and its corner of the stage. Dropped before [`Journal::keep`], it takes all back.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    world: &'a World,
    corner: OwnedFd,
    name: String,
    /// The file, and the turn to change the tree; from the first change on.
    log: Option<(Log, MutexGuard<'a, ()>)>,
    records: Vec<Record>,
    /// Directories whose times are noted, or that are new.
    seen: HashSet<Vec<u8>>,
    next: u64,
    /// Kept, or taken back: what is in the corner is not needed any more.
    over: bool,
    /// Nothing is wrong: what is in the corner can wait for its removal.
    kept: bool,
}

/// Which of both paths of a move the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotMoved {
    From(Errno),
    To(Errno),
}

impl<'a> Journal<'a> {
    /// Makes a corner on the stage.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(world: &'a World) -> Result<Self, Errno> {
        let name = world.fresh_name();
        let stage = world.stage()?;
        point()?;
        fs::mkdirat(stage, name.as_str(), Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let corner = fs::openat(stage, name.as_str(), flags, Mode::empty())?;
        Ok(Self {
            world,
            corner,
            name,
            log: None,
            records: Vec::new(),
            seen: HashSet::new(),
            next: 0,
            over: false,
            kept: false,
        })
    }

    /// The corner of the stage.
    pub(super) fn corner(&self) -> BorrowedFd<'_> {
        self.corner.as_fd()
    }

    /// A name that is free in the corner.
    pub(super) fn fresh(&mut self) -> String {
        self.next += 1;
        format!("{}", self.next)
    }

    /// Writes down what is going to be done.
    fn note(&mut self, record: Record) -> Result<(), Errno> {
        if self.log.is_none() {
            let turn = self.world.turn.lock();
            let turn = turn.unwrap_or_else(PoisonError::into_inner);
            point()?;
            self.log = Some((Log::create(self.corner.as_fd())?, turn));
        }
        if let Some((log, _)) = &mut self.log {
            point()?;
            log.append(&record)?;
        }
        self.records.push(record);
        Ok(())
    }

    /// Opens the parent of a path for a change, making it where it is missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn parent(&mut self, parent: &[u8]) -> Result<OwnedFd, Errno> {
        let mut left = RETRIES;
        loop {
            match tree::open_parent(&self.world.tree, parent, Links::Refuse) {
                Ok(fd) => {
                    if self.seen.insert(parent.to_vec()) {
                        let stat = fs::fstat(&fd)?;
                        self.note(Record::times(parent, &stat))?;
                    }
                    return Ok(fd);
                }
                Err(Errno::NOENT) => match self.make(parent) {
                    // Somebody else made it in this moment.
                    Err(Errno::EXIST) if left > 0 => left -= 1,
                    done => return done,
                },
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Makes a directory in the corner, finished, and moves it to where nothing is.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let Some((above, last)) = tree::split(path) else {
            return Err(Errno::NOENT);
        };
        let dir = self.parent(above)?;
        let name = self.fresh();
        point()?;
        fs::mkdirat(&self.corner, name.as_str(), Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.corner, name.as_str(), flags, Mode::empty())?;
        self.world.own(&made)?;
        fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
        self.note(Record::Made {
            path: Bytes::from(path),
            name: name.clone(),
            inode: fs::fstat(&made)?.st_ino,
        })?;
        shift(self.corner.as_fd(), name.as_bytes(), dir.as_fd(), last)?;
        self.seen.insert(path.to_vec());
        Ok(made)
    }

    /// Takes something that was unpacked deeper in the corner to its top.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn lift(&mut self, from: BorrowedFd<'_>, name: &[u8]) -> Result<String, Errno> {
        let fresh = self.fresh();
        shift(from, name, self.corner.as_fd(), fresh.as_bytes())?;
        Ok(fresh)
    }

    /// Moves `staged` of the corner to a path where nothing is.
    ///
    /// # Errors
    /// What the kernel says; `EXIST` where something is.
    pub(super) fn place(&mut self, staged: &str, path: &[u8]) -> Result<(), Errno> {
        let (dir, last) = self.at(path)?;
        self.note(Record::Placed {
            path: Bytes::from(path),
            name: staged.to_owned(),
        })?;
        shift(self.corner.as_fd(), staged.as_bytes(), dir.as_fd(), last)
    }

    /// Lets `staged` of the corner and what is at the path change places: the path is never empty. The old one then
    /// has the name of the staged one.
    ///
    /// # Errors
    /// What the kernel says; `NOENT` where nothing is.
    pub(super) fn exchange(&mut self, staged: &str, path: &[u8]) -> Result<(), Errno> {
        let (dir, last) = self.at(path)?;
        let inode = fs::statat(&self.corner, staged, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        self.note(Record::Exchanged {
            path: Bytes::from(path),
            name: staged.to_owned(),
            inode,
        })?;
        point()?;
        fs::renameat_with(&self.corner, staged, &dir, last, RenameFlags::EXCHANGE)
    }

    /// Moves what is at a path to the corner, under the name that is returned.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn take(&mut self, path: &[u8]) -> Result<String, Errno> {
        let (dir, last) = self.at(path)?;
        let name = self.fresh();
        let stat = fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = tree::kind(&stat) == Kind::Directory;
        self.note(Record::Taken {
            path: Bytes::from(path),
            name: name.clone(),
            inode: stat.st_ino,
            mode: is_directory.then(|| tree::mode(&stat)),
        })?;
        shift(dir.as_fd(), last, self.corner.as_fd(), name.as_bytes())?;
        Ok(name)
    }

    /// Gives what is at a path another one, where nothing is, by one rename.
    ///
    /// # Errors
    /// What the kernel says, and of which of both paths; `EXIST` where something is there.
    pub(super) fn relocate(&mut self, from: &[u8], to: &[u8]) -> Result<(), NotMoved> {
        // Not made where it is missing, unlike the other one.
        let (above, last) = tree::split(from).ok_or(NotMoved::From(Errno::INVAL))?;
        let old = tree::open_parent(&self.world.tree, above, Links::Refuse);
        let old = old.map_err(NotMoved::From)?;
        let stat = fs::statat(&old, last, AtFlags::SYMLINK_NOFOLLOW).map_err(NotMoved::From)?;
        if self.seen.insert(above.to_vec()) {
            let times = fs::fstat(&old).map_err(NotMoved::From)?;
            self.note(Record::times(above, &times))
                .map_err(NotMoved::From)?;
        }
        let (new, new_last) = self.at(to).map_err(NotMoved::To)?;
        let is_directory = tree::kind(&stat) == Kind::Directory;
        let name = self.fresh();
        self.note(Record::Moved {
            path: Bytes::from(from),
            to: Bytes::from(to),
            name,
            inode: stat.st_ino,
            mode: is_directory.then(|| tree::mode(&stat)),
        })
        .map_err(NotMoved::From)?;
        shift(old.as_fd(), last, new.as_fd(), new_last).map_err(|errno| match errno {
            Errno::NOENT => NotMoved::From(errno),
            errno => NotMoved::To(errno),
        })
    }

    fn at<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (parent, name) = tree::split(path).ok_or(Errno::EXIST)?;
        Ok((self.parent(parent)?, name))
    }

    /// The changes stay: from here on nobody takes them back.
    ///
    /// # Errors
    /// What the kernel says; then they do not stay.
    pub(super) fn keep(mut self) -> Result<(), (Self, Errno)> {
        match self.forget() {
            Ok(()) => {
                (self.over, self.kept) = (true, true);
                Ok(())
            }
            Err(errno) => Err((self, errno)),
        }
    }

    /// Removes the journal's file.
    fn forget(&self) -> Result<(), Errno> {
        if self.log.is_none() {
            return Ok(());
        }
        point()?;
        forget(self.corner.as_fd())
    }

    /// Takes everything back, and adds to a failure how that went.
    pub(super) fn take_back(mut self, failure: Failure) -> Failure {
        let undone = self.undo();
        let names = |paths: &[Vec<u8>]| {
            let shown: Vec<_> = (paths.iter().take(5))
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect();
            let more = paths.len() - shown.len();
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("{}{rest}", shown.join(", "))
        };
        let how = match &undone {
            Undone {
                refused: Some((errno, path)),
                ..
            } => format!(
                "the set is not wholly taken back ({}: {}); the agent that opens this run next tries again",
                String::from_utf8_lossy(path),
                std::io::Error::from(*errno)
            ),
            Undone { in_the_way, .. } if !in_the_way.is_empty() => format!(
                "the set is taken back, but where a program was in the way: {}",
                names(in_the_way)
            ),
            Undone { .. } => NOTHING_CHANGED.to_owned(),
        };
        Failure {
            message: format!("{}; {how}", failure.message),
            ..failure
        }
    }

    fn undo(&mut self) -> Undone {
        let mut undone = undo(self.world.tree.as_fd(), self.corner.as_fd(), &self.records);
        // The journal goes first: a corner without its contents must not have one.
        if undone.refused.is_none()
            && let Err(errno) = self.forget()
        {
            undone.refused = Some((errno, b"journal".to_vec()));
        }
        self.over = undone.refused.is_none();
        self.records.clear();
        undone
    }
}

/// Says that a failure left nothing behind.
pub(super) const NOTHING_CHANGED: &str = "nothing was changed";

/// Removes the journal of a corner.
fn forget(corner: BorrowedFd<'_>) -> Result<(), Errno> {
    fs::unlinkat(corner, record::FILE, AtFlags::empty())
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if !self.over && !self.records.is_empty() {
            let _ = self.undo();
        }
        // What could not be taken back stays for the agent that comes next.
        if (self.over || self.log.is_none())
            && point().is_ok()
            && let Ok(stage) = self.world.stage()
        {
            match self.kept {
                true => self.world.throw_away(self.name.as_bytes().to_vec()),
                false => remove_all(stage, self.name.as_bytes()),
            }
        }
    }
}

/// Moves something to where nothing is. Moving a directory rewrites its `..`, for which it must be writable: one
/// that is not is made so for the moment.
fn shift(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<(), Errno> {
    let rename = || {
        point()?;
        fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
    };
    let refused = match rename() {
        Err(Errno::ACCESS) => Errno::ACCESS,
        done => return done,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::openat(from, name, flags, Mode::empty()).map_err(|_| refused)?;
    let mode = Mode::from_raw_mode(tree::mode(&fs::fstat(&dir)?));
    point()?;
    fs::fchmod(&dir, mode | Mode::RWXU)?;
    let done = rename();
    point()?;
    fs::fchmod(&dir, mode)?;
    done
}
