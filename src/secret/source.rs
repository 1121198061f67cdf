//! Where values come from.

use super::{Secret, Unfit};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Why a secret has no value; completes "the secret `NAME` ...".
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The variable is not there.
    #[error("is to come from the variable `{0}`, which is not set")]
    NotSet(String),
    /// The file is not there, or cannot be read.
    #[error("cannot be read from the file `{0}`: {1}")]
    File(String, String),
    /// It cannot be a secret.
    #[error("cannot be used: its value {0}")]
    Unfit(Unfit),
}

impl ReadError {
    /// One thing to try.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotSet(_) => "set the variable and export it",
            Self::File(..) => "create the file and make it readable for you, or name another one",
            Self::Unfit(unfit) => unfit.help(),
        }
    }
}

/// The value of a variable of this process.
///
/// # Errors
/// Where it is not set, or cannot be a secret.
pub fn variable(name: &str) -> Result<Secret, ReadError> {
    let value: OsString =
        std::env::var_os(name).ok_or_else(|| ReadError::NotSet(name.to_owned()))?;
    Secret::new(value.into_vec()).map_err(ReadError::Unfit)
}

/// What a file holds. Of one that is too long only as much is read as proves it: it may have no end.
///
/// # Errors
/// Where it cannot be read, or what it holds cannot be a secret.
pub fn file(path: &Path) -> Result<Secret, ReadError> {
    let failed = |error: io::Error| {
        // Without its number.
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        ReadError::File(path.display().to_string(), why.to_lowercase())
    };
    let mut bytes = Vec::with_capacity(Secret::MOST + 1);
    File::open(path)
        .and_then(|file| file.take(Secret::MOST as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    Secret::new(bytes).map_err(ReadError::Unfit)
}
