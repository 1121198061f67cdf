//! Fills a work tree from a seed, a directory or an archive, and records the baseline in the same pass.
//!
//! Links stay links, hard links stay hard links, modes and modification times are kept, names may be any bytes.
//! Setuid and setgid bits are dropped; devices, sockets and FIFOs are left out. The seed is only ever read.

use super::Baseline;
use super::baselines::{self, Baselines};
use super::contents::Contents;
use super::remove::remove_tree;
use crate::archive::{ArchiveError, Unpacked};
use crate::exclude::{Exclude, Level, MAX_GITIGNORE};
use pyro_protocol::manifest::{Entry, Manifest};
use pyro_protocol::message::Kind;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown,
    symlink,
};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of this size and more are cloned where the file system can.
const CLONE_FROM: u64 = 256 << 10;

/// Whether the baseline's contents are kept beside the manifest: a diff needs them, digests alone do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepContents<'a> {
    /// In the run's `pack`.
    Yes,
    /// The same, in one file with all who have the same.
    Shared(&'a Baselines),
    /// Only sizes and digests.
    No,
}

/// What a work tree is filled from.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    /// A directory on the host, or an archive.
    pub path: &'a Path,
    /// What of it is left out.
    pub exclude: Option<&'a Exclude>,
    /// It is an archive, whose files are this many bytes: one that holds more is not taken.
    pub archive: Option<u64>,
    /// About how many bytes its files are, where that is known: what is kept already is looked for by it.
    pub size: u64,
}

impl<'a> From<&'a Path> for Seed<'a> {
    /// All of a directory.
    fn from(path: &'a Path) -> Self {
        Self {
            path,
            exclude: None,
            archive: None,
            size: 0,
        }
    }
}

/// A work tree that was filled.
#[derive(Debug)]
pub struct Filled {
    /// The baseline to compare with later.
    pub baseline: Baseline,
    /// Files, links and directories.
    pub entries: u64,
    /// Of all regular files.
    pub bytes: u64,
    /// sha256 of the archive that was unpacked.
    pub archive: Option<[u8; 32]>,
}

