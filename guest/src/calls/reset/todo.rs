//! What a reset has to do: one walk of a tree beside what it should be.

use super::super::mark::{is_untouched, known};
use super::super::store::{self, Known, Mark, Which, Writer};
use super::super::walk::{self, Depth, Found};
use super::super::{World, layer, scan};
use super::{CORNER, Place};
use crate::tree::{self, Links, kernel};
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::{Failure, Kind};
use sha2::Digest as _;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::OwnedFd;

/// Changes within one clock tick cannot be told apart by time, in nanoseconds.
const TICK_NS: i64 = 20_000_000;

/// What is right already at a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing, or something of another kind: it has to come.
    Missing,
    /// The contents; mode, owner or times may be wrong.
    Right,
}

/// Everything that has to be done, by the index of a path in the target.
pub(super) struct Todo {
    /// Paths that have to go, with all below them.
    pub(super) extra: Vec<Vec<u8>>,
    pub(super) states: Vec<State>,
    /// What the kernel says of paths that are right.
    pub(super) now: Vec<Option<Known>>,
    /// The path that a file with several names gets its contents from: one that is right, else one that is staged.
    pub(super) leaders: HashMap<u64, usize>,
    /// Names in the corner.
    pub(super) staged: HashMap<usize, String>,
    /// Directories whose own modes and times have to be set.
    pub(super) touched: BTreeSet<Vec<u8>>,
    /// Inodes of the target that have several names; most trees have none.
    pub(super) several: HashSet<u64>,
    /// Inodes of the target whose mode, owner or times were set.
    pub(super) mended: HashSet<u64>,
}

impl Todo {
    /// One walk of the tree beside the target.
    pub(super) fn find(
        place: &Place<'_>,
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
            several: several(target),
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
                    let group = wanted.entry.inode;
                    // Nobody meets a file of one name again.
                    if found.stat.st_nlink > 1 {
                        claimed.insert(now.entry.inode, group);
                    }
                    if todo.several.contains(&group) {
                        todo.leaders.entry(group).or_insert(index);
                    }
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
    pub(super) fn touch(&mut self, path: &[u8]) {
        if let Some((parent, _)) = tree::split(path) {
            self.touched.insert(parent.to_vec());
        }
    }

    /// Notes what the tree is now, so that nothing of it has to be read again.
    pub(super) fn note(
        &self,
        world: &World,
        place: &Place<'_>,
        target: &Mark,
    ) -> std::io::Result<()> {
        let mut writer = Writer::new(world, store::CURRENT, place.which, scan::now_ns(), false)?;
        for (index, wanted) in target.paths.iter().enumerate() {
            let entry = &wanted.entry;
            let several = self.several.contains(&entry.inode);
            let as_found = self.now.get(index).and_then(Option::as_ref);
            let as_found = as_found.filter(|_| !several && !self.mended.contains(&entry.inode));
            let looked;
            let now = match (as_found, entry.kind) {
                (Some(now), _) => now,
                (None, Kind::Directory | Kind::Other) => wanted,
                (None, Kind::File | Kind::Symlink) => {
                    let stat = tree::look(&place.root, &entry.path, Links::Refuse)?;
                    looked = known(&entry.path, &stat);
                    &looked
                }
            };
            writer.put(&Known {
                entry: Entry {
                    sha256: entry.sha256,
                    pack_offset: entry.pack_offset,
                    ..now.entry.clone()
                },
                ..*now
            })?;
        }
        writer.keep()
    }
}

/// Inodes that several paths of a mark have.
fn several(mark: &Mark) -> HashSet<u64> {
    let files = (mark.paths.iter()).filter(|known| known.entry.kind == Kind::File);
    let mut inodes: Vec<u64> = files.map(|known| known.entry.inode).collect();
    inodes.sort_unstable();
    (inodes.windows(2))
        .filter_map(|pair| (pair[0] == pair[1]).then_some(pair[0]))
        .collect()
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
