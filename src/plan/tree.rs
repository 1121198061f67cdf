//! `/workspace` as far as it is known before anything runs: the seed, then what steps write, patch and delete.
//!
//! ```text
//!  lookup(path)   1. what steps made of it         `changed`
//!                 2. nothing, if it or a parent was deleted    `cut`
//!                 3. what the seed has             `seed`
//! ```
//!
//! Whether a command may have changed it by then is the planner's question, not the tree's.

use crate::patch;
use crate::preflight::{EntryKind, FileFact, SeedEntry, SeedListing};
use crate::request::GuestPath;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
const NEW_FILE: u32 = 0o644;

/// The tree that is expected.
#[derive(Debug, Clone, Default)]
pub(crate) struct SymbolicTree<'a> {
    seed: Option<&'a SeedListing>,
    changed: BTreeMap<Vec<u8>, Changed<'a>>,
    cut: BTreeSet<Vec<u8>>,
    /// There is a seed, but nobody could look into it.
    unknown_seed: bool,
}

/// What steps made of a path.
#[derive(Debug, Clone)]
enum Changed<'a> {
    Directory,
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    /// As a `sync` laid it there.
    Laid(&'a SeedListing, &'a SeedEntry),
    Unknown,
}

/// What was done to a path or its parents.
enum Above {
    /// It was deleted, and not made again.
    Cut,
    /// Nobody can say.
    Unknown,
    /// Nothing.
    AsSeeded,
}

/// What is expected at a path, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node<'t> {
    Absent,
    Directory,
    File(FileNode<'t>),
    Symlink(&'t [u8]),
    /// A step is expected to change it, and nobody can say to what.
    Unknown,
}

/// A file, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileNode<'t> {
    pub(crate) contents: Contents<'t>,
    pub(crate) size: u64,
    pub(crate) mode: u32,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents<'t> {
    Known(&'t [u8]),
    /// Too large to be read for a plan.
    TooLarge,
    /// Not gathered, because no step names the file, or not readable.
    NotRead,
}

/// What stands in the way of writing to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The workspace itself.
    Root,
    /// The path is a directory.
    Directory,
    /// The path is a link.
    Link,
    /// This parent is a link.
    LinkedParent(GuestPath),
    /// This parent is a file.
    FileParent(GuestPath),
}

/// Where a path that is read leads to, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lead {
    To(GuestPath),
    Nowhere,
    /// This link is absolute, or leads out of the workspace.
    Out(GuestPath),
    /// Links lead in a circle.
    Loop,
    /// This parent is a file.
    FileParent(GuestPath),
    Unknown,
}

impl<'a> SymbolicTree<'a> {
    pub(crate) fn new(seed: Option<&'a SeedListing>) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// With a seed that could not be looked into: what no step writes is not known.
    pub(crate) fn unknown() -> Self {
        Self {
            unknown_seed: true,
            ..Self::default()
        }
    }

    pub(crate) fn lookup(&self, path: &GuestPath) -> Node<'_> {
        self.node(path.as_bytes())
    }

