//! Pulls whose process was killed: each one is taken back, or brought to its end where it was final already.

use super::error::PullError;
use super::journal::{self, Record};
use super::tree::HostTree;
use super::write::{finish, take_back, taken_back};
use crate::workspace::host_write::{PREFIX, open_beneath, unique};
use crate::workspace::state::{io_error, open_folder};
use crate::workspace::{RunDir, StateDir, StateError};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What became of a pull whose process was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedPull {
    /// The directory, absolute.
    pub root: PathBuf,
    /// How it ended.
    pub how: PullEnd,
}

/// How a pull ended whose process was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEnd {
    /// The directory is as it was before.
    TakenBack,
    /// The directory is as it was before, but for these paths, which somebody has changed meanwhile; the old contents are
    /// in the folder.
    Partly(Vec<PathBuf>, PathBuf),
    /// All of it had been brought home.
    Finished,
    /// It could not be taken back, why: the next command tries again.
    Stuck(String),
}

impl std::fmt::Display for MendedPull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = self.root.display();
        match &self.how {
            PullEnd::TakenBack => write!(
                f,
                "a pull into {root} had been interrupted; it is taken back, and {root} is as it was before"
            ),
            PullEnd::Partly(paths, stage) => {
                let paths: Vec<_> = (paths.iter().take(10))
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "a pull into {root} had been interrupted and is taken back, but for what was changed since: {}; \
                     what was there before is in {}",
                    paths.join(", "),
                    stage.display()
                )
            }
            PullEnd::Finished => write!(
                f,
                "a pull into {root} had been interrupted when all of it was there; it is brought to its end"
            ),
            PullEnd::Stuck(why) => write!(
                f,
                "a pull into {root} had been interrupted and cannot be taken back yet: {why}"
            ),
        }
    }
}

impl StateDir {
    /// Where the journals of pulls lie, a folder for each run that is at one.
    pub fn pulls(&self) -> PathBuf {
        self.path().join("pulls")
    }

    /// Takes back the pulls of processes that were killed. Those that are being made are left alone.
    ///
    /// # Errors
    /// Where the state directory cannot be read.
    pub fn sweep_pulls(&self) -> Result<Vec<MendedPull>, StateError> {
        let folder = self.pulls();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            done => done.map_err(io_error("read", &folder))?,
        };
        let mut mended = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let run = name.split('-').next().unwrap_or_default();
            let Ok(lock) = open_folder(&path) else {
                continue;
            };
            // Two commands may find it at the same time.
            let held = flock(&lock, FlockOperation::NonBlockingLockExclusive);
            if held.is_err() || self.is_alive(run) || !path.exists() {
                continue;
            }
            mended.extend(mend(&path));
        }
        // Where it is empty.
        let _others = fs::remove_dir(&folder);
        Ok(mended)
    }
}

impl RunDir {
    /// Where the journal of the run's next pull lies, and the name that tells it from others.
    pub fn pull_folder(&self) -> (PathBuf, String) {
        let name = format!("{}-{}", self.id(), unique());
        let state = self.path().ancestors().nth(2).unwrap_or(self.path());
        (state.join("pulls").join(&name), name)
    }
}

fn mend(folder: &Path) -> Option<MendedPull> {
    let read = |name| journal::read(&folder.join(name)).map(|found| found.map(|it| (name, it)));
    let found = ["done", "undone", "journal"]
        .into_iter()
        .find_map(|name| read(name).transpose());
    let (name, records) = match found {
        Some(Ok(found)) => found,
        // Killed before it began.
        None => {
            let _gone = fs::remove_dir_all(folder);
            return None;
        }
        Some(Err(error)) => {
            log::warn!("could not read {}: {error}", folder.display());
            return None;
        }
    };
    let Some(Record::Begin {
        root,
        identity,
        stage,
        ..
    }) = records.first()
    else {
        let _gone = fs::remove_dir_all(folder);
        return None;
    };
    let root = PathBuf::from(OsStr::from_bytes(root));
    let how = match end(&root, *identity, stage, (folder, name), &records) {
        Ok(how) => how,
        Err(error) => PullEnd::Stuck(error.in_words()),
    };
    // Nothing had been changed, or nothing is left to be said.
    let silent = (name == "undone" || records.len() == 1) && how == PullEnd::TakenBack;
    (!silent).then_some(MendedPull { root, how })
}

fn end(
    root: &Path,
    identity: (u64, u64),
    stage: &str,
    (folder, name): (&Path, &str),
    records: &[Record],
) -> Result<PullEnd, PullError> {
    let tree = match HostTree::open(root) {
        Ok(tree) => tree,
        // Somebody took the whole directory away: there is nothing to put right.
        Err(PullError::Host { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return forget(folder, name);
        }
        Err(error) => return Err(error),
    };
    let stat = tree.stat()?;
    let ours = stage.as_bytes().starts_with(PREFIX) && !stage.contains('/');
    if (stat.st_dev, stat.st_ino) != identity || !ours {
        return forget(folder, name);
    }
    tree.lock()?;
    if name == "done" {
        finish(&tree, folder, stage)?;
        return Ok(PullEnd::Finished);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let left = match open_beneath(&tree.root, stage.as_bytes(), flags, Mode::empty()) {
        Ok(opened) if name == "journal" => take_back(&tree, &opened, records)?,
        // It was not made yet, or is cleared up already.
        Ok(_) | Err(Errno::NOENT) => Vec::new(),
        Err(errno) => return Err(PullError::host("open", &root.join(stage))(errno)),
    };
    let left = match name {
        "journal" => taken_back(&tree, folder, stage, left)?,
        _ => super::write::clear(&tree, folder, stage, left)?,
    };
    Ok(match left.is_empty() {
        true => PullEnd::TakenBack,
        false => PullEnd::Partly(left, root.join(stage)),
    })
}

fn forget(folder: &Path, name: &str) -> Result<PullEnd, PullError> {
    fs::remove_dir_all(folder).map_err(PullError::io("remove", folder))?;
    Ok(match name {
        "done" => PullEnd::Finished,
        _ => PullEnd::TakenBack,
    })
}
