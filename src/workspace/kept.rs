//! Work trees that outlive their run, for somebody to look at: where they lie, until when, and how they go.
//!
//! ```text
//!  runs/ID/kept/{kept.json,tree} --rename--> kept/ID/{kept.json,tree} --too old, or asked for--> gone
//! ```
//! A kept tree is files, directories and links, nothing else: sockets, FIFOs and devices are removed, setuid and
//! setgid bits dropped, and everything is given to whoever runs pyro. It appears whole or not at all.

use super::Timestamp;
use super::remove::{open_dir, remove_tree};
use super::state::{
    DEAD, RunDir, StateDir, StateError, bury, io_error, is_ours, make_dir, open_folder,
};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid, flock};
use rustix::process::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How long a tree is kept whose note cannot be read: as long as any, in milliseconds.
const UNKNOWN: u64 = 30 * 86_400_000;

/// A work tree that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The run, 12 hex digits.
    pub run: String,
    /// Its folder; [`Kept::tree`] is in it.
    pub path: PathBuf,
    /// What was known when it was kept.
    pub note: KeptNote,
}

impl Kept {
    /// What was `/workspace`.
    pub fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// From when on a sweep removes it.
    pub fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.note.until_ms)
    }
}

/// What lies beside a kept tree, as `kept.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNote {
    /// How the request was called.
    pub source: String,
    /// How the run ended.
    pub outcome: String,
    /// Milliseconds since 1970.
    pub kept_at_ms: u64,
    /// Milliseconds since 1970.
    pub until_ms: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// On the disk.
    pub bytes: u64,
}

/// A tree while it is made fit to be kept.
#[derive(Debug, Default)]
struct Counted {
    entries: u64,
    bytes: u64,
    /// Files with several names.
    linked: BTreeSet<u64>,
}

impl StateDir {
    /// Keeps the work tree of a run whose sandbox is gone. `note` says when and why; what the tree takes is filled
    /// in. The rest of the run's folder is left for [`RunDir::remove`].
    ///
    /// # Errors
    /// Where the disk refuses; the tree goes with the run then.
    pub fn keep(&self, run: &RunDir, note: KeptNote) -> Result<Kept, StateError> {
        let folder = self.path().join("kept");
        make_dir(&folder)?;
        is_ours(&folder)?;
        let tree = run.path().join("tree");
        let Counted { entries, bytes, .. } = tidy(&tree).map_err(io_error("tidy up", &tree))?;
        let note = KeptNote {
            entries,
            bytes,
            ..note
        };
        let ready = run.path().join("kept");
        make_dir(&ready)?;
        let text = serde_json::to_vec(&note)
            .map_err(|error| io_error("describe", &ready)(error.into()))?;
        let file = ready.join("kept.json");
        fs::write(&file, text).map_err(io_error("write", &file))?;
        fs::rename(&tree, ready.join("tree")).map_err(io_error("move", &tree))?;
        let path = folder.join(run.id());
        fs::rename(&ready, &path).map_err(io_error("move", &ready))?;
        Ok(Kept {
            run: run.id().to_owned(),
            path,
            note,
        })
    }

