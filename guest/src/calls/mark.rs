//! `tree.mark`: what the trees are now, with the contents that nobody else keeps. `mark.read`: what a file was then.
//!
//! Only what looks different from the latest mark is read; programs are paused meanwhile, so that nothing is torn.

use super::pack::Pack;
use super::quiet::Hush;
use super::store::{self, Known, Mark, Place, Which, Writer};
use super::walk::{self, Depth, Found, LeftOut};
use super::{World, agent_failure, layer, scan};
use crate::serve::port::Port;
use crate::serve::streams::Output;
use crate::tree::{self, failure, refusal};
use pyro_protocol::frame::CHUNK;
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::{
    DataReport, Failure, FailureCode, Kind, MarkRead, Records, Reply, TreeMark,
};
use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

/// Changes within one clock tick cannot be told apart by time, in nanoseconds.
const TICK_NS: i64 = 20_000_000;

/// A name of a mark: `[A-Za-z][A-Za-z0-9_-]{0,63}`, so that it is a file name of its own.
///
/// # Errors
/// Where it is another one.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if first && bytes.all(rest) && name.len() <= 64 {
        return Ok(());
    }
    let message = "use this name for a mark: a name is [A-Za-z][A-Za-z0-9_-]{0,63}";
    Err(refusal(FailureCode::BadRequest, message))
}

pub(super) fn broken(error: &std::io::Error) -> Failure {
    agent_failure("use a mark", error)
}

/// Marks the trees.
///
/// # Errors
/// Where there is such a mark already, programs do not pause, or the disk refuses; then there is no mark.
pub(super) fn trees(
    world: &World,
    port: &Port,
    hush: &mut Hush<'_>,
    op: &TreeMark,
) -> Result<Reply, Failure> {
    check_name(&op.name)?;
    // Of the work tree, that is what the host made: only its top is not in there.
    let baseline = op.name == store::BASELINE;
    let trees: &[Which] = if baseline || op.system {
        &Which::ALL
    } else {
        &[Which::Work]
    };
    let taken = if op.contents || baseline {
        store::exists(world, &op.name, Which::Work)
    } else {
        // Who can be gone back to is not replaced by one that cannot.
        store::is_kept(world, &op.name, Which::Work)
    };
    if taken.map_err(|error| broken(&error))? {
        let message = format!("mark the trees: there is a mark `{}` already", op.name);
        return Err(refusal(FailureCode::Exists, message));
    }
    let turn = world.turn(port)?;
    // Left by an agent that was ended before it came to the work tree: it is of another time.
    for which in [Which::System, Which::Layer] {
        store::remove(world, &op.name, which).map_err(|error| broken(&error))?;
    }
    // What nobody can go back to need not be of one moment.
    let paused = if op.contents { hush.pause(port)? } else { 0 };
    let mut pack = Pack::open(world).map_err(|error| broken(&error))?;
    let begin = pack.end();
    let mut records = Records::default();
    let mut left_out = LeftOut::default();
    let mut done = Ok(());
    for &which in trees {
        done = (|| {
            let Some(root) = world.root(which).map_err(|error| broken(&error))? else {
                return Ok(());
            };
            let latest = store::latest(world, which).map_err(|error| broken(&error))?;
            let now = scan::now_ns();
            let writer = Writer::new(world, &op.name, which, now, op.contents);
            let mut marker = Marker {
                root: &root,
                which,
                port,
                contents: op.contents,
                latest: &latest,
                trusted: latest.complete_ns.saturating_sub(TICK_NS),
                pack: &mut pack,
                twins: HashMap::new(),
                records: &mut records,
                left_out: &mut left_out,
            };
            let mut writer = writer.map_err(|error| broken(&error))?;
            // Nobody sees the top of what is in memory.
            if which != Which::System {
                let size = if baseline && which == Which::Work {
                    store::baseline_length(world).map_err(|error| broken(&error))?
                } else {
                    0
                };
                marker.top(&mut writer, size)?;
            }
            if !baseline || which != Which::Work {
                marker.all(&mut writer)?;
            }
            writer.keep().map_err(|error| broken(&error))
        })();
        if done.is_err() {
            break;
        }
    }
    if let Err(failure) = done {
        pack.truncate(begin);
        return Err(failure);
    }
    if !baseline {
        world.set_latest(&op.name);
    }
    drop(turn);
    Ok(Reply::Records(Records {
        left_out: left_out.paths,
        programs: (paused > 0).then_some(paused),
        ..records
    }))
}

