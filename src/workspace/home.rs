//! The folder of a workspace that lives on between commands.
//!
//! ```text
//!  workspaces/ID               locked by whoever creates, starts, stops or removes it: its `Lifecycle`
//!  workspaces/ID/making        there until its creation is through
//!  workspaces/ID/secrets       its secrets, a file for each
//!  workspaces/ID/machine.json  what its machine is made from, see `Recipe`
//!  workspaces/ID/run           what the agent sees: tree, stage, spool, system, baseline, pack, marks
//!  workspaces/ID/owners.json   which ids the files in there belong to
//!  workspaces/ID/keeper.lock   locked while its keeper, its zygote or its agent lives
//!  workspaces/ID/keeper.sock   its keeper listens there
//!  workspaces/ID/keeper.log    what its keeper had to say
//!  workspaces/ID/ended.json    why the last keeper ended; absent after a start
//!  workspaces/ID/activity      its time is that of the last use
//!  workspaces/ID/groups        its control groups
//! ```
//! What the agent may write to has nothing in it that the host goes by.

use super::groups::remove_groups;
use super::state::{bury, io_error, open_folder, remove_run};
use super::{Baselines, Recipe, StateError, Timestamp, replace_file};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a moment is between two looks at a lock.
const LOOK: Duration = Duration::from_millis(5);

/// Why the folder of a workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is none, or not any more.
    #[error("find workspace {id}: it has no folder")]
    Missing {
        /// What was asked for.
        id: String,
    },
    /// Its keeper or its machine is still there.
    #[error("remove the folder of workspace {id}: its machine runs")]
    Running {
        /// The workspace.
        id: String,
    },
    /// A secret that it keeps cannot be read.
    #[error("read the secret {name} that the workspace keeps")]
    Secret {
        /// Which.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// The recipe cannot be read.
    #[error("read what the machine is made from, {}", path.display())]
    ReadRecipe {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The state directory refuses.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The folder of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub(super) id: String,
    pub(super) path: PathBuf,
}

/// Held by the only one who may create, start, stop or remove a workspace at this time.
#[derive(Debug)]
pub struct Lifecycle {
    pub(super) _folder: File,
}

/// Why a keeper ended, as `ended.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// In a word.
    pub reason: EndReason,
    /// What more there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// Why a keeper ended. One that was killed says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Nobody used the workspace for its time to live.
    Expired,
    /// The agent or the sandbox ended by itself, or spoke nonsense.
    MachineDied,
    /// It was asked to.
    Stopped,
}

impl Home {
    /// 12 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in it that the agent sees, shaped like that of a run.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// The baselines of its state directory.
    pub fn baselines(&self) -> Baselines {
        Baselines::around(&self.path)
    }

    /// `/workspace`.
    pub fn tree(&self) -> PathBuf {
        self.path.join("run/tree")
    }

    /// What its keeper had to say; for people.
    pub fn log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    pub(super) fn owners(&self) -> PathBuf {
        self.path.join("owners.json")
    }

