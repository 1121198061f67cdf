//! Marks on the disk: what a tree was at one time, and the contents that only marks have.
//!
//! ```text
//!  marks/NAME.work, NAME.system    a record for each path, sorted: an entry of a manifest, its owner
//!  marks/pack                      contents, one after the other
//!  baseline, pack                  the same for the work tree as the host filled it
//! ```
//! A mark is there once `NAME.work` is: it is named last.

use super::World;
use pyro_protocol::manifest::{Entry, Manifest};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// The work tree as the host filled it; the system tree as it was before the first program.
pub(crate) const BASELINE: &str = "baseline";
/// What the trees are known to be since the last reset.
pub(crate) const CURRENT: &str = ".current";
/// There while a reset is under way: what it leads to.
pub(crate) const RESETTING: &str = ".resetting";

/// Contents that nobody kept.
const NOWHERE: u64 = u64::MAX;
/// Set in the place of contents that lie in the marks' own pack.
const OURS: u64 = 1 << 63;

/// Paths of one mark.
const MAX_ENTRIES: usize = 1_000_000;

/// Which tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// What programs see as `/workspace`.
    Work,
    /// Everything else that they can write to.
    System,
}

impl Which {
    fn suffix(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::System => "system",
        }
    }
}

/// One path of a tree at the time of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The tree itself has an empty path.
    pub(crate) entry: Entry,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A tree at the time of a mark.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// Before this, nothing that the mark says can have been changed unseen.
    pub(crate) complete_ns: i64,
    /// Sorted by path.
    pub(crate) paths: Vec<Known>,
}

impl Mark {
    /// What was at a path.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Known> {
        let index = self
            .paths
            .binary_search_by(|known| known.entry.path.as_slice().cmp(path))
            .ok()?;
        self.paths.get(index)
    }
}

/// Where the contents of an entry are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Baseline(u64),
    Ours(u64),
    Nowhere,
}

impl Place {
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry.pack_offset {
            NOWHERE => Self::Nowhere,
            offset if offset & OURS != 0 => Self::Ours(offset & !OURS),
            offset => Self::Baseline(offset),
        }
    }

    pub(crate) fn offset(self) -> u64 {
        match self {
            Self::Baseline(offset) => offset,
            Self::Ours(offset) => offset | OURS,
            Self::Nowhere => NOWHERE,
        }
    }
}

/// The folder of the marks, made where it is missing.
///
/// # Errors
/// What the kernel says.
pub(crate) fn folder(world: &World) -> Result<OwnedFd, Errno> {
    match fs::mkdirat(&world.run_dir, "marks", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    fs::openat(&world.run_dir, "marks", flags, Mode::empty())
}

fn file_name(name: &str, which: Which) -> String {
    format!("{name}.{}", which.suffix())
}

fn open(at: impl std::os::fd::AsFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether there is a mark of that name.
///
/// # Errors
/// What the kernel says.
pub(crate) fn exists(world: &World, name: &str, which: Which) -> io::Result<bool> {
    Ok(open(folder(world)?, &file_name(name, which))?.is_some())
}

/// Reads a mark; nothing where there is none.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn load(world: &World, name: &str, which: Which) -> io::Result<Option<Mark>> {
    let mark = load_file(world, name, which)?;
    if name == BASELINE && which == Which::Work {
        return baseline(world, mark).map(Some);
    }
    Ok(mark)
}

fn load_file(world: &World, name: &str, which: Which) -> io::Result<Option<Mark>> {
    let Some(mut file) = open(folder(world)?, &file_name(name, which))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let broken = || io::Error::other("a mark is cut off");
    let complete = rest.split_off(..8).ok_or_else(broken)?;
    let mut mark = Mark {
        complete_ns: i64::from_le_bytes(complete.try_into().map_err(|_| broken())?),
        paths: Vec::new(),
    };
    while !rest.is_empty() {
        let entry = Entry::decode(&mut rest).map_err(io::Error::other)?;
        let mut id = || {
            let bytes = rest.split_off(..4).ok_or_else(broken)?;
            Ok::<_, io::Error>(u32::from_le_bytes(bytes.try_into().map_err(|_| broken())?))
        };
        let (uid, gid) = (id()?, id()?);
        mark.paths.push(Known { entry, uid, gid });
    }
    Ok(Some(mark))
}

/// What the host recorded; `top` has the tree itself, where it was marked.
fn baseline(world: &World, top: Option<Mark>) -> io::Result<Mark> {
    let Manifest {
        complete_ns,
        entries,
    } = super::walk::baseline(world)?;
    let kept = open(&world.run_dir, "pack")?.is_some();
    let (uid, gid) = world.owners();
    let known = |mut entry: Entry| {
        if !kept {
            entry.pack_offset = NOWHERE;
        }
        Known { entry, uid, gid }
    };
    let top = top.map(|top| top.paths).unwrap_or_default();
    Ok(Mark {
        complete_ns,
        paths: top
            .into_iter()
            .chain(entries.into_iter().map(known))
            .collect(),
    })
}

/// What the trees are known to be by the latest look: nothing in it has to be read again that looks the same.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn latest(world: &World, which: Which) -> io::Result<Mark> {
    for name in [world.latest().as_deref(), Some(CURRENT), Some(BASELINE)]
        .into_iter()
        .flatten()
    {
        if let Some(mark) = load(world, name, which)? {
            return Ok(mark);
        }
    }
    Ok(Mark::default())
}

