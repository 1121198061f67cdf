//! The state directory: who owns it, which runs are alive, and cleaning up after those that died.
//!
//! ```text
//!  lock                      held for a moment while runs are made or swept
//!  runs/ID                   locked for as long as the run lives; what is alive is known by this lock alone
//!  runs/ID/{tree,stage,spool,system,baseline,pack}, all but the tree only where they are needed
//!  runs/ID/host-writes       temporary files beside export targets, one path a line
//!  receipts/TIME-ID/receipt.json and long outputs
//!  ranges/N                  id ranges in use (root only), held likewise
//! ```

use super::Timestamp;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Receipts that are kept.
const KEEP_RECEIPTS: usize = 200;
/// Receipts whose long outputs are kept beside them.
const KEEP_OUTPUTS: usize = 20;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Neither given nor derivable.
    #[error(
        "find a place for pyro's state: none of PYRO_STATE_DIR, XDG_STATE_HOME and HOME is set"
    )]
    NoPlace,
    /// It belongs to somebody else.
    #[error("use the state directory {}: it belongs to user {owner}", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The operating system refused.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried, completing "could not ...".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { what, path, source }
}

/// The state directory, open.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that were interrupted.
    pub runs: usize,
    /// Half-written host files of theirs.
    pub host_files: usize,
}

impl StateDir {
    /// Where the state directory is: `given`, else `PYRO_STATE_DIR`, else `/var/lib/pyro` for root, else
    /// `$XDG_STATE_HOME/pyro`, else `~/.local/state/pyro`.
    ///
    /// # Errors
    /// Where there is no place for it.
    pub fn place(given: Option<&Path>) -> Result<PathBuf, StateError> {
        let from_env = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        match given
            .map(Path::to_owned)
            .or_else(|| from_env("PYRO_STATE_DIR"))
        {
            Some(path) => std::path::absolute(&path).map_err(io_error("resolve", &path)),
            None if rustix::process::geteuid().is_root() => Ok(PathBuf::from("/var/lib/pyro")),
            None => from_env("XDG_STATE_HOME")
                .or_else(|| from_env("HOME").map(|home| home.join(".local/state")))
                .map(|folder| folder.join("pyro"))
                .ok_or(StateError::NoPlace),
        }
    }

    /// Opens the state directory at its [place](Self::place), making it where it is missing.
    ///
    /// # Errors
    /// Where there is no place for it, or it belongs to another user.
    pub fn open(given: Option<&Path>) -> Result<Self, StateError> {
        let user = rustix::process::geteuid();
        let path = Self::place(given)?;
        make_dir(&path)?;
        let owner = fs::metadata(&path)
            .map_err(io_error("look at", &path))?
            .uid();
        if owner != user.as_raw() {
            return Err(StateError::NotOurs { path, owner });
        }
        for folder in ["runs", "receipts", "ranges"] {
            make_dir(&path.join(folder))?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<File, StateError> {
        let path = self.path.join("lock");
        let file = open_lock(&path)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| io_error("lock", &path)(errno.into()))?;
        Ok(file)
    }

    /// Makes the folder of a new run; it is alive until dropped.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn new_run(&self) -> Result<RunDir, StateError> {
        let _lock = self.lock()?;
        let id = random_id().map_err(io_error("draw random bytes for a run in", &self.path))?;
        let path = self.path.join("runs").join(&id);
        make_dir(&path)?;
        let lock = open_folder(&path).map_err(io_error("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io_error("lock", &path)(errno.into()))?;
        make_dir(&path.join("tree"))?;
        Ok(RunDir {
            id,
            path,
            _lock: lock,
        })
    }

    /// Removes what interrupted runs left: their folders, and half-written host files. Live runs are not touched.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn sweep(&self) -> Result<Swept, StateError> {
        let runs = self.path.join("runs");
        let mut swept = Swept::default();
        let mut dead = Vec::new();
        {
            let _lock = self.lock()?;
            for entry in fs::read_dir(&runs).map_err(io_error("read", &runs))? {
                let path = entry.map_err(io_error("read", &runs))?.path();
                if path
                    .file_name()
                    .is_some_and(|name| name.as_bytes().starts_with(b".dead-"))
                {
                    dead.push(path);
                    continue;
                }
                let alive = open_folder(&path).is_ok_and(|lock| {
                    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
                });
                if !alive {
                    swept.runs += 1;
                    dead.push(bury(&path).map_err(io_error("rename", &path))?);
                }
            }
        }
        for path in dead {
            swept.host_files += remove_host_temporaries(&path.join("host-writes"));
            remove_tree(&path).map_err(io_error("remove", &path))?;
        }
        Ok(swept)
    }

    /// Makes the folder of a receipt.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn new_receipt(&self, started: Timestamp, run: &str) -> Result<PathBuf, StateError> {
        let receipts = self.path.join("receipts");
        let path = receipts.join(format!("{}-{run}", started.compact()));
        make_dir(&path)?;
        Ok(path)
    }

