//! The state directory: who owns it, which runs are alive, and cleaning up after those that died.
//!
//! ```text
//!  lock                      held for a moment while runs are made or swept
//!  runs/ID                   locked for as long as the run lives; what is alive is known by this lock alone
//!  runs/ID/{tree,stage,spool,system,baseline,pack}, all but the tree only where they are needed
//!  runs/ID/groups            control groups that the run made, likewise
//!  runs/ID/host-writes       temporary files beside export targets, one path a line
//!  runs/ID                   of a run in a workspace that lives: a file, with those lines in it if there are any
//!  kept/RUN/{kept.json,tree} work trees that outlive their run (see `kept`), made when the first one is
//!  baselines/DIGEST          contents of baselines, shared (see `baselines`), made when the first one is
//!  pulls/ID-N                the journal of a pull that the run is at (see `pull`)
//!  workspaces/ID             what lives on between commands (see `home`), made when the first one is
//!  receipts/TIME-ID/receipt.json and long outputs
//! ```

use super::groups::remove_groups;
use super::pull::PullEnd;
use super::remove::remove_tree;
use super::{Baselines, Timestamp};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Receipts that are kept.
const KEEP_RECEIPTS: usize = 200;
/// Receipts whose long outputs are kept beside them.
const KEEP_OUTPUTS: usize = 20;
/// Names of run folders that are being removed begin with this.
pub(super) const DEAD: &str = ".dead-";

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
    /// Everybody may write there, and so could put something else in the place of what is in it.
    #[error(
        "use the state directory {}: everybody may write to it (`chmod o-w` it, or name another)",
        path.display()
    )]
    OpenToAll {
        /// The directory.
        path: PathBuf,
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

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
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
    /// Runs of which something could not be removed; the next sweep tries again.
    pub stuck: usize,
    /// Kept work trees whose time was over.
    pub kept: usize,
    /// Host directories that an interrupted run was changing, and that are whole again.
    pub pulls: usize,
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
        let found = fs::metadata(&path).map_err(io_error("look at", &path))?;
        if found.uid() != user.as_raw() {
            let owner = found.uid();
            return Err(StateError::NotOurs { path, owner });
        }
        // Sticky: what is ours in there cannot be taken away by others.
        if found.mode() & 0o1002 == 0o0002 {
            return Err(StateError::OpenToAll { path });
        }
        for folder in ["runs", "receipts"] {
            let folder = path.join(folder);
            make_dir(&folder)?;
            is_ours(&folder)?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its workspaces were when they were made, as far as they share that.
    pub fn baselines(&self) -> Baselines {
        Baselines::of(&self.path)
    }

    pub(super) fn lock(&self) -> Result<File, StateError> {
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
            kind: RunKind::Folder,
            _lock: lock,
        })
    }

    /// The same for a run that makes nothing but notes: an empty file says that it is alive. A folder would have to be
    /// removed again, which can take longer than all else that such a run does.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn new_note(&self) -> Result<RunDir, StateError> {
        let _lock = self.lock()?;
        let id = random_id().map_err(io_error("draw random bytes for a run in", &self.path))?;
        let path = self.path.join("runs").join(&id);
        let lock = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("make", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io_error("lock", &path)(errno.into()))?;
        Ok(RunDir {
            id,
            path,
            kind: RunKind::Note,
            _lock: lock,
        })
    }

    /// Removes what interrupted runs left (their folders, and half-written host files) and kept trees whose time is
    /// over `now`. Live runs are not touched.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn sweep(&self, now: Timestamp) -> Result<Swept, StateError> {
        let runs = self.path.join("runs");
        let mut swept = Swept::default();
        for mended in self.sweep_pulls()? {
            log::warn!("{mended}");
            match mended.how {
                PullEnd::Stuck(_) => swept.stuck += 1,
                PullEnd::TakenBack | PullEnd::Partly(..) | PullEnd::Finished => swept.pulls += 1,
            }
        }
        let mut dead = Vec::new();
        {
            let _lock = self.lock()?;
            for entry in fs::read_dir(&runs).map_err(io_error("read", &runs))? {
                let path = entry.map_err(io_error("read", &runs))?.path();
                // Made and locked under the lock that we hold: a run that nobody locks is dead, or was just removed.
                let lock = open_run(&path).ok();
                let alive = lock.as_ref().is_some_and(|lock| {
                    flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()
                });
                if alive || !path.exists() {
                    continue;
                }
                let buried = path
                    .file_name()
                    .is_some_and(|name| name.as_bytes().starts_with(DEAD.as_bytes()));
                let path = if buried || !path.is_dir() {
                    path
                } else {
                    bury(&path).map_err(io_error("rename", &path))?
                };
                // Held until it is gone, so that no other sweep works on the same folder.
                dead.push((path, lock));
            }
        }
        for (path, _lock) in dead {
            swept.runs += 1;
            if !path.is_dir() {
                swept.host_files += remove_host_temporaries(&path);
                if let Err(error) = fs::remove_file(&path) {
                    log::warn!("could not remove {}: {error}", path.display());
                    swept.stuck += 1;
                }
                continue;
            }
            if let Err(error) = remove_groups(&path) {
                // With the folder its note would be gone.
                log::warn!("could not remove a control group: {error}");
                swept.stuck += 1;
                continue;
            }
            swept.host_files += remove_host_temporaries(&path.join("host-writes"));
            if let Err(error) = remove_run(&path) {
                log::warn!("could not remove {}: {error}", path.display());
                swept.stuck += 1;
            }
        }
        swept.kept = self.sweep_kept(now)?;
        self.baselines().sweep()?;
        Ok(swept)
    }

    /// Whether a run of this id, which was made before, goes on: nobody else can have its lock.
    pub fn is_alive(&self, run: &str) -> bool {
        let path = self.path.join("runs").join(run);
        open_run(&path)
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
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

/// The folder of a live run, or the file that stands for one.
#[derive(Debug)]
pub struct RunDir {
    id: String,
    path: PathBuf,
    kind: RunKind,
    _lock: File,
}

/// What there is of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunKind {
    Folder,
    Note,
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
            .open(match self.kind {
                RunKind::Folder => self.path.join("host-writes"),
                RunKind::Note => self.path.clone(),
            })?;
        let mut line = temporary.as_os_str().as_bytes().to_vec();
        line.push(b'\n');
        file.write_all(&line)
    }

    /// The baselines of its state directory.
    pub fn baselines(&self) -> Baselines {
        Baselines::around(&self.path)
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// Where the disk refuses; the next sweep tries again.
    pub fn remove(self) -> Result<(), StateError> {
        match self.kind {
            RunKind::Folder => {}
            RunKind::Note => {
                return fs::remove_file(&self.path).map_err(io_error("remove", &self.path));
            }
        }
        let shares = Baselines::shares(&self.path);
        if let Err(error) = remove_groups(&self.path) {
            log::warn!("could not remove a control group: {error}");
            return Ok(());
        }
        let dead = bury(&self.path).map_err(io_error("rename", &self.path))?;
        remove_run(&dead).map_err(io_error("remove", &dead))?;
        if shares {
            self.baselines().sweep()?;
        }
        Ok(())
    }
}

