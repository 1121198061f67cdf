//! Taking back what a journal tells: right after a failure, or by the agent that comes after one that was killed.
//!
//! It may be interrupted anywhere and begun again: each record is looked at anew, and what is back already stays.

use super::fault;
use super::record::{Record, timestamps};
use super::shift;
use crate::tree::{self, Links};
use pyro_protocol::message::Kind;
use rustix::fs::{self, AtFlags, Mode, RenameFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What could not be put back.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Paths where a program has put other things in the way, or taken the directory away.
    pub(super) in_the_way: Vec<Vec<u8>>,
    /// The first thing that the file system refused. What it was about is still in the corner, for another try.
    pub(super) refused: Option<(Errno, Vec<u8>)>,
}

/// Takes back all that was done of `records`, the last first.
pub(super) fn undo(tree: BorrowedFd<'_>, corner: BorrowedFd<'_>, records: &[Record]) -> Undone {
    let back = Back { tree, corner };
    let mut undone = Undone::default();
    let mut tell = |path: &[u8], result: Result<(), Errno>| match result {
        Ok(()) => {}
        Err(errno) if is_interference(errno) => undone.in_the_way.push(path.to_vec()),
        Err(errno) => drop(undone.refused.get_or_insert((errno, path.to_vec()))),
    };
    for record in records.iter().rev() {
        match record {
            Record::Begin { .. } | Record::Times { .. } => {}
            Record::Made { path, name, inode } => tell(path, back.made(path, name, *inode)),
            Record::Placed { path, name } => tell(path, back.placed(path, name)),
            Record::Exchanged { path, name, inode } => {
                tell(path, back.exchanged(path, name, *inode));
            }
            Record::Taken {
                path,
                name,
                inode,
                mode,
            } => tell(path, back.taken(path, name, *inode, *mode)),
            Record::Moved {
                path,
                to,
                name,
                inode,
                mode,
            } => tell(path, back.moved(path, to, name, (*inode, *mode))),
        }
    }
    // Now that nothing in them changes any more.
    for record in records.iter().rev() {
        if let Record::Times {
            path,
            accessed,
            modified,
        } = record
        {
            let times = timestamps(*accessed, *modified);
            let set = || match tree::split(path) {
                None => fault::point().and_then(|()| fs::futimens(tree, &times)),
                Some((above, name)) => {
                    let dir = tree::open_parent(tree, above, Links::Refuse)?;
                    fault::point()?;
                    fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                }
            };
            tell(path, set());
        }
    }
    undone
}

/// Whether somebody has changed the tree meanwhile, so that another try would find the same.
fn is_interference(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::EXIST
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::NOTEMPTY
            | Errno::LOOP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::NAMETOOLONG
            | Errno::BUSY
            | Errno::ACCESS
            | Errno::PERM
    )
}

struct Back<'a> {
    tree: BorrowedFd<'a>,
    corner: BorrowedFd<'a>,
}

impl Back<'_> {
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (parent, name) = tree::split(path).ok_or(Errno::INVAL)?;
        Ok((tree::open_parent(self.tree, parent, Links::Refuse)?, name))
    }

    /// The same, or nothing where there is no such directory (any more), so that nothing of ours is in it.
    fn parent_if_there<'p>(&self, path: &'p [u8]) -> Result<Option<(OwnedFd, &'p [u8])>, Errno> {
        match self.parent(path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            done => done.map(Some),
        }
    }

    fn made(&self, path: &[u8], name: &str, inode: u64) -> Result<(), Errno> {
        if at(self.corner, name.as_bytes())?.is_some() {
            return Ok(());
        }
        let Some((dir, last)) = self.parent_if_there(path)? else {
            return Ok(());
        };
        match at(dir.as_fd(), last)? {
            Some(there) if there.st_ino == inode && tree::kind(&there) == Kind::Directory => {
                fault::point()?;
                fs::unlinkat(&dir, last, AtFlags::REMOVEDIR)
            }
            // Somebody else's, or gone: by a program, or since it was taken back before.
            Some(_) | None => Ok(()),
        }
    }

    fn placed(&self, path: &[u8], name: &str) -> Result<(), Errno> {
        if at(self.corner, name.as_bytes())?.is_some() {
            return Ok(());
        }
        let Some((dir, last)) = self.parent_if_there(path)? else {
            return Ok(());
        };
        match at(dir.as_fd(), last)? {
            None => Ok(()),
            // Also where a program has put something else there: nothing was what was promised.
            Some(_) => shift(dir.as_fd(), last, self.corner, name.as_bytes()),
        }
    }

    fn exchanged(&self, path: &[u8], name: &str, inode: u64) -> Result<(), Errno> {
        match at(self.corner, name.as_bytes())? {
            None => return Ok(()),
            Some(staged) if staged.st_ino == inode => return Ok(()),
            Some(_) => {}
        }
        let (dir, last) = self.parent(path)?;
        match at(dir.as_fd(), last)? {
            // The path is never empty.
            Some(there) if there.st_ino == inode => {
                fault::point()?;
                fs::renameat_with(self.corner, name, &dir, last, RenameFlags::EXCHANGE)
            }
            Some(_) => {
                self.clear(&dir, last, name)?;
                shift(self.corner, name.as_bytes(), dir.as_fd(), last)
            }
            None => shift(self.corner, name.as_bytes(), dir.as_fd(), last),
        }
    }

    fn taken(&self, path: &[u8], name: &str, inode: u64, mode: Option<u32>) -> Result<(), Errno> {
        let (dir, last) = self.parent(path)?;
        if at(self.corner, name.as_bytes())?.is_some() {
            if at(dir.as_fd(), last)?.is_some() {
                self.clear(&dir, last, name)?;
            }
            shift(self.corner, name.as_bytes(), dir.as_fd(), last)?;
        }
        restore(&dir, last, inode, mode)
    }

    fn moved(
        &self,
        path: &[u8],
        to: &[u8],
        name: &str,
        (inode, mode): (u64, Option<u32>),
    ) -> Result<(), Errno> {
        let (dir, last) = self.parent(path)?;
        let is_ours = |stat: &Stat| stat.st_ino == inode;
        let here = at(dir.as_fd(), last)?;
        if !here.as_ref().is_some_and(is_ours)
            && let Some((new, new_last)) = self.parent_if_there(to)?
            && at(new.as_fd(), new_last)?.as_ref().is_some_and(is_ours)
        {
            if here.is_some() {
                self.clear(&dir, last, name)?;
            }
            shift(new.as_fd(), new_last, dir.as_fd(), last)?;
        }
        restore(&dir, last, inode, mode)
    }

    /// What a program has put where something of ours was goes: the old tree is what was promised.
    fn clear(&self, dir: &OwnedFd, last: &[u8], name: &str) -> Result<(), Errno> {
        let mut serial = 0;
        loop {
            let aside = format!("{name}.{serial}");
            match shift(dir.as_fd(), last, self.corner, aside.as_bytes()) {
                Err(Errno::EXIST) => serial += 1,
                done => return done,
            }
        }
    }
}

/// Whoever moved a directory may have been killed while its mode was another one.
fn restore(dir: &OwnedFd, last: &[u8], inode: u64, mode: Option<u32>) -> Result<(), Errno> {
    match (mode, at(dir.as_fd(), last)?) {
        (Some(mode), Some(there))
            if there.st_ino == inode
                && tree::kind(&there) == Kind::Directory
                && tree::mode(&there) != mode =>
        {
            fault::point()?;
            fs::chmodat(dir, last, Mode::from_raw_mode(mode), AtFlags::empty())
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// What has this name.
fn at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