    /// Every kept tree, the oldest first.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn kept(&self) -> Result<Vec<Kept>, StateError> {
        let mut all: Vec<Kept> = self
            .kept_folders()?
            .into_iter()
            .filter(|path| !is_buried(path))
            .map(|path| Kept {
                run: name(&path),
                note: note(&path),
                path,
            })
            .collect();
        all.sort_by(|a, b| (a.note.kept_at_ms, &a.run).cmp(&(b.note.kept_at_ms, &b.run)));
        Ok(all)
    }

    /// Removes one of them, whatever its age.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn remove_kept(&self, kept: &Kept) -> Result<(), StateError> {
        let dead = {
            let _lock = self.lock()?;
            match bury(&kept.path) {
                Ok(dead) => dead,
                // Somebody else was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(io_error("rename", &kept.path)(error)),
            }
        };
        remove_tree(&dead).map_err(io_error("remove", &dead))
    }

    /// Removes those whose time is over, and what is left of others; how many went.
    pub(super) fn sweep_kept(&self, now: Timestamp) -> Result<usize, StateError> {
        let mut gone = 0;
        let mut dead = Vec::new();
        for path in self.kept_folders()? {
            if is_buried(&path) {
                dead.push(path);
            } else if Timestamp::from_millis(note(&path).until_ms) <= now {
                let _lock = self.lock()?;
                if let Ok(path) = bury(&path) {
                    gone += 1;
                    dead.push(path);
                }
            }
        }
        for path in dead {
            // Held until it is gone, so that no other sweep works on the same folder.
            let Ok(lock) = open_folder(&path) else {
                continue;
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            if let Err(error) = remove_tree(&path) {
                log::warn!("could not remove {}: {error}", path.display());
            }
        }
        Ok(gone)
    }

    fn kept_folders(&self) -> Result<Vec<PathBuf>, StateError> {
        let folder = self.path().join("kept");
        match fs::read_dir(&folder) {
            Ok(entries) => {
                is_ours(&folder)?;
                Ok(entries.flatten().map(|entry| entry.path()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(io_error("read", &folder)(error)),
        }
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn is_buried(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(DEAD.as_bytes()))
}

/// What a kept tree says of itself; of one that says nothing, what can be seen.
fn note(path: &Path) -> KeptNote {
    let read = fs::read(path.join("kept.json")).ok();
    if let Some(note) = read.and_then(|text| serde_json::from_slice(&text).ok()) {
        return note;
    }
    let seconds = fs::symlink_metadata(path).map_or(0, |found| found.mtime());
    let kept_at_ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    KeptNote {
        kept_at_ms,
        until_ms: kept_at_ms.saturating_add(UNKNOWN),
        ..KeptNote::default()
    }
}

/// Makes a tree that hostile programs filled fit to be kept. Nothing may run in it any more: it is walked by names.
///
/// At any depth only two directories are open: the way back is `..`.
fn tidy(tree: &Path) -> io::Result<Counted> {
    let mut counted = Counted::default();
    let mut dir = open_dir(rustix::fs::CWD, tree.as_os_str().as_bytes())?;
    give(&dir, b".")?;
    // For each directory on the way: what is still to be visited in it.
    let mut waiting = vec![one(&dir, &mut counted)?];
    while let Some(names) = waiting.last_mut() {
        if let Some(name) = names.pop() {
            dir = open_dir(&dir, &name)?;
            waiting.push(one(&dir, &mut counted)?);
        } else {
            waiting.pop();
            if !waiting.is_empty() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                dir = rustix::fs::openat(&dir, c"..", flags, Mode::empty())?;
            }
        }
    }
    Ok(counted)
}

/// Makes the entries of one directory fit; the directories among them.
fn one(dir: &OwnedFd, counted: &mut Counted) -> io::Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let found = rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                give(dir, &name)?;
                directories.push(name);
            }
            FileType::RegularFile => {
                give(dir, &name)?;
                if found.st_mode & 0o6000 != 0 {
                    let mode = Mode::from_raw_mode(found.st_mode & 0o1777);
                    rustix::fs::chmodat(dir, &*name, mode, AtFlags::empty())?;
                }
            }
            FileType::Symlink => give(dir, &name)?,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                rustix::fs::unlinkat(dir, &*name, AtFlags::empty())?;
                continue;
            }
        }
        counted.entries += 1;
        // Of a file with several names, the first counts.
        if found.st_nlink == 1
            || FileType::from_raw_mode(found.st_mode) == FileType::Directory
            || counted.linked.insert(found.st_ino)
        {
            let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
            counted.bytes = counted.bytes.saturating_add(blocks.saturating_mul(512));
        }
    }
    Ok(directories)
}

/// Root's sandboxes have ids of their own, which nobody has any more.
fn give(dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid): (Uid, Gid) = (geteuid(), getegid());
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags)?)
}

#[cfg(test)]
mod tests {
    use super::{KeptNote, StateDir, Timestamp};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn note(until_ms: u64) -> KeptNote {
        KeptNote {
            source: "request".to_owned(),
            outcome: "failed".to_owned(),
            kept_at_ms: 1,
            until_ms,
            ..KeptNote::default()
        }
    }

    #[test]
    fn a_kept_tree_has_files_and_links_only_and_goes_when_its_time_is_over() {
        let base = tempfile::tempdir().expect("a folder");
        let outside = base.path().join("outside");
        fs::write(&outside, "mine").expect("writes");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let run = state.new_run().expect("a run");
        let tree = run.path().join("tree");
        fs::create_dir_all(tree.join("a/closed/deep")).expect("makes");
        fs::write(tree.join("a/closed/deep/file"), vec![b'x'; 5000]).expect("writes");
        let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        mode(tree.join("a/closed/deep/file"), 0o4755).expect("setuid");
        mode(tree.join("a/closed"), 0o000).expect("closes");
        symlink(&outside, tree.join("link")).expect("links");
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("binds");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            tree.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("makes a fifo");
        let kept = state.keep(&run, note(1000)).expect("keeps");
        run.remove().expect("removes");
        let tree = kept.tree();
        let file = fs::metadata(tree.join("a/closed/deep/file")).expect("is there");
        assert_eq!(file.permissions().mode() & 0o7777, 0o755);
        assert!(!tree.join("socket").exists() && !tree.join("fifo").exists());
        assert_eq!(fs::read_link(tree.join("link")).expect("a link"), outside);
        assert_eq!(kept.note.entries, 5);
        assert!(kept.note.bytes >= 5000);
        assert_eq!(state.kept().expect("lists"), std::slice::from_ref(&kept));
        let at = Timestamp::from_millis;
        assert_eq!(state.sweep(at(999)).expect("sweeps").kept, 0);
        assert!(tree.exists());
        assert_eq!(state.sweep(at(1000)).expect("sweeps").kept, 1);
        assert_eq!(state.kept().expect("lists"), []);
        assert!(!kept.path.exists() && outside.exists());
    }

    #[test]
    fn one_without_a_note_is_listed_and_can_be_removed() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(base.path())).expect("opens");
        fs::create_dir_all(base.path().join("kept/0123456789ab/tree")).expect("makes");
        fs::create_dir_all(base.path().join("kept/.dead-left/tree")).expect("makes");
        let now = Timestamp::now();
        assert_eq!(state.sweep(now).expect("sweeps").kept, 0);
        let kept = state.kept().expect("lists");
        assert_eq!(kept.len(), 1);
        assert!(kept[0].until() > now);
        state.remove_kept(&kept[0]).expect("removes");
        state.remove_kept(&kept[0]).expect("nothing there is fine");
        let left = fs::read_dir(base.path().join("kept")).expect("reads");
        assert_eq!(left.count(), 0);
    }
}
