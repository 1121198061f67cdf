//! Which ids outside root's sandboxes get: a range for each, that no other sandbox of this machine has.
//!
//! ```text
//!  /run/pyro/ids/N    a lock on it is the N-th range; the file goes with the lock
//! ```
//! The folder belongs to root alone: what everybody could take (an abstract socket's name, a file that can be read)
//! everybody could hold against root. Somebody who was killed leaves an empty file, which the next one removes.
//!
//! A lock can be handed to another process, which holds the range from then on.

use pyro_protocol::boot::Ids;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Far above what distributions give to people and containers.
const FIRST_ID: u32 = 0x7000_0000;
/// Twice what is used, so that a range begins at a round number.
const IDS_EACH: u32 = 0x2_0000;
const RANGES: u32 = 2000;
/// Where machines keep what ends with them.
const RUN: &str = "/run";

/// A range of ids that no other sandbox of this machine uses while this is held.
#[derive(Debug)]
pub struct IdRangeLock {
    /// Nothing once somebody else holds it.
    path: Option<PathBuf>,
    file: OwnedFd,
}

impl IdRangeLock {
    fn new(path: PathBuf, file: OwnedFd) -> Self {
        let path = Some(path);
        Self { path, file }
    }

    /// Forgets the lock after its descriptor was sent to another process: that one holds it.
    pub(crate) fn handed_over(mut self) {
        self.path = None;
    }

    /// The lock of the range from `base` on, as another process has sent it.
    ///
    /// # Errors
    /// Where this is no such lock.
    pub(crate) fn received(base: u32, file: OwnedFd) -> io::Result<Self> {
        let slot = slot(base).ok_or(io::ErrorKind::InvalidData)?;
        let path = folder(Path::new(RUN))?.join(slot.to_string());
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        if is_at(&path, &file)? {
            Ok(Self::new(path, file))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

impl AsFd for IdRangeLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for IdRangeLock {
    fn drop(&mut self) {
        // Still locked: who opened it meanwhile sees that its name is gone, and tries again.
        if let Some(path) = &self.path {
            let _gone = fs::remove_file(path);
        }
    }
}

/// Which range begins there.
fn slot(base: u32) -> Option<u32> {
    let above = base.checked_sub(FIRST_ID)?;
    (above % IDS_EACH == 0 && above / IDS_EACH < RANGES).then_some(above / IDS_EACH)
}

/// Whether an id is of the range from `base` on, and its number in there.
pub(crate) fn in_range(id: u32, base: u32) -> Option<u32> {
    id.checked_sub(base).filter(|above| *above < IDS_EACH)
}

/// The ids for a new sandbox: of root, a free range, held until the lock is dropped; of anybody else, and of the root of a
/// user namespace that has no ids to give away (a rootless container), their own. The agent refuses the host's root there.
///
/// # Errors
/// Where the lock cannot be had, or every range is taken.
pub fn ids_for_this_user() -> io::Result<(Ids, Option<IdRangeLock>)> {
    ids_like(None)
}

/// The same, but of root the range from `last` on if that is free.
pub(crate) fn ids_like(last: Option<u32>) -> io::Result<(Ids, Option<IdRangeLock>)> {
    if !geteuid().is_root() {
        return Ok((Ids::Single, None));
    }
    let map = fs::read_to_string("/proc/self/uid_map")?;
    if !has_ids(&map, FIRST_ID + IDS_EACH * RANGES) {
        return Ok((Ids::Single, None));
    }
    let folder = folder(Path::new(RUN))?;
    let (slot, lock) = take(&folder, last.and_then(slot))?;
    let base = FIRST_ID + slot * IDS_EACH;
    Ok((Ids::Range { base }, Some(lock)))
}

/// The folder of the locks, which nobody but us may look into.
fn folder(run: &Path) -> io::Result<PathBuf> {
    let mut folder = run.to_owned();
    for (name, mode) in [("pyro", 0o755), ("ids", 0o700)] {
        folder.push(name);
        match fs::DirBuilder::new().mode(mode).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let text = format!("make {}: {error}", folder.display());
                return Err(io::Error::new(error.kind(), text));
            }
            Ok(()) | Err(_) => {}
        }
        let found = fs::symlink_metadata(&folder)?;
        let others = found.mode() & 0o7777 & !mode;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || others != 0 {
            return Err(io::Error::other(format!(
                "{} is not root's alone; remove it",
                folder.display()
            )));
        }
    }
    Ok(folder)
}

/// This range, or else the first free one.
fn take(folder: &Path, wanted: Option<u32>) -> io::Result<(u32, IdRangeLock)> {
    for slot in wanted.into_iter().chain(0..RANGES) {
        let path = folder.join(slot.to_string());
        if let Some(file) = lock(&path)? {
            let lock = IdRangeLock::new(path, file);
            clear(folder, slot);
            return Ok((slot, lock));
        }
    }
    Err(io::Error::other(format!(
        "all {RANGES} ranges of ids are in use"
    )))
}

/// Makes and locks a file; nothing where somebody else has.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // The one before us may have removed it after we had opened it.
        if is_at(path, &file)? {
            return Ok(Some(file));
        }
    }
}

