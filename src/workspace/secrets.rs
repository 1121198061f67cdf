//! The secrets that a workspace keeps: `workspaces/ID/secrets/NAME`, 0600 in 0700, from its creation to its removal.
//!
//! They lie beside what the agent sees, never in it. Nothing else in the state directory has a value.

use super::home::{Home, Lifecycle};
use super::state::{io_error, make_dir};
use super::{HomeError, StateError};
use crate::secret::{Secret, Secrets};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

impl Home {
    fn secrets_folder(&self) -> PathBuf {
        self.path.join("secrets")
    }

    /// Keeps the values. Until its creation is through, whoever removes what is unfinished removes them, too.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write_secrets(
        &self,
        secrets: &Secrets,
        _lifecycle: &Lifecycle,
    ) -> Result<(), StateError> {
        let folder = self.secrets_folder();
        for (name, secret) in secrets.iter() {
            make_dir(&folder)?;
            let path = folder.join(name);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| {
                    file.write_all(secret.expose())?;
                    file.sync_all()
                })
                .map_err(io_error("write", &path))?;
        }
        Ok(())
    }

    /// The values of the secrets of these names.
    ///
    /// # Errors
    /// Where one is not there any more, or is no secret: then nothing may be run, for its value could not be taken out of
    /// what comes of it.
    pub fn secrets<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Secrets, HomeError> {
        let mut values = BTreeMap::new();
        for name in names {
            let path = self.secrets_folder().join(name);
            let failed = |source| HomeError::Secret {
                name: name.to_owned(),
                source,
            };
            let mut bytes = Vec::with_capacity(Secret::MOST + 1);
            let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            OpenOptions::new()
                .read(true)
                .custom_flags(nofollow)
                .open(&path)
                .and_then(|file| file.take(Secret::MOST as u64 + 1).read_to_end(&mut bytes))
                .map_err(failed)?;
            let secret = Secret::new(bytes)
                .map_err(|unfit| failed(io::Error::other(format!("what is kept {unfit}"))))?;
            values.insert(name.to_owned(), secret);
        }
        Secrets::new(values).map_err(|why| HomeError::Secret {
            name: "all of them".to_owned(),
            source: io::Error::other(why),
        })
    }
}
