//! Marks on the disk: what a tree was at one time, and the contents that only marks have.
//!
//! ```text
//!  marks/NAME.work, .system, .layer
//!                                  a head, and a record for each path, sorted: an entry of a manifest, its owner
//!  marks/pack                      contents, one after the other
//!  baseline, pack                  the same for the work tree as the host filled it
//! ```
//! A mark is there once `NAME.work` is: it is named last. The head says how long the rest is, so that a file that was
//! cut off is never taken for a smaller tree.

use super::World;
use pyro_protocol::manifest::{Entry, Manifest};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// The work tree as the host filled it; the system tree as it was before the first program.
pub(crate) const BASELINE: &str = "baseline";
/// What the trees are known to be since the last reset.
pub(crate) const CURRENT: &str = ".current";
/// There while a reset is under way: what it leads to.
pub(crate) const RESETTING: &str = ".resetting";
/// The last reset that is over and was to be noted, likewise.
const RESET: &str = ".reset";

/// What the file of a mark begins with: this, three numbers of 8 bytes, then the records.
const MAGIC: &[u8; 8] = b"pyromrk1";
const HEAD: usize = 32;

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
    /// Everything else that they can write to in a host environment; elsewhere what is kept in memory.
    System,
    /// The writable layer of an image.
    Layer,
}

