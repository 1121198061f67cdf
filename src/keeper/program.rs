//! Which program is started as a keeper.

use super::KeeperError;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

static IS_PYRO: AtomicBool = AtomicBool::new(false);

/// Called by the command: this process is `pyro` itself.
pub(crate) fn this_is_pyro() {
    IS_PYRO.store(true, Ordering::Relaxed);
}

/// A program that is started as a keeper. It says itself which version it is, and no other one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(PathBuf);

impl Program {
    /// What `PYRO_BIN` names, else this process's own program if that is `pyro`, else the `pyro` on `PATH`.
    ///
    /// # Errors
    /// Where there is none of them.
    pub fn find() -> Result<Self, KeeperError> {
        if let Some(named) = std::env::var_os("PYRO_BIN").filter(|name| !name.is_empty()) {
            let path = std::path::absolute(&named).map_err(|source| KeeperError::Spawn {
                program: named.into(),
                source,
            })?;
            return Ok(Self(path));
        }
        if IS_PYRO.load(Ordering::Relaxed)
            && let Ok(own) = std::env::current_exe()
        {
            return Ok(Self(own));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join("pyro"))
            .find(|program| program.is_absolute() && is_executable(program))
            .map(Self)
            .ok_or(KeeperError::FindProgram)
    }

    /// This one, an absolute path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