    /// Removes the receipts that are too old to keep, and the long outputs of those that are not new.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn thin_receipts(&self) -> Result<(), StateError> {
        let receipts = self.path.join("receipts");
        let all = fs::read_dir(&receipts).map_err(io_error("read", &receipts))?;
        let mut all: Vec<_> = all
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let all = all.iter().map(|name| receipts.join(name));
        // Each run moves one receipt over the edge; two, so that one that was missed is caught up with.
        for old in all.clone().skip(KEEP_OUTPUTS).take(2) {
            for output in fs::read_dir(&old).into_iter().flatten().flatten() {
                if output.file_name() != "receipt.json" {
                    let _gone = fs::remove_file(output.path());
                }
            }
        }
        for old in all.skip(KEEP_RECEIPTS) {
            let _gone = remove_tree(&old);
        }
        Ok(())
    }
}

/// The folder of a live run.
#[derive(Debug)]
pub struct RunDir {
    id: String,
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// 12 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a host path that has to go if this run dies before it is done with it.
    ///
    /// # Errors
    /// Where the note cannot be written; then the path must not be made.
    pub fn note_host_write(&self, temporary: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path.join("host-writes"))?;
        let mut line = temporary.as_os_str().as_bytes().to_vec();
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// Where the disk refuses; the next sweep tries again.
    pub fn remove(self) -> Result<(), StateError> {
        let dead = bury(&self.path).map_err(io_error("rename", &self.path))?;
        remove_tree(&dead).map_err(io_error("remove", &dead))
    }
}

/// Gives a run's folder the name of a dead one, so that it counts as dead even if removing it is interrupted.
fn bury(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let dead = path.with_file_name(format!(".dead-{name}"));
    fs::rename(path, &dead)?;
    Ok(dead)
}

/// Removes temporary files that a dead run noted. Only names of ours: the note may be cut off.
fn remove_host_temporaries(note: &Path) -> usize {
    let Ok(text) = fs::read(note) else { return 0 };
    let mut removed = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let path = Path::new(std::ffi::OsStr::from_bytes(line));
        let ours = path
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(super::host_write::PREFIX));
        if ours && path.is_absolute() {
            let gone = match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_dir() => remove_tree(path),
                Ok(_) => fs::remove_file(path),
                Err(error) => Err(error),
            };
            removed += usize::from(gone.is_ok());
        }
    }
    removed
}

fn make_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make", path))
}

fn open_lock(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("open", path))
}