impl Which {
    /// In the order in which they are marked: a mark is there once that of the work tree is.
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Layer, Self::Work];

    fn suffix(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::System => "system",
            Self::Layer => "layer",
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
    /// Whether its contents were kept, so that the tree can be put back.
    pub(crate) kept: bool,
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

/// A file to read; nothing where it is missing.
///
/// # Errors
/// What the kernel says.
pub(super) fn open(at: impl std::os::fd::AsFd, name: &str) -> io::Result<Option<File>> {
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

/// The same as the file has it: of [`BASELINE`] and the work tree, that is only the top.
///
/// # Errors
/// Where it is there and cannot be read.
pub(super) fn load_file(world: &World, name: &str, which: Which) -> io::Result<Option<Mark>> {
    let Some(mut file) = open(folder(world)?, &file_name(name, which))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let broken = || io::Error::other(format!("the mark `{name}` is damaged"));
    let (head, mut rest) = bytes.split_at_checked(HEAD).ok_or_else(broken)?;
    let (complete_ns, length, kept) = read_head(head).ok_or_else(broken)?;
    if length != rest.len() as u64 {
        return Err(broken());
    }
    let mut mark = Mark {
        complete_ns,
        kept,
        paths: Vec::new(),
    };
    while !rest.is_empty() {
        let entry = Entry::decode(&mut rest).map_err(io::Error::other)?;
        let mut id = || {
            let bytes = rest.split_off(..4).ok_or_else(broken)?;
            Ok::<_, io::Error>(u32::from_le_bytes(bytes.try_into().map_err(|_| broken())?))
        };
        let shifted = |id: u32| id.saturating_add(world.shift);
        let (uid, gid) = (shifted(id()?), shifted(id()?));
        mark.paths.push(Known { entry, uid, gid });
    }
    Ok(Some(mark))
}

fn write_head(complete_ns: i64, length: u64, kept: bool) -> Vec<u8> {
    let numbers = [
        complete_ns.to_le_bytes(),
        length.to_le_bytes(),
        u64::from(kept).to_le_bytes(),
    ];
    [&MAGIC[..], &numbers.concat()].concat()
}

/// Time, bytes of records, whether contents were kept; nothing where it is no head.
fn read_head(head: &[u8]) -> Option<(i64, u64, bool)> {
    let mut numbers = head.strip_prefix(MAGIC)?.as_chunks::<8>().0.iter();
    let complete_ns = i64::from_le_bytes(*numbers.next()?);
    let length = u64::from_le_bytes(*numbers.next()?);
    match u64::from_le_bytes(*numbers.next()?) {
        kept @ (0 | 1) => Some((complete_ns, length, kept == 1)),
        _ => None,
    }
}

/// Whether there is a mark of that name whose contents were kept.
///
/// # Errors
/// What the kernel says, or it is damaged.
pub(crate) fn is_kept(world: &World, name: &str, which: Which) -> io::Result<bool> {
    let Some(mut file) = open(folder(world)?, &file_name(name, which))? else {
        return Ok(false);
    };
    let damaged = || io::Error::other(format!("the mark `{name}` is damaged"));
    let mut head = [0; HEAD];
    file.read_exact(&mut head).map_err(|_| damaged())?;
    Ok(read_head(&head).ok_or_else(damaged)?.2)
}

/// Every mark that there is, of both trees, in no order.
///
/// # Errors
/// What the kernel says.
pub(crate) fn all(world: &World) -> io::Result<Vec<(String, Which)>> {
    let mut found = Vec::new();
    for name in super::journal::names(folder(world)?.as_fd())? {
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        for which in Which::ALL {
            let name = name.strip_suffix(which.suffix());
            if let Some(name) = name.and_then(|name| name.strip_suffix('.')) {
                found.push((name.to_owned(), which));
            }
        }
    }
    Ok(found)
}

/// Removes a mark of one tree; nothing where there is none.
///
/// # Errors
/// What the kernel says.
pub(crate) fn remove(world: &World, name: &str, which: Which) -> io::Result<()> {
    match fs::unlinkat(folder(world)?, file_name(name, which), fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What the host recorded; `top` has the tree itself, where it was marked.
fn baseline(world: &World, top: Option<Mark>) -> io::Result<Mark> {
    // A manifest has no end of its own: how long it was is noted with the top.
    if let Some(top) = top.as_ref().and_then(|top| top.paths.first())
        && top.entry.size != baseline_length(world)?
    {
        return Err(io::Error::other("the baseline is damaged"));
    }
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
        kept,
        paths: top
            .into_iter()
            .chain(entries.into_iter().map(known))
            .collect(),
    })
}

/// Bytes of what the host recorded.
///
/// # Errors
/// What the kernel says.
pub(super) fn baseline_length(world: &World) -> io::Result<u64> {
    match open(&world.run_dir, "baseline")? {
        Some(file) => Ok(file.metadata()?.len()),
        None => Ok(0),
    }
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
    length: u64,
    complete_ns: i64,
    kept: bool,
    shift: u32,
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
        kept: bool,
    ) -> io::Result<Self> {
        let folder = folder(world)?;
        let name = file_name(name, which);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW;
        let new = format!("{name}.new");
        let file = fs::openat(&folder, new, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = BufWriter::with_capacity(256 << 10, File::from(file));
        // Without the length it is no mark yet.
        file.write_all(&[0; HEAD])?;
        Ok(Self {
            folder,
            name,
            file,
            line: Vec::new(),
            count: 0,
            length: 0,
            complete_ns,
            kept,
            shift: world.shift,
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
        for id in [known.uid, known.gid] {
            let id = id.saturating_sub(self.shift);
            self.line.extend_from_slice(&id.to_le_bytes());
        }
        self.length += self.line.len() as u64;
        self.file.write_all(&self.line)
    }

    /// The mark is there from now on, in the place of an earlier one of this name.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn keep(self) -> io::Result<()> {
        let file = self.file.into_inner();
        let file = file.map_err(io::IntoInnerError::into_error)?;
        let head = write_head(self.complete_ns, self.length, self.kept);
        file.write_all_at(&head, 0)?;
        let new = format!("{}.new", self.name);
        fs::renameat(&self.folder, new, &self.folder, self.name.as_str())?;
        Ok(())
    }
}

/// Whether a reset is under way.
///
/// # Errors
/// What the kernel says.
pub(crate) fn is_resetting(run_dir: BorrowedFd<'_>) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::openat(run_dir, "marks", flags, Mode::empty()) {
        Ok(folder) => Ok(open(folder, RESETTING)?.is_some()),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A reset that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resetting {
    /// The mark that it leads to.
    pub(crate) to: String,
    /// What it is noted under once it is over.
    pub(crate) token: Option<String>,
}

/// The reset that is under way, if one is.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn resetting(world: &World) -> io::Result<Option<Resetting>> {
    if !is_resetting(world.run_dir.as_fd())? {
        return Ok(None);
    }
    let mut text = String::new();
    if let Some(mut file) = open(folder(world)?, RESETTING)? {
        file.read_to_string(&mut text)?;
    }
    let (to, token) = match text.split_once('\n') {
        Some((_, token)) if !is_token(token) => return Err(io::ErrorKind::InvalidData.into()),
        Some((to, token)) => (to.to_owned(), Some(token.to_owned())),
        None => (text, None),
    };
    Ok(Some(Resetting { to, token }))
}

/// Whether a reset can be noted under this: one line, with something in it.
pub(crate) fn is_token(token: &str) -> bool {
    !token.is_empty() && !token.contains('\n')
}

/// From now on the reset has happened, whatever comes between.
///
/// # Errors
/// What the kernel says.
pub(crate) fn begin_reset(world: &World, name: &str, token: Option<&str>) -> io::Result<()> {
    let folder = folder(world)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let new = format!("{RESETTING}.new");
    let file = fs::openat(&folder, new.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(name.as_bytes())?;
    if let Some(token) = token {
        file.write_all(format!("\n{token}").as_bytes())?;
    }
    fs::renameat(&folder, new.as_str(), &folder, RESETTING)?;
    Ok(())
}

/// The reset is over.
///
/// # Errors
/// What the kernel says.
pub(crate) fn end_reset(world: &World, token: Option<&str>) -> io::Result<()> {
    let folder = folder(world)?;
    match token {
        Some(_) => fs::renameat(&folder, RESETTING, &folder, RESET)?,
        None => fs::unlinkat(folder.as_fd(), RESETTING, fs::AtFlags::empty())?,
    }
    Ok(())
}
