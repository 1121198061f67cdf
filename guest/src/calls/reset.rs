//! `tree.reset`: the trees as they were at a mark, and nothing else: no program lives on, nothing new is left.
//!
//! ```text
//!  1. every program is ended
//!  2. what differs is found, by one walk; the files to come are made on the stage
//!  3. the reset is noted: from here on it happens, whoever is killed
//!  4. extra paths go, missing ones come, modes and times are set; the note goes
//! ```
//! Until 3 nothing has changed. Doing 2 to 4 again comes to the same end, so an agent that finds the note does that.

use super::journal::{self, point};
use super::mark::{self, broken, is_untouched, known};
use super::pack::Pack;
use super::quiet::Hush;
use super::store::{self, Known, Mark, Which, Writer};
use super::walk::{self, Depth, Found};
use super::{World, layer, scan};
use crate::serve::port::Port;
use crate::tree::{self, Links, kernel, refusal};
use pyro_protocol::frame::CHUNK;
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::{Failure, FailureCode, Kind, Records, Reply, TreeReset};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sha2::Digest as _;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

const TICK_NS: i64 = 20_000_000;
/// The folder of staged files and removed paths, beside the tree that they belong to.
const CORNER: &str = ".pyro-reset";

/// Puts the trees back.
///
/// # Errors
/// Where there is no such mark, a program lives on, or there is no room; then nothing has changed. Where the kernel
/// refuses a change later on, the sandbox has ended.
pub(super) fn trees(
    world: &World,
    port: &Port,
    hush: &mut Hush<'_>,
    op: &TreeReset,
) -> Result<Reply, Failure> {
    let _turn = world.turn(port)?;
    let targets = targets(world, &op.to)?;
    let ended = hush.end(port)?;
    let mut records = Records {
        programs: (ended > 0).then_some(ended),
        ..Records::default()
    };
    apply(world, &op.to, &targets, &mut || port.check(), &mut records)?;
    Ok(Reply::Records(records))
}

/// Finishes the reset that an agent before this one had begun, if one had.
///
/// # Errors
/// What the kernel says.
pub(super) fn finish(world: &World) -> Result<(), Failure> {
    let Some(name) = store::resetting(world) else {
        return Ok(());
    };
    let targets = targets(world, &name)?;
    apply(
        world,
        &name,
        &targets,
        &mut || Ok(()),
        &mut Records::default(),
    )
}

fn targets(world: &World, name: &str) -> Result<Vec<(Which, Mark)>, Failure> {
    let work = mark::load(world, name, Which::Work)?;
    if !work.kept && name != store::BASELINE {
        let message = format!("go back to `{name}`: its contents were not kept");
        return Err(refusal(FailureCode::Io, message));
    }
    let mut targets = vec![(Which::Work, work)];
    // Where nobody marked it, it is nobody's wish that it is put back.
    for which in [Which::System, Which::Layer] {
        if let Some(mark) = store::load(world, name, which).map_err(|error| broken(&error))? {
            targets.push((which, mark));
        }
    }
    Ok(targets)
}

fn apply(
    world: &World,
    name: &str,
    targets: &[(Which, Mark)],
    check: &mut dyn FnMut() -> Result<(), Failure>,
    records: &mut Records,
) -> Result<(), Failure> {
    let mut staged = Vec::new();
    for (which, target) in targets {
        let Some(root) = world.root(*which).map_err(|error| broken(&error))? else {
            continue;
        };
        let place = Place::new(world, *which, root)?;
        let latest = store::latest(world, *which).map_err(|error| broken(&error))?;
        let mut todo = Todo::find(&place, &latest, target, check)?;
        todo.stage(world, &place, target, check)?;
        staged.push((place, todo, target));
    }
    passes(b"")?;
    store::begin_reset(world, name).map_err(|error| broken(&error))?;
    for (place, todo, target) in &mut staged {
        // Noted: who comes next does it again. This agent's sandbox is neither old nor new.
        let before = records.entries;
        let mut done = todo.run(world, place, target, records);
        if place.which == Which::Layer && records.entries != before {
            done = done.and_then(|()| renew(world));
        }
        if let Err(failure) = done {
            let message = format!("put the trees back: {}", failure.message);
            return Err(Failure {
                code: FailureCode::SandboxEnded,
                message,
                path: failure.path,
            });
        }
    }
    for (place, todo, target) in &staged {
        // Without it more has to be read the next time.
        let _ = todo.note(world, place, target);
    }
    passes(b"")?;
    store::end_reset(world).map_err(|error| broken(&error))?;
    world.set_latest(store::CURRENT);
    Ok(())
}

