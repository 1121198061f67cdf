//! Why a plan is not saved, or a saved one not run.

use super::{Change, Stale};
use std::io;
use std::path::{Path, PathBuf};

/// Why a plan is not saved, or a saved one not run.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file cannot be read.
    #[error("read the saved plan {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is no saved plan, or not as it was written.
    #[error("use {} as a saved plan: {why}", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file is of another version of the format.
    #[error("use the saved plan {}: it has version {found} of the format, written by pyro {by}", path.display())]
    Version {
        /// Where.
        path: PathBuf,
        /// The version of its format.
        found: String,
        /// The pyro that wrote it.
        by: String,
    },
    /// What it rests on is not what it was.
    #[error("run the saved plan")]
    Stale(#[source] Stale),
    /// Something changed while it was read.
    #[error("save the plan: {name} changed while it was read")]
    Unsteady {
        /// What.
        name: String,
    },
    /// The directory of the request cannot be named.
    #[error("find the directory {}", path.display())]
    Base {
        /// As it was given.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something in it is no text, such as the path of the request's directory.
    #[error("save the plan as JSON")]
    Data {
        /// The reason.
        source: serde_json::Error,
    },
    /// Something else is where it should be written.
    #[error("save the plan to {}: something else is there", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// The file would be part of what the plan rests on.
    #[error("save the plan to {}: it lies in {input}, which it would change", path.display())]
    Inside {
        /// Where.
        path: PathBuf,
        /// In what.
        input: String,
    },
    /// The disk refuses.
    #[error("save the plan to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl SavedError {
    pub(super) fn base(path: &Path, source: io::Error) -> Self {
        Self::Base {
            path: path.into(),
            source,
        }
    }

    /// As it is written in answers and documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plan-unreadable",
            Self::Damaged { .. } | Self::Version { .. } => "plan-damaged",
            Self::Stale(_) => "plan-stale",
            Self::Unsteady { .. } => "plan-unsteady",
            Self::Base { .. }
            | Self::Data { .. }
            | Self::Taken { .. }
            | Self::Inside { .. }
            | Self::Write { .. } => "plan-unwritable",
        }
    }

    /// Every input that is not what it was; empty unless the plan is stale.
    pub fn changes(&self) -> &[Change] {
        if let Self::Stale(stale) = self {
            stale.as_slice()
        } else {
            &[]
        }
    }

    /// One thing to try.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name a file that `pyro plan REQUEST --out FILE` wrote",
            Self::Damaged { .. } | Self::Version { .. } => {
                "make it anew with `pyro plan REQUEST --out FILE`; a saved plan is not edited by hand"
            }
            Self::Stale(_) => {
                "nothing was run; look at the plan of today, and save that one: `pyro plan REQUEST --out FILE`"
            }
            Self::Unsteady { .. } => "wait until nobody writes to it, and plan again",
            Self::Base { .. } | Self::Data { .. } => {
                "plan from a directory that has a name in UTF-8"
            }
            Self::Inside { .. } => "name a file outside of it",
            Self::Taken { .. } => "name a new file, or one that holds a saved plan",
            Self::Write { .. } => "name a file in a directory that you may write to",
        }
    }
}