/// Removes the folder of a run, which the caller has locked.
pub(super) fn remove_run(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match remove_tree(path) {
            // Programs of a run that was just killed may write for a moment longer.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < 100 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            ended => return ended,
        }
    }
}

/// Gives a run's folder the name of a dead one, so that it counts as dead even if removing it is interrupted.
pub(super) fn bury(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let dead = path.with_file_name(format!("{DEAD}{name}"));
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

/// Where others may write beside a folder, they may have put it there.
pub(super) fn is_ours(folder: &Path) -> Result<(), StateError> {
    let found = fs::symlink_metadata(folder).map_err(io_error("look at", folder))?;
    if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(StateError::NotOurs {
        path: folder.to_owned(),
        owner: found.uid(),
    })
}

pub(super) fn make_dir(path: &Path) -> Result<(), StateError> {
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
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Opens what there is of a run to lock it, a folder or a file, following no link.
pub(super) fn open_run(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// 12 hex digits of the kernel's randomness.
pub(super) fn random_id() -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{StateDir, StateError, Swept, Timestamp};
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
            state.sweep(Timestamp::now()).expect("sweeps"),
            Swept {
                runs: 1,
                host_files: 1,
                ..Swept::default()
            }
        );
        assert!(
            live.path().exists() && !dead_path.exists() && !target.exists() && innocent.exists()
        );
        let again = state.sweep(Timestamp::now()).expect("sweeps");
        assert_eq!(again, Swept::default());
        live.remove().expect("removes");
    }

    #[test]
    fn a_note_is_a_run_like_any_other() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let (live, dead) = (
            state.new_note().expect("a run"),
            state.new_note().expect("a run"),
        );
        assert!(live.path().is_file() && state.is_alive(live.id()) && state.is_alive(dead.id()));
        let half = base.path().join(".pyro-half");
        for run in [&live, &dead] {
            fs::write(&half, "half").expect("writes");
            run.note_host_write(&half).expect("notes");
        }
        let (id, path) = (dead.id().to_owned(), dead.path().to_owned());
        drop(dead);
        assert!(path.exists() && !state.is_alive(&id));
        let all = state.stored().expect("lists");
        let kinds: Vec<_> = all.iter().map(|one| (one.kind, one.run == id)).collect();
        let left = (crate::workspace::StoredKind::Leftover, true);
        assert_eq!(
            kinds,
            [left, (crate::workspace::StoredKind::Running, false)]
        );
        let swept = Swept {
            runs: 1,
            host_files: 1,
            ..Swept::default()
        };
        assert_eq!(state.sweep(Timestamp::now()).expect("sweeps"), swept);
        assert!(!path.exists() && !half.exists() && live.path().exists());
        let path = live.path().to_owned();
        live.remove().expect("removes");
        assert!(!path.exists());
    }

    #[test]
    fn a_state_directory_that_others_may_change_is_refused() {
        let base = tempfile::tempdir().expect("a folder");
        let open = base.path().join("open");
        fs::create_dir(&open).expect("makes");
        let set = |mode| fs::set_permissions(&open, fs::Permissions::from_mode(mode));
        set(0o777).expect("opens up");
        let refused = StateDir::open(Some(&open)).expect_err("refused");
        assert!(matches!(refused, StateError::OpenToAll { .. }));
        set(0o1777).expect("makes sticky");
        StateDir::open(Some(&open)).expect("opens");
        fs::remove_dir(open.join("receipts")).expect("removes");
        std::os::unix::fs::symlink("runs", open.join("receipts")).expect("links");
        let refused = StateDir::open(Some(&open)).expect_err("refused");
        assert!(matches!(refused, StateError::NotOurs { .. }));
    }
}