    fn node(&self, path: &[u8]) -> Node<'_> {
        if path.is_empty() {
            return Node::Directory;
        }
        match self.changed.get(path) {
            Some(Changed::Directory) => return Node::Directory,
            Some(Changed::Unknown) => return Node::Unknown,
            Some(Changed::Laid(listing, entry)) => return seed_node(listing, entry),
            Some(Changed::File { bytes, mode }) => {
                return Node::File(FileNode {
                    contents: Contents::Known(bytes),
                    size: bytes.len() as u64,
                    mode: *mode,
                });
            }
            None => {}
        }
        match self.above(path) {
            Above::Cut => return Node::Absent,
            Above::Unknown => return Node::Unknown,
            Above::AsSeeded => {}
        }
        match self.seed.and_then(|seed| Some((seed, seed.entry(path)?))) {
            Some((seed, entry)) => seed_node(seed, entry),
            None if self.unknown_seed => Node::Unknown,
            None => Node::Absent,
        }
    }

    /// What the nearest of a path and its parents says that something was done to, where `changed` does not know the
    /// path itself.
    fn above(&self, path: &[u8]) -> Above {
        if self.cut.is_empty() && self.changed.is_empty() {
            return Above::AsSeeded;
        }
        let mut at = path;
        loop {
            if at.len() < path.len() && matches!(self.changed.get(at), Some(Changed::Unknown)) {
                return Above::Unknown;
            }
            if self.cut.contains(at) {
                return Above::Cut;
            }
            match at.iter().rposition(|byte| *byte == b'/') {
                Some(end) => at = &at[..end],
                None => return Above::AsSeeded,
            }
        }
    }

    /// Everything below a directory, sorted.
    pub(crate) fn below(&self, dir: &GuestPath) -> BTreeMap<Vec<u8>, Node<'_>> {
        let mut prefix = dir.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let seed = self.seed.map_or(&[][..], |seed| &seed.entries);
        let from = seed.partition_point(|entry| entry.path.0.as_slice() < prefix.as_slice());
        let seeded = seed[from..]
            .iter()
            .map(|entry| &entry.path.0)
            .take_while(|path| path.starts_with(&prefix));
        let changed = self
            .changed
            .range(prefix.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&prefix));
        seeded
            .chain(changed)
            .map(|path| (path.clone(), self.node(path)))
            .filter(|(_, node)| *node != Node::Absent)
            .collect()
    }

    /// Every file, sorted.
    pub(crate) fn files(&self) -> Vec<Vec<u8>> {
        let all = self.below(&GuestPath::root());
        let files = all
            .into_iter()
            .filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path).collect()
    }

    /// What stands in the way of writing a file.
    pub(crate) fn obstacle(&self, path: &GuestPath) -> Option<Obstacle> {
        self.obstacle_above(path).or_else(|| {
            Some(match self.lookup(path) {
                _ if path.is_root() => Obstacle::Root,
                Node::Directory => Obstacle::Directory,
                Node::Symlink(_) => Obstacle::Link,
                Node::Absent | Node::File(_) | Node::Unknown => return None,
            })
        })
    }

    /// What stands in the way of reaching a path without following a link.
    pub(crate) fn obstacle_above(&self, path: &GuestPath) -> Option<Obstacle> {
        parents(path.as_bytes()).find_map(|parent| match self.node(parent) {
            Node::Symlink(_) => Some(Obstacle::LinkedParent(guest_path(parent))),
            Node::File(_) => Some(Obstacle::FileParent(guest_path(parent))),
            Node::Absent | Node::Directory | Node::Unknown => None,
        })
    }

    /// Writes a file, and the directories it needs. A mode that is not given is kept, else 0644.
    pub(crate) fn put(&mut self, path: &GuestPath, bytes: Vec<u8>, mode: Option<u32>) {
        let kept = match self.lookup(path) {
            Node::File(file) => file.mode,
            Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => NEW_FILE,
        };
        self.make_parents(path);
        let mode = mode.unwrap_or(kept);
        self.changed
            .insert(path.as_bytes().to_vec(), Changed::File { bytes, mode });
    }

    /// From now on nobody can say what is at a path.
    pub(crate) fn forget(&mut self, path: &GuestPath) {
        if !path.is_root() {
            self.make_parents(path);
            self.changed
                .insert(path.as_bytes().to_vec(), Changed::Unknown);
        }
    }

    fn make_parents(&mut self, path: &GuestPath) {
        let missing: Vec<_> = parents(path.as_bytes())
            .filter(|parent| self.node(parent) == Node::Absent)
            .map(<[u8]>::to_vec)
            .collect();
        for parent in missing {
            self.changed.insert(parent, Changed::Directory);
        }
    }

    /// Deletes a path and all below it.
    pub(crate) fn remove(&mut self, path: &GuestPath) {
        let path = path.as_bytes();
        self.changed.retain(|known, _| below(known, path).is_none());
        self.cut.insert(path.to_vec());
    }

    /// Lays a listing over a directory, which is there from then on. What is in the way of it goes.
    pub(crate) fn lay(&mut self, listing: &'a SeedListing, to: &GuestPath) {
        self.make_directory(to);
        for entry in &listing.entries {
            let path = below_of(to, &entry.path);
            match &entry.kind {
                EntryKind::Directory => self.make_directory(&path),
                EntryKind::File | EntryKind::Symlink(_) => {
                    if self.lookup(&path) == Node::Directory {
                        self.remove(&path);
                    }
                    let laid = Changed::Laid(listing, entry);
                    self.changed.insert(path.as_bytes().to_vec(), laid);
                }
                EntryKind::Fifo | EntryKind::Socket | EntryKind::Device | EntryKind::Unknown => {}
            }
        }
    }

    fn make_directory(&mut self, path: &GuestPath) {
        if !path.is_root() && self.lookup(path) != Node::Directory {
            self.make_parents(path);
            self.changed
                .insert(path.as_bytes().to_vec(), Changed::Directory);
        }
    }

    /// From now on nobody can say what is where nothing was known to be.
    pub(crate) fn forget_all(&mut self) {
        self.unknown_seed = true;
    }

    /// Whether a path is itself a link, the links above it followed.
    pub(crate) fn is_link(&self, path: &GuestPath) -> bool {
        matches!(self.beyond(path), Some(Node::Symlink(_)))
    }

    /// What stands at a path, the links above it followed; `None` where these lead to no place to look at.
    pub(crate) fn beyond(&self, path: &GuestPath) -> Option<Node<'_>> {
        let (Some(parent), Some(name)) = (
            path.parent(),
            path.as_bytes().rsplit(|byte| *byte == b'/').next(),
        ) else {
            return Some(Node::Directory);
        };
        match self.follow(&parent) {
            Lead::To(parent) if parent.is_root() => Some(self.node(name)),
            Lead::To(parent) => Some(self.node(&[parent.as_bytes(), name].join(&b'/'))),
            Lead::Nowhere | Lead::FileParent(_) => Some(Node::Absent),
            Lead::Out(_) | Lead::Loop | Lead::Unknown => None,
        }
    }

    /// Follows the links of a path that is to be read.
    pub(crate) fn follow(&self, path: &GuestPath) -> Lead {
        let mut todo: Vec<Vec<u8>> = reversed_parts(path.as_bytes());
        let mut at: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                if at.is_empty() {
                    return Lead::Out(path.clone());
                }
                at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            if part == b"." {
                continue;
            }
            let mut next = at.clone();
            if !next.is_empty() {
                next.push(b'/');
            }
            next.extend_from_slice(&part);
            match self.node(&next) {
                Node::Absent => return Lead::Nowhere,
                Node::Unknown if todo.is_empty() => return Lead::To(guest_path(&next)),
                Node::Unknown => return Lead::Unknown,
                Node::File(_) if !todo.is_empty() => return Lead::FileParent(guest_path(&next)),
                Node::File(_) | Node::Directory => at = next,
                Node::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Lead::Loop;
                    }
                    // The guest opens beneath the workspace, where an absolute link means nothing.
                    if target.starts_with(b"/") {
                        return Lead::Out(guest_path(&next));
                    }
                    todo.extend(reversed_parts(target));
                }
            }
        }
        Lead::To(guest_path(&at))
    }
}

