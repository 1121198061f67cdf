//! Whether the values of secrets are there and can be used. They are looked at and forgotten: only that leaves this file.

use super::Surroundings;
use super::facts::{SecretFact, SecretState};
use super::file::{kind_word, why};
use crate::request::SecretSource;
use crate::secret::{ReadError, Secret, Unfit, file, variable};
use std::path::PathBuf;

/// Looks at a source.
pub(super) fn look(source: &SecretSource, around: &Surroundings) -> SecretFact {
    let path = match source {
        SecretSource::Env(_) => None,
        SecretSource::File(shown) => match shown.strip_prefix("~/") {
            Some(rest) => match &around.home {
                Some(home) => Some(home.join(rest)),
                None => return fact(None, SecretState::NoHome),
            },
            None => Some(around.base_dir.join(shown)),
        },
    };
    let state = match (source, &path) {
        (SecretSource::Env(name), _) => judged(variable(name)),
        (SecretSource::File(_), Some(path)) => match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SecretState::Missing,
            Err(error) => SecretState::Unreadable(why(&error)),
            Ok(meta) if meta.is_file() => judged(file(path)),
            Ok(meta) if matches!(kind_word(&meta), "directory" | "socket") => {
                SecretState::Unreadable(format!("it is a {}", kind_word(&meta)))
            }
            Ok(_) => SecretState::Later,
        },
        (SecretSource::File(_), None) => SecretState::Missing,
    };
    fact(path, state)
}

fn fact(path: Option<PathBuf>, state: SecretState) -> SecretFact {
    SecretFact {
        path,
        literal: false,
        state,
    }
}

fn judged(read: Result<Secret, ReadError>) -> SecretState {
    match read {
        Ok(_) => SecretState::Ready,
        Err(ReadError::NotSet(_)) => SecretState::Missing,
        Err(ReadError::File(_, why)) => SecretState::Unreadable(why),
        Err(ReadError::Unfit(unfit)) => unfit_state(unfit),
    }
}

fn unfit_state(unfit: Unfit) -> SecretState {
    SecretState::Unfit {
        why: unfit.to_string(),
        help: unfit.help().to_owned(),
    }
}
