//! All folders of workspaces that live on: making one, finding them, and removing what the dead have left.

use super::groups::remove_groups;
use super::state::{DEAD, bury, io_error, is_ours, make_dir, open_folder, random_id, remove_run};
use super::{Home, HomeError, Lifecycle, StateDir, StateError};
use rustix::fs::{FlockOperation, flock};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Names of homes that are being made begin with this; nobody finishes those of the dead.
const NEW: &str = ".dead-new-";

/// What [`StateDir::sweep_homes`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweptHomes {
    /// Workspaces whose creation was interrupted; they are gone.
    pub half_made: Vec<String>,
    /// Removals that were interrupted; they are through now.
    pub half_removed: usize,
    /// Those of which something could not be removed; the next sweep tries again.
    pub stuck: usize,
}

impl StateDir {
    fn homes_folder(&self) -> PathBuf {
        self.path().join("workspaces")
    }

    /// Makes the folder of a new workspace, which is unfinished until [`Home::complete`].
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn new_home(&self) -> Result<(Home, Lifecycle), StateError> {
        let homes = self.homes_folder();
        make_dir(&homes)?;
        is_ours(&homes)?;
        // A sweep that finds it now must not take it for a dead one.
        let _lock = self.lock()?;
        let id = random_id().map_err(io_error("draw random bytes for a workspace in", &homes))?;
        let half = homes.join(format!("{NEW}{id}"));
        make_dir(&half.join("run/tree"))?;
        let folder = open_folder(&half).map_err(io_error("open", &half))?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io_error("lock", &half)(errno.into()))?;
        let home = Home {
            path: homes.join(&id),
            id,
        };
        for name in ["making", "activity"] {
            let file = half.join(name);
            fs::write(&file, "").map_err(io_error("write", &file))?;
        }
        fs::rename(&half, &home.path).map_err(io_error("rename", &half))?;
        Ok((home, Lifecycle { _folder: folder }))
    }

    /// The folder of a workspace, by its id (12 hex digits).
    ///
    /// # Errors
    /// Where there is none, or it is somebody else's.
    pub fn home(&self, id: &str) -> Result<Home, HomeError> {
        let path = self.homes_folder().join(id);
        let missing = || HomeError::Missing { id: id.to_owned() };
        if !is_id(id) {
            return Err(missing());
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(io_error("look at", &path)(error).into()),
            Ok(_) => is_ours(&path)?,
        }
        let id = id.to_owned();
        Ok(Home { id, path })
    }

    /// Every workspace that has a folder, also one that is being made; sorted by id.
    ///
    /// # Errors
    /// Where the state directory cannot be read.
    pub fn homes(&self) -> Result<Vec<Home>, StateError> {
        let mut homes: Vec<Home> = self
            .home_folders()?
            .into_iter()
            .filter_map(|path| {
                let id = name(&path);
                is_id(&id).then_some(Home { id, path })
            })
            .collect();
        homes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(homes)
    }

    fn home_folders(&self) -> Result<Vec<PathBuf>, StateError> {
        let folder = self.homes_folder();
        match fs::read_dir(&folder) {
            Ok(entries) => {
                is_ours(&folder)?;
                Ok(entries.flatten().map(|entry| entry.path()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(io_error("read", &folder)(error)),
        }
    }

    /// Removes what is left of workspaces whose creation or removal was interrupted. All others are left alone, whether
    /// their machine runs or not.
    ///
    /// # Errors
    /// Where the state directory cannot be read or locked.
    pub fn sweep_homes(&self) -> Result<SweptHomes, StateError> {
        let mut swept = SweptHomes::default();
        let mut dead = Vec::new();
        for path in self.home_folders()? {
            let id = name(&path);
            let buried = path.file_name().is_some_and(|name| {
                // Also what somebody has moved there.
                name.as_bytes().starts_with(DEAD.as_bytes())
            });
            if !(buried || is_id(&id) && path.join("making").exists()) {
                remove_temporaries(&path);
                continue;
            }
            let _lock = self.lock()?;
            let Ok(folder) = open_folder(&path) else {
                continue;
            };
            if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() || !path.exists() {
                continue;
            }
            if buried {
                swept.half_removed += 1;
                dead.push((path, folder));
                continue;
            }
            // Its keeper ends by itself when its creator is gone, and may be about to.
            let home = Home { id, path };
            if !home.path.join("making").exists() || home.keeper_lock().ok().flatten().is_none() {
                continue;
            }
            match bury(&home.path) {
                Ok(path) => dead.push((path, folder)),
                Err(error) => return Err(io_error("rename", &home.path)(error)),
            }
            swept.half_made.push(home.id);
        }
        for (path, _folder) in dead {
            if let Err(error) = remove_groups(&path).and_then(|()| remove_run(&path)) {
                log::warn!("could not remove {}: {error}", path.display());
                swept.stuck += 1;
            }
        }
        self.baselines().sweep()?;
        Ok(swept)
    }
}

/// Removes files beside others that they were to replace, of processes that were killed just then.
fn remove_temporaries(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((_, process)) = name.to_str().and_then(|name| name.rsplit_once(".pyro-")) else {
            continue;
        };
        let ours = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        if ours && !Path::new("/proc").join(process).exists() {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