/// Whether a path is the name of this file.
fn is_at(path: &Path, file: &OwnedFd) -> io::Result<bool> {
    let ours = fstat(file)?;
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the files that nobody locks: those of killed processes.
fn clear(folder: &Path, own: u32) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == *own.to_string() {
            continue;
        }
        if let Ok(Some(file)) = lock(&path) {
            drop(IdRangeLock::new(path, file));
        }
    }
}

/// Whether one line of an id map (inside, outside, count) reaches from below our first id to `end`.
fn has_ids(map: &str, end: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        inside <= u64::from(FIRST_ID) && inside + count >= u64::from(end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    #[test]
    fn two_of_roots_sandboxes_never_share_ids() {
        let first = ids_for_this_user().expect("finds ids");
        let second = ids_for_this_user().expect("finds ids");
        match (first.0, second.0) {
            (Ids::Single, Ids::Single) => assert!(first.1.is_none()),
            (a, b) => assert_ne!(a, b),
        }
    }

    #[test]
    fn many_who_take_and_give_back_at_once_never_share_a_range() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = folder(base.path()).expect("makes the folder");
        let held = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let (slot, lock) = take(&folder, None).expect("a range");
                        assert!(held.lock().expect("lives").insert(slot), "{slot} twice");
                        std::thread::yield_now();
                        assert!(held.lock().expect("lives").remove(&slot));
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&folder).expect("reads").count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_the_next() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = folder(base.path()).expect("makes the folder");
        let (_, alive) = take(&folder, None).expect("a range");
        fs::write(folder.join("7"), "").expect("writes");
        let (slot, lock) = take(&folder, None).expect("a range");
        assert_eq!(slot, 1);
        assert!(!folder.join("7").exists());
        drop((alive, lock));
        assert_eq!(fs::read_dir(&folder).expect("reads").count(), 0);
    }

    #[test]
    fn the_range_of_the_last_time_is_taken_again_if_it_is_free() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = folder(base.path()).expect("makes the folder");
        let (slot, first) = take(&folder, Some(5)).expect("a range");
        assert_eq!(slot, 5);
        let (slot, other) = take(&folder, Some(5)).expect("a range");
        assert_eq!(slot, 0);
        drop(first);
        let (slot, again) = take(&folder, Some(5)).expect("a range");
        assert_eq!(slot, 5);
        drop((other, again));
        assert_eq!(super::slot(FIRST_ID + 5 * IDS_EACH), Some(5));
        assert_eq!(super::slot(FIRST_ID + 1), None);
        assert_eq!(super::slot(0), None);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let base = tempfile::tempdir().expect("a folder");
        let made = folder(base.path()).expect("makes the folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&made, open).expect("opens up");
        assert!(folder(base.path()).is_err());
    }

    #[test]
    fn a_root_without_ids_to_give_is_told_from_one_that_has_all() {
        let end = FIRST_ID + IDS_EACH * RANGES;
        assert!(has_ids("         0          0 4294967295\n", end));
        assert!(!has_ids("         0       1000          1\n", end));
        assert!(!has_ids("0 1000 1\n1 100000 65536\n", end));
        assert!(!has_ids("", end));
    }
}
