//! Changes to the tree that can be taken back: each step is noted before the next one is made.

use super::World;
use crate::tree::{self, Links};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One change that was made.
#[derive(Debug)]
enum Step {
    /// A directory that was not there.
    Made(Vec<u8>),
    /// Something new that was not there; taken back into the stage under this name.
    Placed(Vec<u8>, String),
    /// Changed places with what has this name on the stage now.
    Exchanged(Vec<u8>, String),
    /// Lies on the stage under this name now.
    Taken(Vec<u8>, String),
}

/// The changes of one call, and its corner of the stage. Dropped before [`Journal::keep`], it takes all back.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    world: &'a World,
    corner: OwnedFd,
    name: String,
    steps: Vec<Step>,
    /// Times of the directories that were changed, as they were.
    times: Vec<(Vec<u8>, Timestamps)>,
    seen: HashSet<Vec<u8>>,
    next: u64,
    kept: bool,
}

impl<'a> Journal<'a> {
    /// Makes a corner on the stage.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(world: &'a World) -> Result<Self, Errno> {
        let name = world.fresh_name();
        let stage = world.stage()?;
        fs::mkdirat(stage, name.as_str(), Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let corner = fs::openat(stage, name.as_str(), flags, Mode::empty())?;
        Ok(Self {
            world,
            corner,
            name,
            steps: Vec::new(),
            times: Vec::new(),
            seen: HashSet::new(),
            next: 0,
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

    /// Opens the parent of a path for a change, making it where it is missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn parent(&mut self, parent: &[u8]) -> Result<OwnedFd, Errno> {
        match tree::open_parent(&self.world.tree, parent, Links::Refuse) {
            Ok(fd) => {
                if self.seen.insert(parent.to_vec()) {
                    let stat = fs::fstat(&fd)?;
                    self.times.push((parent.to_vec(), times_of(&stat)));
                }
                Ok(fd)
            }
            Err(Errno::NOENT) => {
                let Some((above, name)) = tree::split(parent) else {
                    return Err(Errno::NOENT);
                };
                let dir = self.parent(above)?;
                match fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => {
                        self.steps.push(Step::Made(parent.to_vec()));
                        let flags =
                            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        let made = fs::openat(&dir, name, flags, Mode::empty())?;
                        self.world.own(&made)?;
                        fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                        self.seen.insert(parent.to_vec());
                        Ok(made)
                    }
                    // Somebody else made it in this moment.
                    Err(Errno::EXIST) => tree::open_parent(&self.world.tree, parent, Links::Refuse),
                    Err(errno) => Err(errno),
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Moves `staged` of `from` to a path where nothing is.
    ///
    /// # Errors
    /// What the kernel says; `EXIST` where something is.
    pub(super) fn place(
        &mut self,
        from: BorrowedFd<'_>,
        staged: &[u8],
        path: &[u8],
    ) -> Result<(), Errno> {
        let (dir, name) = self.at(path)?;
        shift(from, staged, dir.as_fd(), name)?;
        let back = self.fresh();
        self.steps.push(Step::Placed(path.to_vec(), back));
        Ok(())
    }

    /// Lets the staged file and what is at the path change places: the path is never empty. The old one is then
    /// in the corner under the name that is returned.
    ///
    /// # Errors
    /// What the kernel says; `NOENT` where nothing is.
    pub(super) fn exchange(
        &mut self,
        from: BorrowedFd<'_>,
        staged: &[u8],
        path: &[u8],
    ) -> Result<String, Errno> {
        let (dir, name) = self.at(path)?;
        let old = self.fresh();
        // First into the corner, so that the journal needs one folder only.
        fs::renameat(from, staged, &self.corner, old.as_str())?;
        fs::renameat_with(
            &self.corner,
            old.as_str(),
            &dir,
            name,
            RenameFlags::EXCHANGE,
        )?;
        self.steps.push(Step::Exchanged(path.to_vec(), old.clone()));
        Ok(old)
    }

    /// Moves what is at a path to the corner.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn take(&mut self, path: &[u8]) -> Result<String, Errno> {
        let (dir, name) = self.at(path)?;
        let old = self.fresh();
        shift(dir.as_fd(), name, self.corner(), old.as_bytes())?;
        self.steps.push(Step::Taken(path.to_vec(), old.clone()));
        Ok(old)
    }

    fn at<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (parent, name) = tree::split(path).ok_or(Errno::EXIST)?;
        Ok((self.parent(parent)?, name))
    }

    /// The changes stay.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn undo(&mut self) {
        // Best effort from here on: a program that works against it hurts its own tree only.
        let at = |path: &[u8]| -> Option<(OwnedFd, Vec<u8>)> {
            let (parent, name) = tree::split(path)?;
            let dir = tree::open_parent(&self.world.tree, parent, Links::Refuse).ok()?;
            Some((dir, name.to_vec()))
        };
        for step in self.steps.drain(..).rev() {
            let (path, name) = match &step {
                Step::Made(path) => {
                    if let Some((dir, name)) = at(path) {
                        let _ = fs::unlinkat(&dir, name.as_slice(), AtFlags::REMOVEDIR);
                    }
                    continue;
                }
                Step::Placed(path, name)
                | Step::Exchanged(path, name)
                | Step::Taken(path, name) => (path, name),
            };
            let Some((dir, last)) = at(path) else {
                continue;
            };
            let _ = match step {
                Step::Placed(..) => shift(dir.as_fd(), &last, self.corner.as_fd(), name.as_bytes()),
                // Whatever came there meanwhile goes: the old tree is what was promised.
                Step::Taken(..) => shift(self.corner.as_fd(), name.as_bytes(), dir.as_fd(), &last)
                    .or_else(|_| {
                        let flags = RenameFlags::EXCHANGE;
                        fs::renameat_with(&self.corner, name.as_str(), &dir, last.as_slice(), flags)
                    }),
                Step::Exchanged(..) | Step::Made(_) => {
                    let flags = RenameFlags::EXCHANGE;
                    fs::renameat_with(&self.corner, name.as_str(), &dir, last.as_slice(), flags)
                        .or_else(|_| {
                            fs::renameat(&self.corner, name.as_str(), &dir, last.as_slice())
                        })
                }
            };
        }
        for (path, times) in self.times.drain(..).rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            if let Ok(dir) = tree::open(&self.world.tree, &path, flags, Links::Refuse) {
                let _ = fs::futimens(&dir, &times);
            }
        }
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.undo();
        }
        if let Ok(stage) = self.world.stage() {
            remove_all(stage, self.name.as_bytes());
        }
    }
}