/// What a path is, by the kernel; its contents are filled in by others.
pub(super) fn known(path: &[u8], stat: &Stat) -> Known {
    Known {
        entry: Entry {
            path: path.to_vec(),
            kind: tree::kind(stat),
            mode: tree::mode(stat),
            size: tree::size(stat),
            mtime_ns: tree::mtime_ns(stat),
            ctime_ns: tree::ctime_ns(stat),
            inode: stat.st_ino,
            sha256: [0; 32],
            pack_offset: Place::Nowhere.offset(),
        },
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// Whether a path is what a mark says, by all that the kernel tells without its being read.
pub(super) fn is_untouched(then: &Entry, now: &Entry, trusted: i64) -> bool {
    then.kind == now.kind
        && then.mode == now.mode
        && then.size == now.size
        && then.inode == now.inode
        && then.mtime_ns == now.mtime_ns
        && then.ctime_ns == now.ctime_ns
        && then.ctime_ns < trusted
}

fn put(writer: &mut Writer, known: &Known) -> Result<(), Failure> {
    writer.put(known).map_err(|error| {
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            let message = "mark the trees: there are too many paths";
            return refusal(FailureCode::TooLarge, message);
        }
        broken(&error)
    })
}

struct Marker<'a> {
    root: &'a OwnedFd,
    which: Which,
    port: &'a Port,
    contents: bool,
    latest: &'a Mark,
    trusted: i64,
    pack: &'a mut Pack,
    /// What was found at the first name of a file with several.
    twins: HashMap<u64, (u64, [u8; 32], u64)>,
    records: &'a mut Records,
    left_out: &'a mut LeftOut,
}

impl Marker<'_> {
    fn top(&mut self, writer: &mut Writer, size: u64) -> Result<(), Failure> {
        let top = rustix::fs::fstat(self.root).map_err(|errno| broken(&errno.into()))?;
        let mut top = known(b"", &top);
        // Of the baseline, see `store`.
        top.entry.size = size;
        put(writer, &top)
    }

    fn all(&mut self, writer: &mut Writer) -> Result<(), Failure> {
        let root = self.root;
        let latest = self.latest;
        let mut old = latest.paths.iter().peekable();
        walk::walk(root, Depth::All, &mut |found| {
            self.port.check()?;
            while old
                .next_if(|known| known.entry.path.as_slice() < found.path)
                .is_some()
            {}
            let then = old.next_if(|known| known.entry.path == found.path);
            if let Some(known) = self.one(found, then)? {
                self.records.entries += 1;
                put(writer, &known)?;
            }
            Ok(())
        })
    }

    fn one(&mut self, found: &Found<'_>, then: Option<&Known>) -> Result<Option<Known>, Failure> {
        let mut now = known(found.path, found.stat);
        match found.kind {
            Kind::Directory => {
                if self.which == Which::Layer {
                    now.entry.size = layer::look(self.root, found.path)
                        .map_err(|errno| broken(&errno.into()))?;
                }
                return Ok(Some(now));
            }
            // What it covers is not to be seen; and what is not kept here covers as much.
            Kind::Other if self.which == Which::Layer => {
                if !layer::is_whiteout(found.stat) {
                    self.left_out.add(found.path);
                }
                return Ok(Some(layer::whiteout(found.path)));
            }
            // A FIFO or socket is nothing without the program that has it open.
            Kind::Other => {
                self.left_out.add(found.path);
                return Ok(None);
            }
            Kind::File | Kind::Symlink => {}
        }
        let several = found.kind == Kind::File && found.stat.st_nlink > 1;
        if several && let Some(twin) = self.twins.get(&now.entry.inode) {
            (now.entry.size, now.entry.sha256, now.entry.pack_offset) = *twin;
            return Ok(Some(now));
        }
        let is_kept = |entry: &Entry| Place::of(entry) != Place::Nowhere;
        let same = then.filter(|then| is_untouched(&then.entry, &now.entry, self.trusted));
        if let Some(then) = same.filter(|then| !self.contents || is_kept(&then.entry)) {
            (now.entry.sha256, now.entry.pack_offset) = (then.entry.sha256, then.entry.pack_offset);
        } else if !self.read(found, then, &mut now.entry)? {
            self.left_out.add(found.path);
            return Ok(None);
        }
        if several {
            let twin = (now.entry.size, now.entry.sha256, now.entry.pack_offset);
            self.twins.insert(now.entry.inode, twin);
        }
        Ok(Some(now))
    }

    /// Reads what is there, and keeps it where nobody does; false where it cannot be read.
    fn read(
        &mut self,
        found: &Found<'_>,
        then: Option<&Known>,
        now: &mut Entry,
    ) -> Result<bool, Failure> {
        let begin = self.pack.end();
        let mut sha256 = Sha256::new();
        let mut size = 0u64;
        let mut piece = |piece: &[u8]| {
            sha256.update(piece);
            size += piece.len() as u64;
            if self.contents {
                self.pack.add(piece).map_err(|error| broken(&error))
            } else {
                Ok(())
            }
        };
        if let Some(target) = found.target {
            piece(target)?;
        } else {
            let Some(mut file) = walk::open_found(self.root, found) else {
                return Ok(false);
            };
            let mut buffer = vec![0; CHUNK];
            loop {
                self.port.check()?;
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => piece(&buffer[..count])?,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        self.pack.truncate(begin);
                        return Ok(false);
                    }
                }
            }
        }
        now.size = size;
        now.sha256 = sha256.finalize().into();
        if self.contents {
            now.pack_offset = begin.offset();
            self.records.bytes += size;
        }
        // It only looked different: what somebody else keeps need not be kept again.
        if let Some(then) = then.map(|then| &then.entry)
            && then.sha256 == now.sha256
            && then.kind == now.kind
            && Place::of(then) != Place::Nowhere
        {
            now.pack_offset = then.pack_offset;
            if self.contents {
                self.pack.truncate(begin);
                self.records.bytes -= size;
            }
        }
        Ok(true)
    }
}

