//! Receipts that were kept: finding and reading them. One that is damaged is told and stops nobody.

use super::Receipt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a receipt file is called.
const FILE: &str = "receipt.json";
/// The fewest digits of an id that name a run.
const SHORTEST: usize = 4;

/// A receipt in the state directory.
#[derive(Debug)]
pub struct Kept {
    /// The run, 12 hex digits.
    pub run: String,
    /// The file.
    pub path: PathBuf,
    /// What it says, or why that is not known.
    pub receipt: Result<Receipt, ReadError>,
}

/// Why a receipt cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refuses.
    #[error("read the receipt {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is no receipt.
    #[error("understand the receipt {}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A later pyro wrote it.
    #[error("understand the receipt {}: it has format version {version}, and this pyro reads 1", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// What it says.
        version: u64,
    },
    /// It is a document of several runs.
    #[error("take {} for one receipt: it holds several runs; name one of them by its id", path.display())]
    Several {
        /// Which.
        path: PathBuf,
    },
}

/// Why there is no such receipt.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing is called so.
    #[error("find the receipt `{0}`: it is no file, and no run that was kept begins so")]
    Missing(String),
    /// No run was kept yet, or not so many.
    #[error("find the receipt `{what}`: {kept} are kept")]
    TooFew {
        /// What was asked for.
        what: String,
        /// How many there are.
        kept: usize,
    },
    /// Several runs begin so.
    #[error("tell which receipt `{what}` is: {}", runs.join(", "))]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// All that begin so.
        runs: Vec<String>,
    },
    /// It is there, and cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// The state directory cannot be read.
    #[error("read {}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl FindError {
    /// As `specs/errors.md` has it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::TooFew { .. } => "receipt-missing",
            Self::Ambiguous { .. } => "receipt-ambiguous",
            Self::Read(_) => "receipt-damaged",
            Self::State { .. } => "state",
        }
    }
}

/// Reads a receipt file.
///
/// # Errors
/// Where it cannot be read, or is no receipt.
pub fn read_receipt(path: &Path) -> Result<Receipt, ReadError> {
    let path_of = || path.to_owned();
    let bytes = fs::read(path).map_err(|source| ReadError::Read {
        path: path_of(),
        source,
    })?;
    let parse = |source| ReadError::Parse {
        path: path_of(),
        source,
    };
    // Looked at before its fields, which another version may have changed.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(parse)?;
    match value["format_version"].as_u64() {
        None | Some(1) => {}
        Some(version) => {
            return Err(ReadError::Version {
                path: path_of(),
                version,
            });
        }
    }
    if value["runs"].is_array() {
        return Err(ReadError::Several { path: path_of() });
    }
    serde_json::from_slice(&bytes).map_err(parse)
}

/// Folders of runs that have a receipt, newest first; a run that is still going has none yet.
fn folders(state: &Path) -> Result<Vec<(String, PathBuf)>, FindError> {
    let folder = state.join("receipts");
    let unreadable = |source| FindError::State {
        path: folder.clone(),
        source,
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let path = folder.join(&name).join(FILE);
        let name = name.to_string_lossy().into_owned();
        if path.symlink_metadata().is_ok() {
            found.push((name, path));
        }
    }
    // The names begin with the moment.
    found.sort_unstable_by(|a, b| b.cmp(a));
    let run = |name: &str| name.rsplit('-').next().unwrap_or(name).to_owned();
    Ok(found
        .into_iter()
        .map(|(name, path)| (run(&name), path))
        .collect())
}

/// The receipts below a state directory, newest first, at most `limit`; and how many there are. A damaged one is
/// among them.
///
/// # Errors
/// Where the directory is there and cannot be read.
pub fn kept(state: &Path, limit: usize) -> Result<(Vec<Kept>, usize), FindError> {
    let folders = folders(state)?;
    let total = folders.len();
    let kept = folders.into_iter().take(limit).map(|(run, path)| Kept {
        receipt: read_receipt(&path),
        run,
        path,
    });
    Ok((kept.collect(), total))
}

/// The receipt that `what` means: `last`, `last~N` (N before the last), a run's id or the beginning of it, or a path
/// of a file or of the folder around it.
///
/// # Errors
/// Where there is none, or several.
pub fn find(state: &Path, what: &str) -> Result<(PathBuf, Receipt), FindError> {
    let path = place(state, what)?;
    let receipt = read_receipt(&path).map_err(FindError::Read)?;
    Ok((path, receipt))
}

fn place(state: &Path, what: &str) -> Result<PathBuf, FindError> {
    let path = Path::new(what);
    let before = match what.strip_prefix("last") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('~').and_then(|n| n.parse::<usize>().ok()),
        None => None,
    };
    if let Some(before) = before {
        let folders = folders(state)?;
        let kept = folders.len();
        let place = folders.into_iter().nth(before);
        return place.map(|(_, path)| path).ok_or(FindError::TooFew {
            what: what.to_owned(),
            kept,
        });
    }
    let digits = what.len() >= SHORTEST && what.bytes().all(|b| b.is_ascii_hexdigit());
    if digits {
        let mut folders = folders(state)?;
        folders.retain(|(run, _)| run.starts_with(&what.to_ascii_lowercase()));
        match folders.as_slice() {
            [] => {}
            [(_, path)] => return Ok(path.clone()),
            [_, ..] => {
                return Err(FindError::Ambiguous {
                    what: what.to_owned(),
                    runs: folders.into_iter().map(|(run, _)| run).collect(),
                });
            }
        }
    }
    if path.is_dir() {
        return Ok(path.join(FILE));
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    Err(FindError::Missing(what.to_owned()))
}