impl patch::Tree for SymbolicTree<'_> {
    fn entry(&self, path: &[u8]) -> patch::Entry<'_> {
        match self.node(path) {
            Node::Absent => patch::Entry::Missing,
            Node::Directory => patch::Entry::Directory,
            Node::Symlink(_) => patch::Entry::Symlink,
            Node::File(FileNode {
                contents: Contents::Known(bytes),
                mode,
                ..
            }) => patch::Entry::File {
                bytes: Cow::Borrowed(bytes),
                mode,
            },
            // The planner asks for these beforehand and does not come here with them.
            Node::File(_) | Node::Unknown => patch::Entry::Other,
        }
    }
}

fn seed_node<'t>(seed: &'t SeedListing, entry: &'t SeedEntry) -> Node<'t> {
    match &entry.kind {
        EntryKind::Directory => Node::Directory,
        EntryKind::Symlink(target) => Node::Symlink(target),
        EntryKind::File => Node::File(FileNode {
            contents: match seed.content(&entry.path) {
                Some(FileFact::Content(bytes)) => Contents::Known(bytes),
                Some(FileFact::TooLarge(_)) => Contents::TooLarge,
                Some(FileFact::Missing | FileFact::NotAFile(_) | FileFact::Unreadable(_))
                | None => Contents::NotRead,
            },
            size: entry.size,
            // The copy drops the others.
            mode: entry.mode & 0o777,
        }),
        // These are left out of the workspace.
        EntryKind::Fifo | EntryKind::Socket | EntryKind::Device | EntryKind::Unknown => {
            Node::Absent
        }
    }
}

/// The directories above a path, the outermost first, without the workspace itself.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(end, _)| &path[..end])
}

/// What a path is below another one: nothing for the path itself, else it begins with a slash.
fn below<'p>(path: &'p [u8], top: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(top)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// The parts still to go. An empty one is a `.`: at the end of a link's target both want a directory.
fn reversed_parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .map(|part| if part.is_empty() { b"." } else { part })
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

/// What a path of a listing becomes where it is laid over a directory.
pub(crate) fn below_of(to: &GuestPath, path: &[u8]) -> GuestPath {
    match to.is_root() {
        true => guest_path(path),
        false => guest_path(&[to.as_bytes(), b"/", path].concat()),
    }
}

/// A path that was taken from the tree, and so is one.
pub(crate) fn guest_path(path: &[u8]) -> GuestPath {
    if path.is_empty() {
        return GuestPath::root();
    }
    GuestPath::parse(path).expect("the paths of a tree have no `..`, NUL or empty parts")
}

mod relocate;

#[cfg(test)]
mod links;
#[cfg(test)]
mod tests;
