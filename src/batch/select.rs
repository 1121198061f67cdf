//! Which request files some paths mean.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the names of requests end that are found in a directory.
const ENDINGS: [&str; 2] = [".pyro.toml", ".pyro.json"];

/// Why some paths mean no request files.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A path cannot be looked at.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Directories without a request in them.
    #[error(
        "find a request in {}: no file below ends in `.pyro.toml` or `.pyro.json`",
        shown(paths)
    )]
    Empty {
        /// Which.
        paths: Vec<PathBuf>,
    },
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// The request files that `paths` mean: a file means itself, whatever its name; a directory means every
/// `*.pyro.toml` and `*.pyro.json` below it, sorted, without what lies in `.git` or in `skip`, and without following
/// links to directories. A file that is meant twice is there once. `-` is left as it is.
///
/// # Errors
/// Where a path cannot be looked at, or nothing is found.
pub fn select(paths: &[PathBuf], skip: Option<&Path>) -> Result<Vec<PathBuf>, SelectError> {
    let skip = skip.and_then(|path| path.canonicalize().ok());
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            add(path.clone(), &mut seen, &mut found);
            continue;
        }
        let mut below = Vec::new();
        walk(path, skip.as_deref(), &mut below)?;
        below.sort();
        for path in below {
            add(path, &mut seen, &mut found);
        }
    }
    if found.is_empty() {
        let paths = paths.to_owned();
        return Err(SelectError::Empty { paths });
    }
    Ok(found)
}

fn add(path: PathBuf, seen: &mut BTreeSet<PathBuf>, found: &mut Vec<PathBuf>) {
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    if seen.insert(real) {
        found.push(path);
    }
}

fn walk(folder: &Path, skip: Option<&Path>, found: &mut Vec<PathBuf>) -> Result<(), SelectError> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let unreadable = |source| SelectError::Read {
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let name = entry.file_name();
            // `./a.pyro.toml` is shown as `a.pyro.toml`.
            let path = if folder.as_os_str() == "." {
                PathBuf::from(&name)
            } else {
                entry.path()
            };
            let state = || skip.is_some() && path.canonicalize().ok().as_deref() == skip;
            if kind.is_dir() {
                if name != ".git" && !state() {
                    waiting.push(path);
                }
            } else if is_request(&name.to_string_lossy()) && !path.is_dir() {
                found.push(path);
            }
        }
    }
    Ok(())
}

fn is_request(name: &str) -> bool {
    ENDINGS
        .iter()
        .any(|ending| name.ends_with(ending) && name.len() > ending.len())
}

#[cfg(test)]
mod tests {
    use super::{SelectError, select};
    use std::fs;
    use std::path::PathBuf;

    #[test]
    fn directories_mean_the_requests_below_them() {
        let base = tempfile::tempdir().expect("a folder");
        let base = base.path();
        for name in [
            "b.pyro.toml",
            "a/z.pyro.json",
            "a/deep/er/y.pyro.toml",
            "a/other.toml",
            "a/.pyro.toml",
            ".git/no.pyro.toml",
            "a/.git/no.pyro.toml",
            "state/runs/no.pyro.toml",
            ".hidden/x.pyro.toml",
        ] {
            let path = base.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a new folder");
            fs::write(path, "").expect("a new file");
        }
        std::os::unix::fs::symlink("..", base.join("a/up")).expect("a new link");
        fs::create_dir(base.join("dir.pyro.toml")).expect("a new folder");
        fs::create_dir(base.join("empty")).expect("a new folder");
        let names = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| base.join(path)).collect();
            let found = select(&paths, Some(&base.join("state")))?;
            let found = found.iter().map(|path| {
                let path = path.strip_prefix(base).expect("below");
                path.display().to_string()
            });
            Ok::<_, SelectError>(found.collect::<Vec<_>>())
        };
        let all = [
            ".hidden/x.pyro.toml",
            "a/deep/er/y.pyro.toml",
            "a/z.pyro.json",
            "b.pyro.toml",
        ];
        assert_eq!(names(&[""]).expect("found"), all);
        // Order of what is said, sorted within; twice is once.
        assert_eq!(
            names(&[
                "b.pyro.toml",
                "a",
                "a/other.toml",
                "nowhere",
                "a/z.pyro.json"
            ])
            .expect("found"),
            [
                "b.pyro.toml",
                "a/deep/er/y.pyro.toml",
                "a/z.pyro.json",
                "a/other.toml",
                "nowhere"
            ]
        );
        assert!(matches!(
            names(&["empty"]).expect_err("nothing"),
            SelectError::Empty { .. }
        ));
        assert_eq!(
            select(&[base.join("empty"), PathBuf::from("-")], None).expect("found"),
            [PathBuf::from("-")]
        );
    }
}