    /// Waits until nobody else creates, starts, stops or removes it.
    ///
    /// # Errors
    /// Where it is gone then, or the kernel refuses.
    pub fn lock(&self) -> Result<Lifecycle, HomeError> {
        loop {
            let folder = self.open()?;
            match flock(&folder, FlockOperation::LockExclusive) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io_error("lock", &self.path)(errno.into()).into()),
            }
            if self.is_at(&folder) {
                return Ok(Lifecycle { _folder: folder });
            }
        }
    }

    /// The same without waiting; nothing where somebody else is at it.
    ///
    /// # Errors
    /// As [`Home::lock`].
    pub fn try_lock(&self) -> Result<Option<Lifecycle>, HomeError> {
        let folder = self.open()?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if self.is_at(&folder) => Ok(Some(Lifecycle { _folder: folder })),
            Ok(()) | Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(io_error("lock", &self.path)(errno.into()).into()),
        }
    }

    fn open(&self) -> Result<File, HomeError> {
        open_folder(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                let id = self.id.clone();
                HomeError::Missing { id }
            } else {
                io_error("open", &self.path)(error).into()
            }
        })
    }

    /// Whoever had the lock before us may have removed the folder.
    fn is_at(&self, folder: &File) -> bool {
        let (Ok(ours), Ok(there)) = (folder.metadata(), fs::symlink_metadata(&self.path)) else {
            return false;
        };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }

    /// Says that its creation is through: from now on a sweep leaves it alone.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn complete(&self, _lifecycle: &Lifecycle) -> Result<(), StateError> {
        let file = self.path.join("making");
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &file)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether its creation is through.
    pub fn is_complete(&self) -> bool {
        !self.path.join("making").exists()
    }

    /// Notes that it is used now.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn touch(&self) -> Result<(), StateError> {
        let path = self.path.join("activity");
        let touched = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        touched.map_err(io_error("touch", &path))
    }

    /// When it was used the last time.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn last_touched(&self) -> Result<Timestamp, StateError> {
        let path = self.path.join("activity");
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let since = modified
            .map_err(io_error("look at", &path))?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(Timestamp::from_millis(millis))
    }

    /// Why its last keeper ended. Nothing while one runs, and where one was killed.
    ///
    /// # Errors
    /// Where the file is there and cannot be understood.
    pub fn ended(&self) -> Result<Option<Ended>, StateError> {
        let path = self.ended_file();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| io_error("understand", &path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn ended_file(&self) -> PathBuf {
        self.path.join("ended.json")
    }

    pub(crate) fn write_ended(&self, ended: &Ended) -> io::Result<()> {
        replace_file(&self.ended_file(), &serde_json::to_vec(ended)?)
    }

    pub(crate) fn forget_ended(&self) {
        let _gone = fs::remove_file(self.ended_file());
    }

    /// What its machine is made from.
    ///
    /// # Errors
    /// Where there is no recipe, or one of another pyro.
    pub fn recipe(&self) -> Result<Recipe, HomeError> {
        let path = self.path.join("machine.json");
        let read = || {
            let recipe: Recipe = serde_json::from_slice(&fs::read(&path)?)?;
            if recipe.version == Recipe::VERSION {
                Ok(recipe)
            } else {
                let what = format!("version {} is of another pyro", recipe.version);
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
        };
        read().map_err(|source| HomeError::ReadRecipe {
            path: path.clone(),
            source,
        })
    }

    /// Writes what its machine is made from the next time. Its time to live counts at once, as soon as its keeper looks.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write_recipe(&self, recipe: &Recipe, _lifecycle: &Lifecycle) -> Result<(), StateError> {
        let path = self.path.join("machine.json");
        serde_json::to_vec_pretty(recipe)
            .map_err(io::Error::from)
            .and_then(|text| replace_file(&path, &text))
            .map_err(io_error("write", &path))
    }

    /// Removes the folder and everything in it. Interrupted, it counts as removed, and the next sweep goes on.
    ///
    /// # Errors
    /// Where its machine runs, or the disk refuses.
    pub fn remove(self, lifecycle: Lifecycle) -> Result<(), HomeError> {
        let keeper = self.keeper_lock();
        let Some(_keeper) = keeper.map_err(io_error("lock", &self.path))? else {
            return Err(HomeError::Running { id: self.id });
        };
        let shares = Baselines::shares(&self.run());
        let dead = bury(&self.path).map_err(io_error("rename", &self.path))?;
        if let Err(error) = remove_groups(&dead) {
            // With the folder its note would be gone.
            log::warn!("could not remove a control group: {error}");
            return Ok(());
        }
        remove_run(&dead).map_err(io_error("remove", &dead))?;
        if shares {
            self.baselines().sweep()?;
        }
        drop(lifecycle);
        Ok(())
    }

    /// Removes control groups that a machine has left.
    pub(crate) fn remove_groups(&self) -> io::Result<()> {
        remove_groups(&self.path)
    }

    /// Empties what programs of an earlier machine have put out: nobody can ask for it any more.
    pub(crate) fn empty_spool(&self) -> io::Result<()> {
        super::remove::remove_tree(&self.run().join("spool"))
    }

    /// The lock that a keeper holds for its life, and its machine with it; nothing where one does.
    pub(crate) fn keeper_lock(&self) -> io::Result<Option<File>> {
        // Read only: the agent holds it, too.
        let flags = rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::CREATE
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let file: File = rustix::fs::open(self.path.join("keeper.lock"), flags, mode)?.into();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The same, waiting for one that is about to end.
    pub(crate) fn wait_for_keeper_lock(&self, patience: Duration) -> io::Result<Option<File>> {
        let deadline = Instant::now() + patience;
        loop {
            let lock = self.keeper_lock()?;
            if lock.is_some() || Instant::now() >= deadline {
                return Ok(lock);
            }
            std::thread::sleep(LOOK);
        }
    }
}
