//! `tar.in`: an archive into the tree, all of it or nothing.
//!
//! It is unpacked beside the tree first, where no program interferes and where only the archive itself is hostile;
//! then its top entries are moved into place under the journal of write sets. A directory that is new moves with
//! all it holds; one that is there already is merged, and keeps its mode. Files and links replace files and links;
//! a file never replaces a directory, nor a directory a file.

use super::journal::{self, Journal};
use super::walk::LeftOut;
use super::{World, agent_failure, merge};
use crate::serve::port::Port;
use crate::serve::streams::Input;
use crate::tree::{self, Links, failure, kernel, refusal};
use pyro_protocol::frame::CHUNK;
use pyro_protocol::message::{Failure, FailureCode, Kind, Records, Reply, TarIn};
use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use tar::{Archive, Header, PaxExtensions};

/// Entries that one archive may have.
const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes of all its names together.
const MAX_NAMES: usize = 128 << 20;
/// Bytes of an extended header: the names that do not fit the plain one.
const MAX_EXTENDED: u64 = 64 << 10;
/// So many zeros in a row are left out of a file.
const HOLE: usize = 4 << 10;

/// Unpacks stream 1.
///
/// # Errors
/// Where the archive breaks the rules or does not fit the tree; then the tree is as before.
pub(super) fn unpack(world: &World, port: &Port, op: &TarIn) -> Result<Reply, Failure> {
    let unchanged = |failure: Failure| Failure {
        message: format!("{}; {}", failure.message, journal::NOTHING_CHANGED),
        ..failure
    };
    let to = tree::clean(&op.to).map_err(unchanged)?;
    let mut journal =
        Journal::new(world).map_err(|errno| unchanged(kernel(errno, "unpack", &to)))?;
    match unpack_into(world, port, &mut journal, &to) {
        Ok(records) => match journal.keep() {
            Ok(()) => Ok(Reply::Records(records)),
            Err((journal, errno)) => Err(journal.take_back(kernel(errno, "unpack", &to))),
        },
        Err(failure) => Err(journal.take_back(failure)),
    }
}

fn unpack_into(
    world: &World,
    port: &Port,
    journal: &mut Journal<'_>,
    to: &[u8],
) -> Result<Records, Failure> {
    let made = journal::point()
        .and_then(|()| fs::mkdirat(journal.corner(), "x", Mode::RWXU))
        .and_then(|()| {
            tree::open(
                journal.corner(),
                b"x",
                OFlags::RDONLY | OFlags::DIRECTORY,
                Links::Refuse,
            )
        });
    let root = made.map_err(|errno| kernel(errno, "unpack", to))?;
    let mut unpacker = Unpacker {
        world,
        port,
        root,
        long: Extended::default(),
        directories: Vec::new(),
        names: 0,
        records: Records::default(),
        left_out: LeftOut::default(),
    };
    unpacker.all()?;
    merge::into_tree(journal, world, port, &unpacker.root, to)?;
    let Unpacker {
        records, left_out, ..
    } = unpacker;
    Ok(Records {
        left_out: left_out.paths,
        ..records
    })
}

fn bad(what: &str, path: &[u8]) -> Failure {
    failure(FailureCode::BadArchive, format!("unpack: {what}"), path)
}

/// What extended headers say about the next entry.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    mtime: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Unpacker<'a> {
    world: &'a World,
    port: &'a Port,
    root: OwnedFd,
    long: Extended,
    /// Modes and times of directories are set last: unpacking into them would undo both.
    directories: Vec<(Vec<u8>, Mode, Timestamps)>,
    names: usize,
    records: Records,
    left_out: LeftOut,
}

