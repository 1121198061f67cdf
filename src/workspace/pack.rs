//! A host directory as a tar, piece by piece: what a `sync` sends to the agent.
//!
//! ```text
//!  folder -> names, sorted -> heading -> bytes, 64 KiB at a time -> heading -> ... -> end
//! ```
//! Links stay links, hard links stay hard links, modes and times are kept, setuid and setgid bits are dropped; devices,
//! sockets and FIFOs are passed over. No link is followed on the way. What changes while it is read ends the packing.

use crate::archive::{Heading, Writes, end, fill_up, heading};
use crate::exclude::{Exclude, Level};
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Of a file, so much at a time.
const PIECE: usize = 64 << 10;

/// Why a directory was not packed to its end.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something in it cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// On the host.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Somebody changed it meanwhile.
    #[error("read {}: it changed while it was read", path.display())]
    Changed {
        /// On the host.
        path: PathBuf,
    },
}

/// Whether contents are hashed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Each file and link.
    Yes,
    /// Nobody asks for it.
    No,
}

/// Something that was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Relative to the directory.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: PackedKind,
    /// Permission bits.
    pub mode: u32,
    /// Of the contents, or of where it points; zeros where nothing was hashed.
    pub sha256: [u8; 32],
}

/// What something that was packed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackedKind {
    /// A regular file of so many bytes; also a further name of one.
    File(u64),
    /// A directory.
    Directory,
    /// A link, and where it points.
    Link(Vec<u8>),
}

/// A directory that is being packed.
#[derive(Debug)]
pub struct Pack<'a> {
    top: &'a Path,
    root: OwnedFd,
    exclude: &'a Exclude,
    /// Modes that the directory does not have, for us to read it.
    closed: &'a BTreeMap<Vec<u8>, u32>,
    hash: Hash,
    folders: Vec<Folder>,
    file: Option<Open>,
    /// First name of each file with several, by its place among what was packed.
    twins: HashMap<(u64, u64), usize>,
    packed: Vec<Packed>,
    over: bool,
}

/// A directory whose names are still to come.
#[derive(Debug)]
struct Folder {
    path: Vec<u8>,
    fd: Option<OwnedFd>,
    stamp: Stamp,
    /// Sorted, the last one first.
    names: Vec<Vec<u8>>,
}

/// A file that is being read.
#[derive(Debug)]
struct Open {
    path: Vec<u8>,
    file: File,
    stamp: Stamp,
    size: u64,
    left: u64,
    mode: u32,
    /// Where it is one of several names.
    inode: Option<(u64, u64)>,
    sha256: Sha256,
}

/// What does not stay the same where somebody writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    mtime: (i64, u64),
    ctime: (i64, u64),
}

impl Stamp {
    #[expect(
        clippy::useless_conversion,
        reason = "the types differ between architectures"
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size.into(),
            mtime: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            ctime: (stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }
}

