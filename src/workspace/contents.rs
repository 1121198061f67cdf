//! The contents of a baseline on their way into a pack: written, or only compared with one that is kept already.
//!
//! ```text
//!  following --all that came is in a kept pack, and nothing else--> a further name of that one
//!      `--something differs--> writing --> a pack of its own, which is shared from then on
//! ```
//! What is followed was read to its end and compared byte by byte, so a damaged one is never joined.

use super::baselines::{Baselines, follows};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Of a file, so much at a time.
const PIECE: usize = 1 << 20;
/// Kept packs that are compared at the same time: versions of one seed begin alike.
const CANDIDATES: usize = 4;

/// Contents on their way.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    path: PathBuf,
    shared: Option<&'a Baselines>,
    end: u64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each of these has what came so far. Never none.
    Following(Vec<BufReader<File>>),
    Writing(BufWriter<File>),
}

impl<'a> Contents<'a> {
    /// Contents that come to lie at `path`, of about `size` bytes in all. With `shared`, one that is kept there already
    /// need not be written.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub(super) fn new(path: PathBuf, size: u64, shared: Option<&'a Baselines>) -> io::Result<Self> {
        let near = shared.map(|shared| shared.near(size, CANDIDATES));
        let near: Vec<_> = (near.into_iter().flatten())
            .map(|file| BufReader::with_capacity(PIECE, file))
            .collect();
        let way = match near.is_empty() {
            true => Way::Writing(writing(&path)?),
            false => Way::Following(near),
        };
        Ok(Self {
            path,
            shared,
            end: 0,
            way,
        })
    }

    /// Where the next piece begins.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Way::Following(kept) = &mut self.way {
            let mut last = None;
            for mut file in std::mem::take(kept) {
                // One that cannot be read is one that differs.
                match follows(&mut file, piece) {
                    Ok(true) => kept.push(file),
                    Ok(false) | Err(_) => last = Some(file),
                }
            }
            match (kept.is_empty(), last) {
                (true, Some(last)) => self.write_instead(last.into_inner())?,
                (true, None) | (false, _) => {
                    self.end += piece.len() as u64;
                    return Ok(());
                }
            }
        }
        if let Way::Writing(file) = &mut self.way {
            file.write_all(piece)?;
            self.end += piece.len() as u64;
        }
        Ok(())
    }

    /// From here on a file of its own, which begins with what was compared with `kept`.
    fn write_instead(&mut self, kept: File) -> io::Result<()> {
        let mut own = writing(&self.path)?;
        let mut kept = kept;
        io::Seek::rewind(&mut kept)?;
        let copied = io::copy(&mut kept.take(self.end), &mut own)?;
        if copied != self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.way = Way::Writing(own);
        Ok(())
    }

    /// The file, complete; shared under `digest` where that is wanted.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub(super) fn finish(mut self, digest: impl FnOnce() -> [u8; 32]) -> io::Result<File> {
        // Nothing is nothing to share.
        let shared = self.shared.filter(|_| self.end > 0);
        let digest = shared.map(|_| digest());
        if let Way::Following(kept) = &mut self.way {
            let kept: Vec<File> = kept.drain(..).map(BufReader::into_inner).collect();
            if let (Some(shared), Some(digest)) = (shared, &digest) {
                for file in &kept {
                    if file.metadata()?.len() == self.end
                        && shared.join(digest, file, &self.path)?
                    {
                        return File::open(&self.path);
                    }
                }
            }
            match kept.into_iter().next() {
                Some(kept) => self.write_instead(kept)?,
                None => self.way = Way::Writing(writing(&self.path)?),
            }
        }
        let file = match self.way {
            Way::Writing(file) => file.into_inner().map_err(io::IntoInnerError::into_error)?,
            Way::Following(_) => return Err(io::ErrorKind::NotFound.into()),
        };
        if let (Some(shared), Some(digest)) = (shared, &digest) {
            match shared.share(digest, &self.path) {
                Ok(sharing) => log::debug!("{}: {sharing:?}", self.path.display()),
                // It has its own.
                Err(error) => log::warn!("{}", told(&error)),
            }
        }
        Ok(file)
    }
}

fn told(error: &super::StateError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("could not {error}{}", source.unwrap_or_default())
}

fn writing(path: &Path) -> io::Result<BufWriter<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // The agent may be another user, and puts back from it; the folders around it are closed to everybody else.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(BufWriter::with_capacity(PIECE, file))
}