impl Unpacker<'_> {
    fn all(&mut self) -> Result<(), Failure> {
        let port = self.port;
        let torn = |error: &io::Error| {
            port.check()
                .err()
                .unwrap_or_else(|| refusal(FailureCode::BadArchive, format!("unpack: {error}")))
        };
        let mut archive = Archive::new(Input::new(port));
        // Raw: the crate would hold long names of any length in memory.
        for entry in archive.entries().map_err(|error| torn(&error))?.raw(true) {
            port.check()?;
            let mut entry = entry.map_err(|error| torn(&error))?;
            let header = entry.header().clone();
            self.entry(&header, &mut entry)?;
        }
        // Padding after the end of the archive.
        let mut input = archive.into_inner();
        io::copy(&mut input, &mut io::sink()).map_err(|error| torn(&error))?;
        for (path, mode, times) in self.directories.drain(..).rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let set = journal::point()
                .and_then(|()| tree::open(&self.root, &path, flags, Links::Refuse))
                .and_then(|dir| fs::fchmod(&dir, mode).and_then(|()| fs::futimens(&dir, &times)));
            match set {
                // A later entry may have taken its place.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(kernel(errno, "unpack", &path)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, data: &mut impl Read) -> Result<(), Failure> {
        match header.entry_type().as_byte() {
            // Of the whole archive: nothing in it concerns us.
            b'g' => return Ok(()),
            b'L' => {
                self.long.name = Some(self.extended(header, data)?);
                return Ok(());
            }
            b'K' => {
                self.long.link = Some(self.extended(header, data)?);
                return Ok(());
            }
            b'x' => {
                let text = self.extended(header, data)?;
                return self.pax(&text);
            }
            _ => {}
        }
        let Extended { name, link, mtime } = std::mem::take(&mut self.long);
        let raw = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = inside(&raw)?;
        self.records.entries += 1;
        self.names += path.len();
        if self.records.entries > MAX_ENTRIES || self.names > MAX_NAMES {
            return Err(refusal(
                FailureCode::TooLarge,
                "unpack: the archive has too many entries",
            ));
        }
        let number = |error: io::Error| bad(&error.to_string(), &path);
        let mode = Mode::from_raw_mode(header.mode().map_err(number)? & 0o7777);
        let seconds = i64::try_from(header.mtime().map_err(number)?).unwrap_or(0);
        let (tv_sec, tv_nsec) = mtime.unwrap_or((seconds, 0));
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let link = || match (&link, header.link_name_bytes()) {
            (Some(link), _) => Ok(link.clone()),
            (None, Some(link)) => Ok(link.into_owned()),
            (None, None) => Err(bad("a link has no target", &path)),
        };
        let doing = |errno| kernel(errno, "unpack", &path);
        let Some((parent, last)) = tree::split(&path) else {
            // `./`: the target directory itself, which has a mode already.
            return if header.entry_type().is_dir() {
                Ok(())
            } else {
                Err(bad("an entry has no name", &raw))
            };
        };
        journal::point().map_err(doing)?;
        let parent = self.parent(parent, &path)?;
        match header.entry_type().as_byte() {
            b'0' | b'7' => {
                make_way(&parent, last, &path)?;
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file =
                    fs::openat(&parent, last, flags, Mode::RUSR | Mode::WUSR).map_err(doing)?;
                let mut file = File::from(file);
                self.copy(data, &mut file, header.entry_size().map_err(number)?, &path)?;
                self.world.own(&file).map_err(doing)?;
                fs::fchmod(&file, mode).map_err(doing)?;
                fs::futimens(&file, &times).map_err(doing)?;
            }
            b'5' => {
                match fs::mkdirat(&parent, last, Mode::RWXU) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if is_directory(&parent, last) => {}
                    Err(Errno::EXIST) => {
                        return Err(bad("a directory in the place of a file", &path));
                    }
                    Err(errno) => return Err(doing(errno)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = fs::openat(&parent, last, flags, Mode::empty()).map_err(doing)?;
                self.world.own(&made).map_err(doing)?;
                self.directories.push((path, mode, times));
            }
            b'2' => {
                make_way(&parent, last, &path)?;
                fs::symlinkat(link()?.as_slice(), &parent, last).map_err(doing)?;
                self.world.own_at(&parent, last).map_err(doing)?;
                fs::utimensat(&parent, last, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(doing)?;
            }
            b'1' => {
                let target = inside(&link()?)?;
                let Some((above, name)) = tree::split(&target).filter(|_| target != path) else {
                    return Err(bad("a hard link to itself or a directory", &path));
                };
                let lost = |_| bad("a hard link to what is not in the archive", &path);
                let above = tree::open_parent(&self.root, above, Links::Refuse).map_err(lost)?;
                fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(lost)?;
                make_way(&parent, last, &path)?;
                fs::linkat(&above, name, &parent, last, AtFlags::empty()).map_err(doing)?;
            }
            // Character and block devices, FIFOs.
            b'3' | b'4' | b'6' => {
                self.records.entries -= 1;
                self.left_out.add(&path);
            }
            _ => {
                return Err(bad(
                    "an entry of a kind that is not known (sparse files are not)",
                    &path,
                ));
            }
        }
        Ok(())
    }

    /// Opens a directory of the archive, making it where only its contents are listed.
    fn parent(&self, parent: &[u8], path: &[u8]) -> Result<OwnedFd, Failure> {
        let doing = |errno| match errno {
            Errno::LOOP => bad(
                "a link in the archive is the directory of another entry",
                path,
            ),
            Errno::NOTDIR => bad(
                "a file in the archive is the directory of another entry",
                path,
            ),
            other => kernel(other, "unpack", path),
        };
        match tree::open_parent(&self.root, parent, Links::Refuse) {
            Err(Errno::NOENT) => {}
            done => return done.map_err(doing),
        }
        let mut dir = tree::open_parent(&self.root, b"", Links::Refuse).map_err(doing)?;
        for part in parent.split(|&b| b == b'/') {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o755);
            let fresh = match fs::mkdirat(&dir, part, mode) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err(doing(errno)),
            };
            dir = fs::openat(&dir, part, flags, Mode::empty()).map_err(doing)?;
            if fresh {
                self.world
                    .own(&dir)
                    .and_then(|()| fs::fchmod(&dir, mode))
                    .map_err(doing)?;
            }
        }
        Ok(dir)
    }

    fn copy(
        &mut self,
        data: &mut impl Read,
        file: &mut File,
        size: u64,
        path: &[u8],
    ) -> Result<(), Failure> {
        let writing = |error: io::Error| agent_failure("unpack", &error);
        let mut buffer = vec![0; CHUNK];
        let mut left = size;
        let mut hole = false;
        while left > 0 {
            let count = match data.read(&mut buffer) {
                Ok(0) => return Err(bad("the archive ends within a file", path)),
                Ok(count) => count,
                Err(error) => {
                    self.port.check()?;
                    return Err(bad(&error.to_string(), path));
                }
            };
            // Nothing but zeros takes no disk, as it need not have where it came from.
            hole = count >= HOLE && buffer[..count].iter().all(|byte| *byte == 0);
            if hole {
                let step = i64::try_from(count).unwrap_or(0);
                file.seek(SeekFrom::Current(step)).map_err(writing)?;
            } else {
                file.write_all(&buffer[..count]).map_err(writing)?;
            }
            left = left.saturating_sub(count as u64);
        }
        if hole {
            file.set_len(size).map_err(writing)?;
        }
        self.records.bytes += size;
        Ok(())
    }

    /// The data of an extended header, without the NUL that ends GNU ones.
    fn extended(&self, header: &Header, data: &mut impl Read) -> Result<Vec<u8>, Failure> {
        let size = header
            .entry_size()
            .map_err(|error| bad(&error.to_string(), b""))?;
        if size > MAX_EXTENDED {
            return Err(refusal(
                FailureCode::BadArchive,
                "unpack: an extended header is too long",
            ));
        }
        let mut text = Vec::new();
        if let Err(error) = data.read_to_end(&mut text) {
            self.port.check()?;
            return Err(bad(&error.to_string(), b""));
        }
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn pax(&mut self, text: &[u8]) -> Result<(), Failure> {
        for extension in PaxExtensions::new(text) {
            let extension = extension.map_err(|error| bad(&error.to_string(), b""))?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => self.long.name = Some(value.to_vec()),
                b"linkpath" => self.long.link = Some(value.to_vec()),
                b"mtime" => self.long.mtime = std::str::from_utf8(value).ok().and_then(seconds),
                b"size" => {
                    return Err(bad(
                        "a size in an extended header (files end at 8 GiB)",
                        b"",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `1700000000.25` as seconds and nanoseconds; `-0.25` is a quarter of a second before 1970.
fn seconds(text: &str) -> Option<(i64, i64)> {
    let (text, before) = match text.strip_prefix('-') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok().filter(|&whole| whole >= 0)?;
    let part: String = part.chars().chain("000000000".chars()).take(9).collect();
    let part: i64 = part.parse().ok().filter(|&part| part >= 0)?;
    Some(match (before, part) {
        (false, part) => (whole, part),
        (true, 0) => (-whole, 0),
        (true, part) => (-whole - 1, 1_000_000_000 - part),
    })
}

/// A name of the archive that stays inside.
fn inside(raw: &[u8]) -> Result<Vec<u8>, Failure> {
    tree::clean(raw).map_err(|failure| Failure {
        code: FailureCode::BadArchive,
        ..failure
    })
}

fn is_directory(parent: &OwnedFd, name: &[u8]) -> bool {
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| tree::kind(&stat) == Kind::Directory)
}

/// A later entry replaces an earlier one.
fn make_way(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Failure> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Err(bad("a file in the place of a directory", path)),
        Err(errno) => Err(kernel(errno, "unpack", path)),
    }
}