/// Sends what a file (of a link: its target) was at the time of a mark.
///
/// # Errors
/// Where there was none, or its contents were not kept.
pub(super) fn read(world: &World, port: &Port, op: &MarkRead) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    let reading = world.reading.read();
    let _reading = reading.unwrap_or_else(PoisonError::into_inner);
    let mark = load(world, &op.mark, Which::Work)?;
    let known = mark
        .get(&path)
        .filter(|known| matches!(known.entry.kind, Kind::File | Kind::Symlink));
    let Some(Known { entry, .. }) = known else {
        let message = "read: no file was there";
        return Err(failure(FailureCode::NotFound, message, &path));
    };
    let pack = Pack::open(world).map_err(|error| broken(&error))?;
    let wanted = op
        .length
        .map_or(entry.size, |length| length.min(entry.size));
    let mut output = Output::new(port);
    let mut buffer = vec![0; CHUNK];
    let mut sent = 0;
    let mut sha256 = Sha256::new();
    while sent < wanted {
        let left = usize::try_from(wanted - sent).unwrap_or(usize::MAX);
        let piece = &mut buffer[..left.min(CHUNK)];
        pack.read(entry, sent, piece)
            .map_err(|error| broken(&error))?;
        sha256.update(&*piece);
        output.put(piece)?;
        sent += piece.len() as u64;
    }
    if sent == entry.size && <[u8; 32]>::from(sha256.finalize()) != entry.sha256 {
        let message = "read: the contents that were kept are damaged";
        return Err(failure(FailureCode::Io, message, &path));
    }
    output.finish()?;
    Ok(Reply::Data(DataReport {
        sent,
        size: entry.size,
        mode: entry.mode,
    }))
}

/// A mark that should be there.
///
/// # Errors
/// Where it is not.
pub(super) fn load(world: &World, name: &str, which: Which) -> Result<Mark, Failure> {
    check_name(name)?;
    let mark = store::load(world, name, which).map_err(|error| broken(&error))?;
    mark.ok_or_else(|| {
        let message = format!("use the mark `{name}`: there is none of this name");
        refusal(FailureCode::NotFound, message)
    })
}
