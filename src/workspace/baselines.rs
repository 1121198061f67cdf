//! The contents of baselines, kept once for all workspaces that were filled with the same.
//!
//! ```text
//!  baselines/DIGEST         contents, one after the other, as `pack` of whoever was first
//!  workspaces/ID/run/pack   the same file: a hard link
//! ```
//! The digest is that of paths, kinds, modes, sizes, contents and where in the file they lie. Who uses a file is known by
//! its links, so nobody counts, and nobody who is killed leaves a wrong count: a file of one name is used by nobody. What
//! is in a file never changes.

use super::StateError;
use super::state::{io_error, is_ours, make_dir, open_folder};
use pyro_protocol::manifest::Entry;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Of a file, so much at a time.
const PIECE: usize = 1 << 20;

/// The baselines of a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baselines {
    folder: PathBuf,
}

/// How a pack came to be shared, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody had these contents before.
    First,
    /// Somebody has the same, and it is one file now.
    Joined,
    /// What was there under this digest was damaged. This one has taken its place; those who use the other one keep it.
    Replaced,
    /// The file system has no further link for it: this workspace keeps its own.
    Alone,
}

impl Baselines {
    /// Those of the state directory at `state`. Nothing is made.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("baselines"),
        }
    }

    /// Those of the state directory that the folder of a run or of a workspace lies in: `STATE/runs/ID`,
    /// `STATE/workspaces/ID`.
    pub(super) fn around(folder: &Path) -> Self {
        let state = folder.parent().and_then(Path::parent);
        Self::of(state.unwrap_or(folder))
    }

    /// Whether the pack in a folder has another name.
    pub(super) fn shares(folder: &Path) -> bool {
        (folder.join("pack").symlink_metadata()).is_ok_and(|metadata| metadata.nlink() > 1)
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nobody shares or sweeps while this is held.
    fn lock(&self) -> io::Result<File> {
        let folder = open_folder(&self.folder)?;
        loop {
            match flock(&folder, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(folder),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn place(&self, digest: &[u8; 32]) -> PathBuf {
        self.folder.join(hex(digest))
    }

    /// Every file that is kept, with its links. Nothing where there is no such folder.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_digest = (path.file_name().and_then(|name| name.to_str())).is_some_and(|name| {
                name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
            });
            match path.symlink_metadata() {
                Ok(metadata) if is_digest && metadata.is_file() => all.push((path, metadata)),
                Ok(_) => {}
                // Swept in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// Opens those whose sizes come next to `size`, at most `most` of them. What cannot be opened is no candidate.
    pub(super) fn near(&self, size: u64, most: usize) -> Vec<File> {
        let mut all = self.all().unwrap_or_default();
        all.sort_by_key(|(_, metadata)| metadata.len().abs_diff(size));
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        (all.iter().take(most))
            .filter_map(|(path, _)| {
                OpenOptions::new()
                    .read(true)
                    .custom_flags(nofollow)
                    .open(path)
                    .ok()
            })
            .collect()
    }

    /// Gives `pack`, which was never there, another name for the kept file, if that is `found` still, whose contents the
    /// caller has compared. False where it is gone or another one.
    ///
    /// # Errors
    /// Where the folder cannot be locked.
    pub(super) fn join(&self, digest: &[u8; 32], found: &File, pack: &Path) -> io::Result<bool> {
        let _lock = self.lock()?;
        let place = self.place(digest);
        let (ours, there) = (found.metadata()?, place.symlink_metadata());
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        Ok(same && fs::hard_link(&place, pack).is_ok())
    }

    /// Shares `pack`, a file that is complete, under its digest: it becomes the kept one, or a name of that.
    ///
    /// # Errors
    /// Where the disk refuses; then `pack` is what it was.
    pub(super) fn share(&self, digest: &[u8; 32], pack: &Path) -> Result<Sharing, StateError> {
        make_dir(&self.folder)?;
        is_ours(&self.folder)?;
        let _lock = self.lock().map_err(io_error("lock", &self.folder))?;
        let place = self.place(digest);
        match fs::hard_link(pack, &place) {
            Ok(()) => return Ok(Sharing::First),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                log::debug!("could not share {}: {error}", pack.display());
                return Ok(Sharing::Alone);
            }
        }
        // One of them takes the place of the other by a rename, so that there is never none.
        let beside = pack.with_extension("new");
        let replace = |from: &Path, over: &Path| {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::hard_link(from, &beside)?;
            fs::rename(&beside, over)
        };
        let same = same_contents(pack, &place).map_err(io_error("read", &place))?;
        let (replaced, sharing) = match same {
            true => (replace(&place, pack), Sharing::Joined),
            false => {
                log::warn!(
                    "{} was damaged, and is made anew; workspaces that use the damaged one keep it",
                    place.display()
                );
                (replace(pack, &place), Sharing::Replaced)
            }
        };
        match replaced {
            Ok(()) => Ok(sharing),
            Err(error) => {
                log::debug!("could not share {}: {error}", pack.display());
                Ok(Sharing::Alone)
            }
        }
    }

    /// Removes what nobody uses any more; how many that were.
    ///
    /// # Errors
    /// Where the folder cannot be read or locked.
    pub fn sweep(&self) -> Result<usize, StateError> {
        let unused = |all: Vec<(PathBuf, fs::Metadata)>| {
            (all.into_iter()).filter(|(_, metadata)| metadata.nlink() <= 1)
        };
        let all = self.all().map_err(io_error("read", &self.folder))?;
        // Mostly there is nothing to do, for which nobody has to wait.
        if unused(all).next().is_none() {
            return Ok(0);
        }
        let _lock = self.lock().map_err(io_error("lock", &self.folder))?;
        let all = self.all().map_err(io_error("read", &self.folder))?;
        let mut removed = 0;
        for (path, _) in unused(all) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// What a pack is kept under: entries sorted by path, with where their contents lie in it. Times are no part of it, so two
/// checkouts of the same files are one.
pub(super) fn digest(entries: &[Entry]) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    let mut line = Vec::new();
    for entry in entries {
        line.clear();
        Entry {
            mtime_ns: 0,
            ctime_ns: 0,
            inode: 0,
            ..entry.clone()
        }
        .encode(&mut line);
        sha256.update(&line);
    }
    sha256.finalize().into()
}

/// Whether two files hold the same bytes.
fn same_contents(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut other = BufReader::with_capacity(PIECE, other);
    let mut one = BufReader::with_capacity(PIECE, one);
    let mut piece = vec![0; PIECE];
    loop {
        let count = one.read(&mut piece)?;
        if count == 0 {
            return Ok(true);
        }
        if !follows(&mut other, &piece[..count])? {
            return Ok(false);
        }
    }
}

/// Whether `bytes` come next.
pub(super) fn follows(file: &mut BufReader<File>, mut bytes: &[u8]) -> io::Result<bool> {
    use io::BufRead as _;
    while !bytes.is_empty() {
        let there = file.fill_buf()?;
        let count = there.len().min(bytes.len());
        if count == 0 || there[..count] != bytes[..count] {
            return Ok(false);
        }
        bytes = &bytes[count..];
        file.consume(count);
    }
    Ok(true)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