/// Opens a folder to lock it, following no link; nothing else is opened.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// 12 hex digits of the kernel's randomness.
fn random_id() -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes a directory that hostile programs may have filled: closed directories are opened up, links are never
/// followed, and any depth will do, because each subdirectory is first moved to the top.
///
/// # Errors
/// Where the disk refuses.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open_dir(rustix::fs::CWD, path.as_os_str().as_bytes()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut moved = 0_u64;
    let mut waiting: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(name) = waiting.pop() {
        let dir = open_dir(&top, &name)?;
        let entries: Vec<(Vec<u8>, FileType)> = Dir::read_from(&dir)?
            .filter_map(Result::ok)
            .map(|entry| (entry.file_name().to_bytes().to_vec(), entry.file_type()))
            .filter(|(entry, _)| entry != b"." && entry != b"..")
            .collect();
        let is_top = name == b".";
        for (entry, kind) in entries {
            let directory = match kind {
                FileType::Directory => true,
                FileType::Unknown => unlinkat(&dir, &*entry, AtFlags::empty()).is_err(),
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice => {
                    ignore_missing(unlinkat(&dir, &*entry, AtFlags::empty()))?;
                    false
                }
            };
            if directory {
                // Moving a directory writes its `..`, which needs permission on the directory itself.
                drop(open_dir(&dir, &entry)?);
                // The tree may hold such a name itself; then the next one is tried.
                loop {
                    moved += 1;
                    let target = format!(".remove-{moved}").into_bytes();
                    match renameat(&dir, &*entry, &top, &*target) {
                        Ok(()) => waiting.push(target),
                        Err(Errno::NOENT) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => continue,
                        Err(errno) => return Err(errno.into()),
                    }
                    break;
                }
            }
        }
        if !is_top {
            ignore_missing(unlinkat(&top, &*name, AtFlags::REMOVEDIR))?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ignore_missing(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory, not following a link; gives its owner all permissions first where they are missing.
fn open_dir(base: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    const RWX: Mode = Mode::RWXU;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&base, name, flags, Mode::empty()) {
        Ok(dir) => {
            if fstat(&dir)?.st_mode & 0o700 != 0o700 {
                rustix::fs::fchmod(&dir, RWX)?;
            }
            Ok(dir)
        }
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&base, name, RWX, AtFlags::empty())?;
            openat(&base, name, flags, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::{StateDir, Swept, remove_tree};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn dead_runs_are_swept_and_live_ones_are_not() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let live = state.new_run().expect("a run");
        let dead = state.new_run().expect("a run");
        let target = base.path().join(".pyro-half");
        fs::write(&target, "half").expect("writes");
        let innocent = base.path().join("innocent");
        fs::write(&innocent, "mine").expect("writes");
        dead.note_host_write(&target).expect("notes");
        dead.note_host_write(&innocent).expect("notes");
        let dead_path = dead.path().to_owned();
        drop(dead);
        assert_eq!(
            state.sweep().expect("sweeps"),
            Swept {
                runs: 1,
                host_files: 1
            }
        );
        assert!(
            live.path().exists() && !dead_path.exists() && !target.exists() && innocent.exists()
        );
        assert_eq!(state.sweep().expect("sweeps"), Swept::default());
        live.remove().expect("removes");
    }

    #[test]
    fn hostile_trees_are_removed() {
        let base = tempfile::tempdir().expect("a folder");
        let outside = base.path().join("outside");
        fs::create_dir(&outside).expect("makes");
        fs::write(outside.join("keep"), "x").expect("writes");
        let tree = base.path().join("tree");
        fs::create_dir(&tree).expect("makes");
        let depth = 3000;
        let mut dir = rustix::fs::open(
            &tree,
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .expect("opens");
        for _ in 0..depth {
            rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).expect("makes");
            dir = rustix::fs::openat(
                &dir,
                "d",
                rustix::fs::OFlags::DIRECTORY,
                rustix::fs::Mode::empty(),
            )
            .expect("opens");
        }
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("links");
        fs::create_dir_all(tree.join(".remove-2/full")).expect("makes");
        fs::write(tree.join(".remove-1"), "x").expect("writes");
        let closed = tree.join("closed");
        fs::create_dir_all(closed.join("inner")).expect("makes");
        fs::write(closed.join("inner/file"), "x").expect("writes");
        fs::set_permissions(closed.join("inner"), fs::Permissions::from_mode(0o000))
            .expect("closes");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o100)).expect("closes");
        remove_tree(&tree).expect("removes");
        assert!(!tree.exists() && outside.join("keep").exists());
        remove_tree(&tree).expect("nothing there is fine");
    }
}