/// Why a work tree was not filled.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Something of the seed cannot be read.
    #[error("read {} of the seed", path.display())]
    Read {
        /// On the host.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The archive is not taken. It was read through when it was planned, so it is another one now.
    #[error("the archive {} is not the one that was planned: {why}", path.display())]
    Archive {
        /// On the host.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The copy cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// On the host.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Fills the tree in `folder` from `seed` (or leaves it empty) and writes the baseline. `owner` owns every path then.
///
/// # Errors
/// Where the seed cannot be read or the copy not written.
pub fn fill(
    seed: Option<Seed<'_>>,
    folder: &Path,
    owner: Option<u32>,
    keep: KeepContents<'_>,
) -> Result<Filled, SeedError> {
    let pack_path = folder.join("pack");
    let shared = match keep {
        KeepContents::Shared(baselines) => Some(baselines),
        KeepContents::Yes | KeepContents::No => None,
    };
    let pack = match (seed, keep) {
        (Some(seed), KeepContents::Yes | KeepContents::Shared(_)) => {
            let pack = Contents::new(pack_path.clone(), seed.size, shared);
            Some(pack.map_err(writing(&pack_path))?)
        }
        (None, _) | (_, KeepContents::No) => None,
    };
    let mut copier = Copier {
        tree: folder.join("tree"),
        owner,
        pack,
        twins: HashMap::new(),
        closed: BTreeMap::new(),
        directories: Vec::new(),
        entries: Vec::new(),
        bytes: 0,
        clones: true,
        buffer: if seed.is_some() {
            vec![0; 128 << 10]
        } else {
            Vec::new()
        },
    };
    let mut archive = None;
    if let Some(seed) = seed {
        match seed.archive {
            None => copier.copy(seed)?,
            Some(limit) => {
                let unpacked = folder.join("unpacked");
                let Unpacked { whole, closed } = unpack_source(seed.path, limit, &unpacked)?;
                (archive, copier.closed) = (Some(whole.sha256), closed);
                copier.copy(Seed {
                    path: &unpacked,
                    ..seed
                })?;
                remove_tree(&unpacked).map_err(writing(&unpacked))?;
            }
        }
    }
    let filled = copier.finish(folder, &pack_path)?;
    Ok(Filled { archive, ..filled })
}

/// Unpacks an archive beside the tree, into a directory that is made. What is copied from there is left out, counted and recorded as that of any directory.
pub(crate) fn unpack_source(
    archive: &Path,
    limit: u64,
    into: &Path,
) -> Result<Unpacked, SeedError> {
    let file = File::open(archive).map_err(reading(archive))?;
    fs::create_dir(into).map_err(writing(into))?;
    crate::archive::unpack(file, limit, into).map_err(|error| match error {
        ArchiveError::Io(source) => writing(into)(source),
        ArchiveError::NotAnArchive(_)
        | ArchiveError::Damaged(_)
        | ArchiveError::Refused { .. }
        | ArchiveError::TooLarge(_) => SeedError::Archive {
            path: archive.to_owned(),
            why: error.to_string(),
        },
    })
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> SeedError {
    let path = path.to_owned();
    move |source| SeedError::Read { path, source }
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> SeedError {
    let path = path.to_owned();
    move |source| SeedError::Write { path, source }
}

struct Copier<'a> {
    tree: PathBuf,
    owner: Option<u32>,
    pack: Option<Contents<'a>>,
    /// First copy of each inode with several names.
    twins: HashMap<(u64, u64), usize>,
    /// Modes that the source does not have, for us to read it.
    closed: BTreeMap<Vec<u8>, u32>,
    /// To be finished: entry, mode, modification time.
    directories: Vec<(usize, u32, SystemTime)>,
    entries: Vec<Entry>,
    bytes: u64,
    clones: bool,
    buffer: Vec<u8>,
}

impl Copier<'_> {
    fn copy(&mut self, seed: Seed<'_>) -> Result<(), SeedError> {
        let Seed {
            path: seed,
            exclude,
            archive: _,
            size: _,
        } = seed;
        let nothing = Exclude::nothing();
        let exclude = exclude.unwrap_or(&nothing);
        let mut waiting = vec![(Vec::new(), Level::default())];
        while let Some((relative, above)) = waiting.pop() {
            let from = join(seed, &relative);
            let level = exclude.enter(&above, &relative, || gitignore(&from));
            let items = fs::read_dir(&from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let mut items = items.map_err(reading(&from))?;
            // The same files give the same pack.
            items.sort_unstable_by_key(fs::DirEntry::file_name);
            for item in items {
                let mut path = relative.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(item.file_name().as_bytes());
                let (source, target) = (join(seed, &path), join(&self.tree, &path));
                let metadata = item.metadata().map_err(reading(&source))?;
                let kind = metadata.file_type();
                if exclude.why(&level, &path, kind.is_dir()).is_some() {
                    continue;
                }
                if kind.is_dir() {
                    fs::create_dir(&target).map_err(writing(&target))?;
                    self.directories.push((
                        self.entries.len(),
                        self.mode(&path, &metadata) & 0o1777,
                        metadata.modified().map_err(reading(&source))?,
                    ));
                    self.entries
                        .push(entry(path.clone(), Kind::Directory, &metadata));
                    waiting.push((path, level.clone()));
                } else if kind.is_symlink() {
                    self.copy_link(path, &source, &target, &metadata)?;
                } else if kind.is_file() {
                    self.copy_file(path, &source, &target, &metadata)?;
                } else {
                    debug_assert!(
                        kind.is_fifo()
                            || kind.is_socket()
                            || kind.is_block_device()
                            || kind.is_char_device()
                    );
                }
            }
        }
        Ok(())
    }

    fn mode(&self, path: &[u8], seen: &fs::Metadata) -> u32 {
        self.closed.get(path).copied().unwrap_or(seen.mode())
    }

    /// Gives a directory its mode and time, after everything in it was made and looked at.
    fn finish_directory(
        &mut self,
        index: usize,
        mode: u32,
        modified: SystemTime,
    ) -> Result<(), SeedError> {
        let path = join(&self.tree, &self.entries[index].path);
        let directory = File::open(&path).map_err(writing(&path))?;
        self.give(&directory).map_err(writing(&path))?;
        directory
            .set_permissions(fs::Permissions::from_mode(mode))
            .map_err(writing(&path))?;
        directory
            .set_times(FileTimes::new().set_modified(modified))
            .map_err(writing(&path))?;
        let metadata = directory.metadata().map_err(writing(&path))?;
        note(&mut self.entries[index], &metadata);
        Ok(())
    }

    fn give(&self, file: &File) -> io::Result<()> {
        self.owner
            .map_or(Ok(()), |owner| fchown(file, Some(owner), Some(owner)))
    }

    fn copy_link(
        &mut self,
        path: Vec<u8>,
        source: &Path,
        target: &Path,
        seen: &fs::Metadata,
    ) -> Result<(), SeedError> {
        let points_to = fs::read_link(source).map_err(reading(source))?;
        symlink(&points_to, target).map_err(writing(target))?;
        if let Some(owner) = self.owner {
            lchown(target, Some(owner), Some(owner)).map_err(writing(target))?;
        }
        let contents = points_to.as_os_str().as_bytes();
        let pack_offset = self.pack(contents, target)?;
        self.entries.push(Entry {
            size: contents.len() as u64,
            sha256: Sha256::digest(contents).into(),
            pack_offset,
            ..entry(path, Kind::Symlink, seen)
        });
        Ok(())
    }

    fn copy_file(
        &mut self,
        path: Vec<u8>,
        source: &Path,
        target: &Path,
        seen: &fs::Metadata,
    ) -> Result<(), SeedError> {
        let inode = (seen.dev(), seen.ino());
        if seen.nlink() > 1
            && let Some(first) = self.twins.get(&inode)
        {
            let first = &self.entries[*first];
            let twin = Entry {
                path,
                ..first.clone()
            };
            let first = join(&self.tree, &first.path);
            fs::hard_link(&first, target).map_err(writing(target))?;
            self.entries.push(twin);
            return Ok(());
        }
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
            .bits()
            .cast_signed();
        let mut from = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(source)
            .map_err(reading(source))?;
        let metadata = from.metadata().map_err(reading(source))?;
        if !metadata.is_file() {
            return Err(reading(source)(io::Error::other(
                "it changed while it was read",
            )));
        }
        let mode = self.mode(&path, &metadata) & 0o777;
        let mut to = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(target)
            .map_err(writing(target))?;
        let cloned = self.clones && metadata.len() >= CLONE_FROM && {
            self.clones = rustix::fs::ioctl_ficlone(&to, &from).is_ok();
            self.clones
        };
        let pack_offset = self.pack.as_ref().map_or(0, Contents::end);
        let mut sha256 = Sha256::new();
        let mut size = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let read = if cloned {
                to.read(&mut buffer)
            } else {
                from.read(&mut buffer)
            };
            let count = match read {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(source)(error)),
            };
            let piece = &buffer[..count];
            if !cloned {
                to.write_all(piece).map_err(writing(target))?;
            }
            sha256.update(piece);
            self.pack(piece, target)?;
            size += count as u64;
        }
        self.buffer = buffer;
        if !cloned && changed(&metadata, &from.metadata().map_err(reading(source))?) {
            // Half of what it was and half of what it became is neither.
            let why = "it changed while it was read; let nothing write to the seed meanwhile";
            return Err(reading(source)(io::Error::other(why)));
        }
        self.give(&to).map_err(writing(target))?;
        let modified = metadata.modified().map_err(reading(source))?;
        to.set_times(FileTimes::new().set_modified(modified))
            .map_err(writing(target))?;
        let mut made = to.metadata().map_err(writing(target))?;
        if made.mode() & 0o7777 != mode {
            // The umask took something away.
            to.set_permissions(fs::Permissions::from_mode(mode))
                .map_err(writing(target))?;
            made = to.metadata().map_err(writing(target))?;
        }
        if seen.nlink() > 1 {
            self.twins.insert(inode, self.entries.len());
        }
        self.bytes += size;
        self.entries.push(Entry {
            size,
            sha256: sha256.finalize().into(),
            pack_offset,
            ..entry(path, Kind::File, &made)
        });
        Ok(())
    }

    fn pack(&mut self, bytes: &[u8], target: &Path) -> Result<u64, SeedError> {
        let Some(pack) = &mut self.pack else {
            return Ok(0);
        };
        let offset = pack.end();
        pack.add(bytes).map_err(writing(target))?;
        Ok(offset)
    }

    fn finish(mut self, folder: &Path, pack_path: &Path) -> Result<Filled, SeedError> {
        // The run's folder around it is closed; inside, every id may enter.
        fs::set_permissions(&self.tree, fs::Permissions::from_mode(0o755))
            .map_err(writing(&self.tree))?;
        // Links and hard links were touched after they were recorded; files were not. Directories are last, from the
        // innermost: a closed one lets nobody in.
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let twin = entry.kind == Kind::File && !self.twins.is_empty();
            if entry.kind == Kind::Symlink || twin {
                let path = join(&self.tree, &entry.path);
                let metadata = fs::symlink_metadata(&path).map_err(writing(&path))?;
                note(&mut self.entries[index], &metadata);
            }
        }
        for (index, mode, modified) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(index, mode, modified)?;
        }
        self.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let manifest = Manifest {
            complete_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            entries: self.entries,
        };
        // Without entries it says what its absence says.
        if !manifest.entries.is_empty() {
            let path = folder.join("baseline");
            fs::write(&path, manifest.encode()).map_err(writing(&path))?;
            // The agent may be another user; the folder around it is closed to everybody else.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
                .map_err(writing(&path))?;
        }
        let digest = || baselines::digest(&manifest.entries);
        let pack = self.pack.map(|pack| pack.finish(digest)).transpose();
        let pack = pack.map_err(writing(pack_path))?;
        let entries = manifest.entries.len() as u64;
        Ok(Filled {
            entries,
            bytes: self.bytes,
            archive: None,
            baseline: Baseline::new(manifest, pack),
        })
    }
}