/// A mark that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: OwnedFd,
    name: String,
    file: BufWriter<File>,
    line: Vec<u8>,
    count: usize,
}

impl Writer {
    /// Begins a mark, which is named by [`Writer::keep`].
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new(
        world: &World,
        name: &str,
        which: Which,
        complete_ns: i64,
    ) -> io::Result<Self> {
        let folder = folder(world)?;
        let name = file_name(name, which);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW;
        let new = format!("{name}.new");
        let file = fs::openat(&folder, new, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = BufWriter::with_capacity(256 << 10, File::from(file));
        file.write_all(&complete_ns.to_le_bytes())?;
        Ok(Self {
            folder,
            name,
            file,
            line: Vec::new(),
            count: 0,
        })
    }

    /// Adds a path, in order.
    ///
    /// # Errors
    /// What the kernel says, or too many paths.
    pub(crate) fn put(&mut self, known: &Known) -> io::Result<()> {
        self.count += 1;
        if self.count > MAX_ENTRIES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.line.clear();
        known.entry.encode(&mut self.line);
        self.line.extend_from_slice(&known.uid.to_le_bytes());
        self.line.extend_from_slice(&known.gid.to_le_bytes());
        self.file.write_all(&self.line)
    }

    /// The mark is there from now on, in the place of an earlier one of this name.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn keep(self) -> io::Result<()> {
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let new = format!("{}.new", self.name);
        fs::renameat(&self.folder, new, &self.folder, self.name.as_str())?;
        Ok(())
    }
}

/// The contents that marks keep.
#[derive(Debug)]
pub(crate) struct Pack {
    ours: File,
    end: u64,
    baseline: Option<File>,
    limit: u64,
}

impl Pack {
    /// Opens both packs; ours is made where it is missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(world: &World) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let ours = fs::openat(folder(world)?, "pack", flags, Mode::RUSR | Mode::WUSR)?;
        let ours = File::from(ours);
        Ok(Self {
            end: ours.metadata()?.len(),
            ours,
            baseline: open(&world.run_dir, "pack")?,
            limit: world.disk_limit(),
        })
    }

    /// Where the next contents begin.
    pub(crate) fn end(&self) -> Place {
        Place::Ours(self.end)
    }

    /// Adds a piece of contents.
    ///
    /// # Errors
    /// What the kernel says; no room where marks are as large as a run may be.
    pub(crate) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.end.saturating_add(piece.len() as u64) > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.ours.write_all_at(piece, self.end)?;
        self.end += piece.len() as u64;
        Ok(())
    }

    /// Forgets what was added since `place`.
    pub(crate) fn truncate(&mut self, place: Place) {
        if let Place::Ours(end) = place {
            self.end = end;
            let _ = self.ours.set_len(end);
        }
    }

    /// Reads a piece of the contents of an entry, from `at` on.
    ///
    /// # Errors
    /// Where they were not kept, or the kernel refuses.
    pub(crate) fn read(&self, entry: &Entry, at: u64, into: &mut [u8]) -> io::Result<()> {
        match (Place::of(entry), &self.baseline) {
            (Place::Ours(offset), _) => self.ours.read_exact_at(into, offset + at),
            (Place::Baseline(offset), Some(pack)) => pack.read_exact_at(into, offset + at),
            (Place::Baseline(_), None) | (Place::Nowhere, _) => {
                Err(io::Error::other("its contents were not kept"))
            }
        }
    }
}

/// What the reset that is under way leads to, if one is.
pub(crate) fn resetting(world: &World) -> Option<String> {
    let mut text = String::new();
    let folder = fs::openat(
        &world.run_dir,
        "marks",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .ok()?;
    open(folder, RESETTING)
        .ok()??
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// From now on the reset has happened, whatever comes between.
///
/// # Errors
/// What the kernel says.
pub(crate) fn begin_reset(world: &World, name: &str) -> io::Result<()> {
    let folder = folder(world)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let new = format!("{RESETTING}.new");
    let file = fs::openat(&folder, new.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(name.as_bytes())?;
    fs::renameat(&folder, new.as_str(), &folder, RESETTING)?;
    Ok(())
}

/// The reset is over.
///
/// # Errors
/// What the kernel says.
pub(crate) fn end_reset(world: &World) -> io::Result<()> {
    let folder = folder(world)?;
    fs::unlinkat(folder.as_fd(), RESETTING, fs::AtFlags::empty())?;
    Ok(())
}