impl<'a> Pack<'a> {
    /// Begins to pack what is in `top`, without what `exclude` names. `closed` has modes that are to be told in the
    /// place of those on the disk.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn new(
        top: &'a Path,
        exclude: &'a Exclude,
        closed: &'a BTreeMap<Vec<u8>, u32>,
        hash: Hash,
    ) -> Result<Self, PackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root =
            fs::openat(CWD, top, flags, Mode::empty()).map_err(|errno| reading(top, errno))?;
        let mut pack = Self {
            top,
            root,
            exclude,
            closed,
            hash,
            folders: Vec::new(),
            file: None,
            twins: HashMap::new(),
            packed: Vec::new(),
            over: false,
        };
        pack.enter(Vec::new())?;
        Ok(pack)
    }

    /// Appends the next piece of the archive; false where there is no more.
    ///
    /// # Errors
    /// Where something cannot be read, or changed meanwhile.
    pub fn piece(&mut self, out: &mut Vec<u8>) -> Result<bool, PackError> {
        if let Some(file) = self.file.take() {
            self.contents(file, out)?;
            return Ok(true);
        }
        while let Some(folder) = self.folders.last_mut() {
            let Some(name) = folder.names.pop() else {
                self.leave()?;
                continue;
            };
            if self.entry(&name, out)? {
                return Ok(true);
            }
        }
        if self.over {
            return Ok(false);
        }
        self.over = true;
        end(out);
        Ok(true)
    }

    /// All that was packed, in the order of whole paths.
    pub fn finish(self) -> Vec<Packed> {
        let mut packed = self.packed;
        packed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        packed
    }

    fn host(&self, path: &[u8]) -> PathBuf {
        match path {
            b"" => self.top.to_owned(),
            path => self.top.join(OsStr::from_bytes(path)),
        }
    }

    fn refused(&self, path: &[u8], errno: Errno) -> PackError {
        match errno {
            // It was there a moment ago, and was no link.
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR => self.changed(path),
            errno => reading(&self.host(path), errno),
        }
    }

    fn changed(&self, path: &[u8]) -> PackError {
        PackError::Changed {
            path: self.host(path),
        }
    }

    /// Opens something below the top by its whole path, links not followed.
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, PackError> {
        let below = if path.is_empty() { &b"."[..] } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(
            &self.root,
            below,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .map_err(|errno| self.refused(path, errno))
    }

    /// Reads the names of a directory, which come next.
    fn enter(&mut self, path: Vec<u8>) -> Result<(), PackError> {
        let fd = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let refused = |errno| self.refused(&path, errno);
        let stamp = Stamp::of(&fs::fstat(&fd).map_err(refused)?);
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        // Whoever nests directories deeper than this shall not use up our descriptors.
        if let Some(above) = self.folders.last_mut() {
            above.fd = None;
        }
        self.folders.push(Folder {
            path,
            fd: Some(fd),
            stamp,
            names,
        });
        Ok(())
    }

    /// Ends a directory: nothing may have come or gone since its names were read.
    fn leave(&mut self) -> Result<(), PackError> {
        let Some(folder) = self.folders.pop() else {
            return Ok(());
        };
        let fd = match folder.fd {
            Some(fd) => fd,
            None => self.open(&folder.path, OFlags::RDONLY | OFlags::DIRECTORY)?,
        };
        let stat = fs::fstat(&fd).map_err(|errno| self.refused(&folder.path, errno))?;
        if Stamp::of(&stat) != folder.stamp {
            return Err(self.changed(&folder.path));
        }
        Ok(())
    }

    /// Begins the next entry of the innermost directory; false where it is passed over.
    fn entry(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<bool, PackError> {
        let Some(mut folder) = self.folders.pop() else {
            return Ok(false);
        };
        let path = match folder.path.as_slice() {
            b"" => name.to_vec(),
            above => [above, b"/", name].concat(),
        };
        let fd = match folder.fd.take() {
            Some(fd) => fd,
            None => self.open(&folder.path, OFlags::RDONLY | OFlags::DIRECTORY)?,
        };
        let looked = fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let target = |size: usize| {
            fs::readlinkat(&fd, name, Vec::with_capacity(size)).map(|to| to.as_bytes().to_vec())
        };
        let stat = looked.map_err(|errno| self.refused(&path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => Some(target(256).map_err(|errno| self.refused(&path, errno))?),
            FileType::RegularFile
            | FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => None,
        };
        folder.fd = Some(fd);
        self.folders.push(folder);
        let is_directory = kind == FileType::Directory;
        // Only patterns count here, so what lies above says nothing more.
        let left_out = self.exclude.why(&Level::default(), &path, is_directory);
        if left_out.is_some() {
            return Ok(false);
        }
        match kind {
            FileType::Directory => {
                let mode = self.mode(&path, &stat, 0o1777);
                self.put(&path, Writes::Directory, mode, &stat, out);
                self.note(path.clone(), PackedKind::Directory, mode, [0; 32]);
                self.enter(path)?;
            }
            FileType::Symlink => {
                let target = target.unwrap_or_default();
                self.put(&path, Writes::Symlink(&target), 0o777, &stat, out);
                let sha256 = match self.hash {
                    Hash::Yes => Sha256::digest(&target).into(),
                    Hash::No => [0; 32],
                };
                self.note(path, PackedKind::Link(target), 0o777, sha256);
            }
            FileType::RegularFile => self.begin(path, &stat, out)?,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Ok(false),
        }
        Ok(true)
    }

    fn mode(&self, path: &[u8], stat: &Stat, mask: u32) -> u32 {
        self.closed.get(path).copied().unwrap_or(stat.st_mode) & mask
    }

    fn put(&self, path: &[u8], kind: Writes<'_>, mode: u32, stat: &Stat, out: &mut Vec<u8>) {
        let stamp = Stamp::of(stat);
        let part = i64::try_from(stamp.mtime.1).unwrap_or(0);
        let entry = Heading {
            path,
            kind,
            mode,
            mtime_ns: (stamp.mtime.0)
                .saturating_mul(1_000_000_000)
                .saturating_add(part),
        };
        heading(&entry, out);
    }

    fn note(&mut self, path: Vec<u8>, kind: PackedKind, mode: u32, sha256: [u8; 32]) {
        self.packed.push(Packed {
            path,
            kind,
            mode,
            sha256,
        });
    }

    /// Begins a file: its contents come next.
    fn begin(&mut self, path: Vec<u8>, seen: &Stat, out: &mut Vec<u8>) -> Result<(), PackError> {
        let inode = (seen.st_nlink > 1).then_some((seen.st_dev, seen.st_ino));
        let first = inode.and_then(|inode| self.twins.get(&inode));
        if let Some(first) = first.and_then(|first| self.packed.get(*first)).cloned() {
            self.put(&path, Writes::HardLink(&first.path), first.mode, seen, out);
            self.packed.push(Packed { path, ..first });
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let file = File::from(self.open(&path, flags)?);
        let stat = fs::fstat(&file).map_err(|errno| self.refused(&path, errno))?;
        if Stamp::of(&stat) != Stamp::of(seen) {
            return Err(self.changed(&path));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mode = self.mode(&path, &stat, 0o777);
        self.put(&path, Writes::File(size), mode, &stat, out);
        let open = Open {
            path,
            file,
            stamp: Stamp::of(&stat),
            size,
            left: size,
            mode,
            inode,
            sha256: Sha256::new(),
        };
        // Small ones are whole at once.
        self.contents(open, out)
    }

    /// Appends a piece of a file, and what ends it after the last one.
    fn contents(&mut self, mut open: Open, out: &mut Vec<u8>) -> Result<(), PackError> {
        let most = usize::try_from(open.left).unwrap_or(usize::MAX).min(PIECE);
        let start = out.len();
        out.resize(start + most, 0);
        let mut read = 0;
        while read < most {
            match open.file.read(&mut out[start + read..]) {
                Ok(0) => return Err(self.changed(&open.path)),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = self.host(&open.path);
                    return Err(PackError::Read { path, source });
                }
            }
        }
        if self.hash == Hash::Yes {
            open.sha256.update(&out[start..]);
        }
        open.left -= most as u64;
        if open.left > 0 {
            self.file = Some(open);
            return Ok(());
        }
        let stat = fs::fstat(&open.file).map_err(|errno| self.refused(&open.path, errno))?;
        if Stamp::of(&stat) != open.stamp {
            return Err(self.changed(&open.path));
        }
        fill_up(open.size, out);
        if let Some(inode) = open.inode {
            self.twins.insert(inode, self.packed.len());
        }
        let sha256 = match self.hash {
            Hash::Yes => open.sha256.finalize().into(),
            Hash::No => [0; 32],
        };
        self.note(open.path, PackedKind::File(open.size), open.mode, sha256);
        Ok(())
    }
}

fn reading(path: &Path, errno: Errno) -> PackError {
    PackError::Read {
        path: path.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests;
