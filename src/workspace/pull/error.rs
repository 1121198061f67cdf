//! Why changes were not brought home.

use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Why changes were not brought home. But for [`PullError::NotTakenBack`], the directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It is a file, or a link that somebody put there since it was looked at.
    #[error("write into {}: it is no directory, or lies behind a link", .0.display())]
    NotADirectory(PathBuf),
    /// Another pull is at it, and does not come to an end.
    #[error("write into {}: another pull is at work there", .0.display())]
    Busy(PathBuf),
    /// Somebody changed it while it was being replaced.
    #[error("replace {}: somebody changed it at this moment", .0.display())]
    Changed(PathBuf),
    /// It lies on another file system than the directory, so that nothing can be moved there in one step.
    #[error("write {}: it lies on another file system than the directory that is pulled into", .0.display())]
    Elsewhere(PathBuf),
    /// More than the workspace may hold.
    #[error("take {} from the workspace: all of it is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file that goes beyond.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// The file in the workspace is not what it was when the changes were looked for, or its stream broke.
    #[error("take {} from the workspace: it changed meanwhile", .0.display())]
    Moved(PathBuf),
    /// The host refuses.
    #[error("{what} {}", path.display())]
    Host {
        /// What was tried, completing "could not ...".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What had been done could not be taken back: the directory is neither old nor new. The next command tries again.
    #[error(
        "put {} back as it was, which the next command tries again; what is missing there is in {}",
        path.display(), stage.display()
    )]
    NotTakenBack {
        /// What could not be put back.
        path: PathBuf,
        /// Where the old contents are.
        stage: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl PullError {
    /// With its reason, in one line.
    pub fn in_words(&self) -> String {
        use std::error::Error as _;
        let reason = self.source().map(|source| format!(": {source}"));
        format!("could not {self}{}", reason.unwrap_or_default())
    }

    pub(super) fn host(what: &'static str, path: &Path) -> impl Fn(Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| match errno {
            Errno::XDEV => Self::Elsewhere(path.clone()),
            errno => Self::Host {
                what,
                path: path.clone(),
                source: errno.into(),
            },
        }
    }

    pub(super) fn io(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Host {
            what,
            path: path.clone(),
            source,
        }
    }
}