/// Moves something to where nothing is. Moving a directory rewrites its `..`, for which it must be writable: one
/// that is not is made so for the moment.
fn shift(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<(), Errno> {
    let rename = || fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE);
    let refused = match rename() {
        Err(Errno::ACCESS) => Errno::ACCESS,
        done => return done,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::openat(from, name, flags, Mode::empty()).map_err(|_| refused)?;
    let mode = Mode::from_raw_mode(tree::mode(&fs::fstat(&dir)?));
    fs::fchmod(&dir, mode | Mode::RWXU)?;
    let done = rename();
    fs::fchmod(&dir, mode)?;
    done
}

fn times_of(stat: &fs::Stat) -> Timestamps {
    let time = |tv_sec, nanoseconds| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The names in a directory.
///
/// # Errors
/// What the kernel says.
pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a path and all below it, as far as the kernel lets us. For the stage, where no program interferes.
///
/// Any depth: what lies deep is first moved up beside its top.
pub(super) fn remove_all(dir: BorrowedFd<'_>, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &[u8]| match fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Only ever a directory of ours: links cannot be reached through an unreadable one.
            let _ = fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty());
            fs::openat(dir, name, flags, Mode::empty())
        }
        done => done,
    };
    let mut waiting = vec![name.to_vec()];
    let mut serial = 0u64;
    while let Some(name) = waiting.pop() {
        if fs::unlinkat(dir, name.as_slice(), AtFlags::empty()).is_ok() {
            continue;
        }
        let Ok(folder) = open(&name) else { continue };
        let _ = fs::fchmod(&folder, Mode::RWXU);
        let Ok(entries) = Dir::read_from(&folder) else {
            continue;
        };
        let mut below = Vec::new();
        for entry in entries.flatten() {
            let inner = entry.file_name();
            if inner.to_bytes() == b"." || inner.to_bytes() == b".." {
                continue;
            }
            let plain = !matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if plain || fs::unlinkat(&folder, inner, AtFlags::empty()).is_ok() {
                let _ = fs::unlinkat(&folder, inner, AtFlags::empty());
                continue;
            }
            if fs::unlinkat(&folder, inner, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            serial += 1;
            let up = format!(
                "{}.{serial}",
                String::from_utf8_lossy(&name)
                    .chars()
                    .take(32)
                    .collect::<String>()
            );
            if let Ok(inner_fd) = fs::openat(&folder, inner, flags, Mode::empty()) {
                // Moving a directory rewrites its `..`, for which it must be writable.
                let _ = fs::fchmod(&inner_fd, Mode::RWXU);
            } else {
                let _ = fs::chmodat(&folder, inner, Mode::RWXU, AtFlags::empty());
            }
            let flags = RenameFlags::NOREPLACE;
            if fs::renameat_with(&folder, inner, dir, up.as_str(), flags).is_ok() {
                below.push(up.into_bytes());
            }
        }
        drop(folder);
        let _ = fs::unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR);
        waiting.append(&mut below);
    }
}
