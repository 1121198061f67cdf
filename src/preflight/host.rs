//! The host itself, and the host paths that a request names besides its seed.

use super::Surroundings;
use super::facts::{
    EnvironmentFact, ExportFact, ExposeFact, HostFacts, ParentFact, PullFact, TargetFact,
};
use super::file;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Who asks. Of a workspace that lives, the limits were decided when it was made.
pub(super) fn caller(around: &Surroundings) -> HostFacts {
    HostFacts {
        euid: rustix::process::geteuid().as_raw(),
        home: around.home.clone(),
        ..HostFacts::default()
    }
}

/// The host itself, for a workspace that is to be made.
pub(super) fn host(around: &Surroundings) -> HostFacts {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HostFacts {
        groups: super::groups::groups(),
        cores: cores as u64,
        memory: fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| total_memory(&text))
            .unwrap_or(0),
        disk_free: around
            .state_dir
            .ancestors()
            .find_map(|dir| rustix::fs::statvfs(dir).ok())
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        ..caller(around)
    }
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

pub(super) fn environment(path: &Path, around: &Surroundings) -> EnvironmentFact {
    let root = match fs::canonicalize(path) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return EnvironmentFact::Missing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return EnvironmentFact::NotADirectory;
        }
        Err(error) => return EnvironmentFact::Unreadable(file::why(&error)),
    };
    if !root.is_dir() {
        return EnvironmentFact::NotADirectory;
    }
    if let Err(error) = fs::read_dir(&root) {
        return EnvironmentFact::Unreadable(file::why(&error));
    }
    // Links are looked at, not followed: an absolute one means another place inside than here.
    let has = |name: &str| fs::symlink_metadata(root.join(name)).is_ok();
    EnvironmentFact::Directory {
        has_programs: has("bin") || has("usr"),
        has_shell: has("bin/sh") || has("usr/bin/sh"),
        contains_state: state(around).starts_with(&root),
        path: root,
    }
}

pub(super) fn expose(path: &str, around: &Surroundings) -> ExposeFact {
    let wanted = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => match &around.home {
            Some(home) => home.join(rest.trim_start_matches('/')),
            None => return ExposeFact::NoHome,
        },
        Some(_) | None => around.base_dir.join(path),
    };
    match fs::canonicalize(&wanted) {
        Ok(path) => {
            let state = state(around);
            ExposeFact::Found {
                touches_state: state.starts_with(&path) || path.starts_with(&state),
                path,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => ExposeFact::Missing(wanted),
        Err(error) => ExposeFact::Unreadable(file::why(&error)),
    }
}

pub(super) fn pull(path: &Path, around: &Surroundings) -> PullFact {
    let root = match fs::canonicalize(path) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return PullFact::Missing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return PullFact::NotADirectory;
        }
        Err(error) => return PullFact::Unreadable(file::why(&error)),
    };
    if !root.is_dir() {
        return PullFact::NotADirectory;
    }
    if let Err(error) = fs::read_dir(&root) {
        return PullFact::Unreadable(file::why(&error));
    }
    let state = state(around);
    PullFact::Directory {
        writable: rustix::fs::access(&root, rustix::fs::Access::WRITE_OK).is_ok(),
        has_state: state.starts_with(&root) || root.starts_with(&state),
        path: root,
    }
}

/// Where pyro's state is, links resolved as far as it exists.
pub(super) fn state(around: &Surroundings) -> PathBuf {
    resolve(&around.state_dir).0
}

pub(super) fn export(base: &Path, to: &str) -> ExportFact {
    let wanted = base.join(to);
    let (path, stop) = match (wanted.parent(), wanted.file_name()) {
        // The last part is not followed: a link there must be seen as one.
        (Some(parent), Some(name)) => {
            let (parent, stop) = resolve(parent);
            (parent.join(name), stop)
        }
        _ => resolve(&wanted),
    };
    let target = match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => TargetFact::Directory,
        Ok(meta) if meta.is_file() => TargetFact::File(meta.len()),
        Ok(meta) if meta.is_symlink() => TargetFact::Symlink(
            fs::read_link(&path)
                .map(|target| target.into_os_string().into_vec())
                .unwrap_or_default()
                .into(),
        ),
        Ok(_) => TargetFact::Other,
        Err(error) if is_nothing(&error) => TargetFact::Missing,
        Err(error) => TargetFact::Unreadable(file::why(&error)),
    };
    ExportFact {
        parent: parent(&path, stop),
        linked_parent: linked_parent(base, to),
        target,
        path,
    }
}

/// The repository that a directory lies in; without one, the directory itself. Links resolved.
pub(super) fn repository(dir: &Path) -> PathBuf {
    let dir = resolve(dir).0;
    let top = dir
        .ancestors()
        .find(|above| fs::symlink_metadata(above.join(".git")).is_ok());
    top.unwrap_or(&dir).to_path_buf()
}

/// Nothing is there, or something above it is no directory.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The directory that `path` will lie in; `stop` is why its parents could not be resolved.
fn parent(path: &Path, stop: Option<io::Error>) -> ParentFact {
    for (depth, dir) in path.ancestors().skip(1).enumerate() {
        match fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {
                return ParentFact::Directory {
                    exists: depth == 0,
                    writable: rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok(),
                };
            }
            Ok(_) => return ParentFact::NotADirectory(dir.to_path_buf()),
            Err(error) if is_nothing(&error) => {}
            Err(error) => return ParentFact::Unreadable(file::why(&error)),
        }
    }
    ParentFact::Unreadable(stop.map_or_else(|| "it has no parent".to_owned(), |e| file::why(&e)))
}

/// The first directory of a relative path that is a link. What lies above the request is the caller's business.
fn linked_parent(base: &Path, to: &str) -> Option<PathBuf> {
    let to = Path::new(to);
    if to.is_absolute() {
        return None;
    }
    let mut shown = PathBuf::new();
    for part in to.parent()?.components() {
        shown.push(part);
        let inside = !shown.components().any(|p| p == Component::ParentDir);
        let is_link = fs::symlink_metadata(base.join(&shown)).is_ok_and(|meta| meta.is_symlink());
        if inside && is_link {
            return Some(shown);
        }
    }
    None
}

/// Resolves the links of a path as far as it exists; the rest is taken by its spelling.
pub(super) fn resolve(path: &Path) -> (PathBuf, Option<io::Error>) {
    let mut stop = None;
    for head in path.ancestors() {
        match fs::canonicalize(head) {
            Ok(mut real) => {
                let rest = path.strip_prefix(head).unwrap_or(Path::new(""));
                for part in rest.components() {
                    match part {
                        Component::ParentDir => {
                            real.pop();
                        }
                        Component::Normal(name) => real.push(name),
                        Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
                    }
                }
                return (real, stop);
            }
            Err(error) => stop = Some(error),
        }
    }
    (path.to_path_buf(), stop)
}