/// The `.gitignore` of a directory, where it has one that counts: no link, and not larger than people write them.
fn gitignore(dir: &Path) -> Option<Vec<u8>> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
        .bits()
        .cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir.join(".gitignore"))
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_GITIGNORE {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_GITIGNORE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Whether a file is another one than it was a moment ago.
fn changed(before: &fs::Metadata, after: &fs::Metadata) -> bool {
    let seen = |of: &fs::Metadata| (of.size(), of.mtime(), of.mtime_nsec());
    seen(before) != seen(after)
}

fn join(base: &Path, relative: &[u8]) -> PathBuf {
    if relative.is_empty() {
        base.to_owned()
    } else {
        base.join(OsStr::from_bytes(relative))
    }
}

fn mtime_ns(metadata: &fs::Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

fn ctime_ns(metadata: &fs::Metadata) -> i64 {
    metadata
        .ctime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.ctime_nsec())
}

fn note(entry: &mut Entry, metadata: &fs::Metadata) {
    entry.mode = metadata.mode() & 0o7777;
    (entry.mtime_ns, entry.ctime_ns, entry.inode) =
        (mtime_ns(metadata), ctime_ns(metadata), metadata.ino());
}

fn entry(path: Vec<u8>, kind: Kind, metadata: &fs::Metadata) -> Entry {
    Entry {
        path,
        kind,
        mode: metadata.mode() & 0o7777,
        size: 0,
        mtime_ns: mtime_ns(metadata),
        ctime_ns: ctime_ns(metadata),
        inode: metadata.ino(),
        sha256: [0; 32],
        pack_offset: 0,
    }
}