/// The overlay sees what was done to its layer.
fn renew(world: &World) -> Result<(), Failure> {
    let renewed = world.layer().map_or(Ok(()), |layer| (layer.renew)());
    renewed.map_err(|error| super::agent_failure("mount the system tree anew", &error))
}

/// A tree, and a corner beside it on the same mount.
struct Place {
    which: Which,
    root: OwnedFd,
    above: OwnedFd,
    corner: OwnedFd,
}

impl Place {
    fn new(world: &World, which: Which, root: OwnedFd) -> Result<Self, Failure> {
        let made = || {
            let above = match which {
                Which::Work => world
                    .stage()?
                    .try_clone_to_owned()
                    .map_err(|_| Errno::MFILE)?,
                // No program sees the top of it.
                Which::System => root.try_clone().map_err(|_| Errno::MFILE)?,
                Which::Layer => {
                    let layer = world.layer().ok_or(Errno::NOENT)?;
                    layer.folder.try_clone().map_err(|_| Errno::MFILE)?
                }
            };
            journal::remove_all(above.as_fd(), CORNER.as_bytes());
            fs::mkdirat(&above, CORNER, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let corner = fs::openat(&above, CORNER, flags, Mode::empty())?;
            Ok((above, corner))
        };
        let (above, corner) = made().map_err(|errno| kernel(errno, "stage", b""))?;
        Ok(Self {
            which,
            root,
            above,
            corner,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        journal::remove_all(self.above.as_fd(), CORNER.as_bytes());
    }
}

/// What is right already at a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, or something of another kind: it has to come.
    Missing,
    /// The contents; mode, owner or times may be wrong.
    Right,
}

/// Everything that has to be done, by the index of a path in the target.
struct Todo {
    /// Paths that have to go, with all below them.
    extra: Vec<Vec<u8>>,
    states: Vec<State>,
    /// What the kernel says of paths that are right.
    now: Vec<Option<Known>>,
    /// The path that a file with several names gets its contents from: one that is right, else one that is staged.
    leaders: HashMap<u64, usize>,
    /// Names in the corner.
    staged: HashMap<usize, String>,
    /// Directories whose own modes and times have to be set.
    touched: BTreeSet<Vec<u8>>,
    /// Inodes of the target whose mode, owner or times were set.
    mended: HashSet<u64>,
}

impl Todo {
    /// One walk of the tree beside the target.
    fn find(
        place: &Place,
        latest: &Mark,
        target: &Mark,
        check: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut todo = Self {
            extra: Vec::new(),
            states: vec![State::Missing; target.paths.len()],
            now: vec![None; target.paths.len()],
            leaders: HashMap::new(),
            staged: HashMap::new(),
            touched: BTreeSet::new(),
            mended: HashSet::new(),
        };
        let mut going: HashSet<Vec<u8>> = HashSet::new();
        let mut claimed: HashMap<u64, u64> = HashMap::new();
        let mut index = 0;
        let trusted = latest.complete_ns.saturating_sub(TICK_NS);
        let mut old = latest.paths.iter().peekable();
        let (root, of_layer) = (&place.root, place.which == Which::Layer);
        walk::walk(root, Depth::All, &mut |found| {
            check()?;
            let is_corner =
                found.path == CORNER.as_bytes() || found.path.starts_with(b".pyro-reset/");
            if is_corner && place.which == Which::System {
                return Ok(());
            }
            while old
                .next_if(|known| known.entry.path.as_slice() < found.path)
                .is_some()
            {}
            let then = old.next_if(|known| known.entry.path == found.path);
            while (target.paths.get(index))
                .is_some_and(|known| known.entry.path.as_slice() < found.path)
            {
                index += 1;
            }
            let wanted = (target.paths.get(index)).filter(|known| known.entry.path == found.path);
            let parent_goes = tree::split(found.path)
                .is_some_and(|(parent, _)| !going.is_empty() && going.contains(parent));
            let mut go = |todo: &mut Self| {
                if !parent_goes {
                    todo.extra.push(found.path.to_vec());
                    todo.touch(found.path);
                }
                if found.kind == Kind::Directory {
                    going.insert(found.path.to_vec());
                }
            };
            let Some(wanted) = wanted else {
                go(&mut todo);
                return Ok(());
            };
            if parent_goes || wanted.entry.kind != found.kind {
                go(&mut todo);
                return Ok(());
            }
            let mut now = known(found.path, found.stat);
            if of_layer && found.kind == Kind::Directory {
                now.entry.size = layer::look(root, found.path)
                    .map_err(|errno| kernel(errno, "look at", found.path))?;
            }
            let right = match found.kind {
                Kind::Directory => true,
                Kind::Symlink => {
                    let target = found.target.unwrap_or_default();
                    <[u8; 32]>::from(sha2::Sha256::digest(target)) == wanted.entry.sha256
                }
                Kind::File => {
                    // One file cannot be two, nor two be one.
                    let group = wanted.entry.inode;
                    let free = todo.leaders.get(&group).is_none_or(|&leader| {
                        let leader = todo.now.get(leader).and_then(Option::as_ref);
                        leader.is_some_and(|leader| leader.entry.inode == now.entry.inode)
                    }) && claimed
                        .get(&now.entry.inode)
                        .is_none_or(|claimed| *claimed == group);
                    free && holds(root, found, &now, then, trusted, wanted)
                }
                Kind::Other => of_layer && layer::is_whiteout(found.stat),
            };
            if right {
                if found.kind == Kind::File {
                    claimed.insert(now.entry.inode, wanted.entry.inode);
                    todo.leaders.entry(wanted.entry.inode).or_insert(index);
                }
                if let Some(state) = todo.states.get_mut(index) {
                    *state = State::Right;
                }
                if let Some(place) = todo.now.get_mut(index) {
                    *place = Some(now);
                }
            } else {
                go(&mut todo);
            }
            Ok(())
        })?;
        Ok(todo)
    }

    /// The directory of a path changes.
    fn touch(&mut self, path: &[u8]) {
        if let Some((parent, _)) = tree::split(path) {
            self.touched.insert(parent.to_vec());
        }
    }

    /// Makes every file that has to come, with its mode and times, where nobody looks.
    fn stage(
        &mut self,
        world: &World,
        place: &Place,
        target: &Mark,
        check: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let pack = Pack::open(world).map_err(|error| broken(&error))?;
        let mut buffer = vec![0; CHUNK];
        for (index, wanted) in target.paths.iter().enumerate() {
            if self.states[index] == State::Right || wanted.entry.path.is_empty() {
                continue;
            }
            check()?;
            passes(&wanted.entry.path)?;
            self.touch(&wanted.entry.path);
            if wanted.entry.kind != Kind::File || self.leaders.contains_key(&wanted.entry.inode) {
                continue;
            }
            self.leaders.insert(wanted.entry.inode, index);
            let name = index.to_string();
            let doing = |errno| kernel(errno, "stage", &wanted.entry.path);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let file = fs::openat(&place.corner, name.as_str(), flags, mode).map_err(doing)?;
            let mut file = File::from(file);
            let mut done = 0;
            while done < wanted.entry.size {
                let left = usize::try_from(wanted.entry.size - done).unwrap_or(usize::MAX);
                let piece = &mut buffer[..left.min(CHUNK)];
                pack.read(&wanted.entry, done, piece)
                    .and_then(|()| file.write_all(piece))
                    .map_err(|error| super::agent_failure("stage", &error))?;
                done += piece.len() as u64;
            }
            dress(&file, wanted).map_err(doing)?;
            self.staged.insert(index, name);
        }
        Ok(())
    }

    /// Makes the tree what the target says.
    fn run(
        &mut self,
        world: &World,
        place: &Place,
        target: &Mark,
        records: &mut Records,
    ) -> Result<(), Failure> {
        let root = &place.root;
        let pack = Pack::open(world).map_err(|error| broken(&error))?;
        self.open_up(root, target);
        for (serial, path) in self.extra.iter().enumerate() {
            passes(path)?;
            let away = format!("x{serial}");
            parent(root, path)
                .and_then(|dir| shift(&dir, last(path), &place.corner, away.as_bytes()))
                .map_err(|errno| kernel(errno, "remove", path))?;
            records.entries += 1;
        }
        for (index, wanted) in target.paths.iter().enumerate() {
            let path = wanted.entry.path.as_slice();
            let doing = |errno| kernel(errno, "put back", path);
            passes(path)?;
            if path.is_empty() || self.states[index] == State::Right {
                if self.mend(root, index, wanted).map_err(doing)? {
                    records.entries += 1;
                }
                continue;
            }
            let dir = parent(root, path).map_err(doing)?;
            let name = last(path);
            match wanted.entry.kind {
                Kind::Directory => {
                    fs::mkdirat(&dir, name, Mode::RWXU).map_err(doing)?;
                    self.touched.insert(path.to_vec());
                }
                Kind::Symlink => {
                    let mut text = vec![0; usize::try_from(wanted.entry.size).unwrap_or(0)];
                    pack.read(&wanted.entry, 0, &mut text)
                        .map_err(|error| broken(&error))?;
                    fs::symlinkat(text.as_slice(), &dir, name).map_err(doing)?;
                    dress_at(&dir, name, wanted).map_err(doing)?;
                }
                Kind::File => match self.staged.get(&index) {
                    Some(staged) => {
                        fs::renameat(&place.corner, staged.as_str(), &dir, name).map_err(doing)?;
                        records.bytes += wanted.entry.size;
                    }
                    None => {
                        let leader = self.leaders.get(&wanted.entry.inode).copied();
                        let leader = leader.and_then(|leader| target.paths.get(leader));
                        let from = leader.map_or(&b""[..], |leader| &leader.entry.path);
                        parent(root, from)
                            .and_then(|above| {
                                let flags = AtFlags::empty();
                                fs::linkat(&above, last(from), &dir, name, flags)
                            })
                            .map_err(doing)?;
                    }
                },
                Kind::Other => layer::make_whiteout(&dir, name).map_err(doing)?,
            }
            records.entries += 1;
        }
        // Times last, the innermost first: making something in a directory changes them.
        for wanted in target.paths.iter().rev() {
            let path = &wanted.entry.path;
            if wanted.entry.kind == Kind::Directory && self.touched.contains(path) {
                passes(path)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                tree::open(root, path, flags, Links::Refuse)
                    .and_then(|dir| {
                        if place.which == Which::Layer {
                            layer::set(&dir, wanted.entry.size)?;
                        }
                        dress(dir, wanted)
                    })
                    .map_err(|errno| kernel(errno, "put back", path))?;
            }
        }
        Ok(())
    }

    /// Directories that are about to change can be changed; their modes are set at the end.
    fn open_up(&self, root: &OwnedFd, target: &Mark) {
        for (wanted, now) in target.paths.iter().zip(&self.now) {
            let closed = now
                .as_ref()
                .is_some_and(|now| now.entry.mode & 0o300 != 0o300);
            if wanted.entry.kind == Kind::Directory
                && closed
                && self.touched.contains(&wanted.entry.path)
                && let Ok(dir) = parent(root, &wanted.entry.path)
            {
                let _ = fs::chmodat(&dir, last(&wanted.entry.path), Mode::RWXU, AtFlags::empty());
            }
        }
    }

    /// Sets mode, owner and times of what is right otherwise; whether there was anything to set.
    fn mend(&mut self, root: &OwnedFd, index: usize, wanted: &Known) -> Result<bool, Errno> {
        let path = &wanted.entry.path;
        let now = match self.now.get(index).and_then(Option::as_ref) {
            Some(now) => now.clone(),
            None => Known {
                entry: Entry {
                    size: wanted.entry.size,
                    ..known(path, &fs::fstat(root)?).entry
                },
                ..known(path, &fs::fstat(root)?)
            },
        };
        let is_dressed = now.entry.mode == wanted.entry.mode
            && now.entry.mtime_ns == wanted.entry.mtime_ns
            && (now.uid, now.gid) == (wanted.uid, wanted.gid);
        let is_whiteout = wanted.entry.kind == Kind::Other;
        if is_whiteout || is_dressed && now.entry.size == wanted.entry.size {
            return Ok(false);
        }
        if wanted.entry.kind == Kind::Directory {
            self.touched.insert(path.clone());
        } else {
            dress_at(&parent(root, path)?, last(path), wanted)?;
            self.mended.insert(wanted.entry.inode);
        }
        Ok(true)
    }

    /// Notes what the tree is now, so that nothing of it has to be read again.
    fn note(&self, world: &World, place: &Place, target: &Mark) -> std::io::Result<()> {
        let mut names: HashMap<u64, u32> = HashMap::new();
        for wanted in &target.paths {
            if wanted.entry.kind == Kind::File {
                *names.entry(wanted.entry.inode).or_default() += 1;
            }
        }
        let mut writer = Writer::new(world, store::CURRENT, place.which, scan::now_ns(), false)?;
        for (index, wanted) in target.paths.iter().enumerate() {
            let entry = &wanted.entry;
            let several = names.get(&entry.inode).is_some_and(|names| *names > 1);
            let as_found = self.now.get(index).and_then(Option::as_ref);
            let as_found = as_found.filter(|_| !several && !self.mended.contains(&entry.inode));
            let now = match (as_found, entry.kind) {
                (Some(now), _) => now.clone(),
                (None, Kind::Directory | Kind::Other) => wanted.clone(),
                (None, Kind::File | Kind::Symlink) => {
                    let stat = tree::look(&place.root, &entry.path, Links::Refuse)?;
                    known(&entry.path, &stat)
                }
            };
            writer.put(&Known {
                entry: Entry {
                    sha256: entry.sha256,
                    pack_offset: entry.pack_offset,
                    ..now.entry
                },
                ..now
            })?;
        }
        writer.keep()
    }
}

/// Whether a file holds what the target says.
fn holds(
    root: &OwnedFd,
    found: &Found<'_>,
    now: &Known,
    then: Option<&Known>,
    trusted: i64,
    wanted: &Known,
) -> bool {
    if now.entry.size != wanted.entry.size {
        return false;
    }
    if let Some(then) = then.filter(|then| is_untouched(&then.entry, &now.entry, trusted)) {
        return then.entry.sha256 == wanted.entry.sha256;
    }
    walk::open_found(root, found)
        .and_then(|mut file| tree::hash(&mut file).ok())
        .is_some_and(|(_, sha256)| sha256 == wanted.entry.sha256)
}

/// Where a test lets the kernel refuse, or an agent end.
fn passes(path: &[u8]) -> Result<(), Failure> {
    point().map_err(|errno| kernel(errno, "put back", path))
}

fn parent(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let above = tree::split(path).map_or(&b""[..], |(above, _)| above);
    tree::open_parent(root, above, Links::Refuse)
}

fn last(path: &[u8]) -> &[u8] {
    tree::split(path).map_or(path, |(_, name)| name)
}

/// Moves something to where nothing is. A directory that is moved must be writable.
fn shift(from: &OwnedFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> Result<(), Errno> {
    let rename = || fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE);
    match rename() {
        Err(Errno::ACCESS) => {
            fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
            rename()
        }
        done => done,
    }
}

fn times(wanted: &Known) -> Timestamps {
    let ns = wanted.entry.mtime_ns;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: ns.div_euclid(1_000_000_000),
            tv_nsec: ns.rem_euclid(1_000_000_000),
        },
    }
}

/// Owner, mode and times, in this order: a new owner takes the setuid bits away.
fn dress(fd: impl AsFd, wanted: &Known) -> Result<(), Errno> {
    let stat = fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        let (uid, gid) = ids(wanted);
        fs::fchown(&fd, uid, gid)?;
    }
    fs::fchmod(&fd, Mode::from_raw_mode(wanted.entry.mode))?;
    fs::futimens(&fd, &times(wanted))
}

/// The same for a path that is no directory; a link has no mode.
fn dress_at(dir: &OwnedFd, name: &[u8], wanted: &Known) -> Result<(), Errno> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        let (uid, gid) = ids(wanted);
        fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if wanted.entry.kind == Kind::File {
        let mode = Mode::from_raw_mode(wanted.entry.mode);
        fs::chmodat(dir, name, mode, AtFlags::empty())?;
    }
    fs::utimensat(dir, name, &times(wanted), AtFlags::SYMLINK_NOFOLLOW)
}

fn ids(wanted: &Known) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
    )
}

#[cfg(test)]
mod tests;
