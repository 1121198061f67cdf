//! A directory tree as plain data: made on the disk, read from there, and changed as a plan says it will be.

use super::super::harness::is_root;
use pyro::plan::{PlannedAction, PlannedStep};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// What stands at a path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory { mode: u32 },
    File { bytes: Vec<u8>, mode: u32 },
    Link { target: Vec<u8> },
    Fifo,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { mode } => write!(f, "{mode:04o}/"),
            Self::File { bytes, mode } => write!(f, "{mode:04o} \"{}\"", bytes.escape_ascii()),
            Self::Link { target } => write!(f, "-> {}", target.escape_ascii()),
            Self::Fifo => f.write_str("fifo"),
        }
    }
}

/// Paths relative to the top, each with its parents.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Node>);

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, node) in &self.0 {
            writeln!(f, "  {} {node:?}", path.escape_ascii())?;
        }
        Ok(())
    }
}

/// The directories above a path, the outermost first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slash = |(at, byte): (usize, &u8)| (*byte == b'/').then_some(at);
    path.iter()
        .enumerate()
        .filter_map(slash)
        .map(|at| &path[..at])
}

impl Tree {
    /// Reads what is on the disk, links not followed.
    pub(crate) fn read(top: &Path) -> Self {
        let mut tree = Self::default();
        let mut waiting = vec![Vec::new()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(top.join(OsStr::from_bytes(&dir))).expect("a folder") {
                let entry = entry.expect("an entry");
                let mut path = dir.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(entry.file_name().as_bytes());
                let metadata = entry.metadata().expect("metadata");
                let mode = metadata.permissions().mode() & 0o7777;
                let kind = metadata.file_type();
                let node = if kind.is_dir() {
                    waiting.push(path.clone());
                    Node::Directory { mode }
                } else if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).expect("a link");
                    Node::Link {
                        target: target.into_os_string().into_vec(),
                    }
                } else if kind.is_file() {
                    let bytes = fs::read(entry.path()).expect("a file that its owner may read");
                    Node::File { bytes, mode }
                } else {
                    Node::Fifo
                };
                tree.0.insert(path, node);
            }
        }
        tree
    }

    /// Makes it on the disk. Files of the same contents and mode that `twins` says are one file with two names.
    pub(crate) fn make(&self, top: &Path, twins: bool) {
        fs::create_dir_all(top).expect("a new folder");
        let mut first: BTreeMap<(&[u8], u32), &[u8]> = BTreeMap::new();
        for (path, node) in &self.0 {
            let at = top.join(OsStr::from_bytes(path));
            match node {
                Node::Directory { .. } => fs::create_dir(&at).expect("a new folder"),
                Node::File { bytes, mode } => {
                    let twin = first.get(&(&bytes[..], *mode)).filter(|_| twins);
                    if let Some(twin) = twin {
                        fs::hard_link(top.join(OsStr::from_bytes(twin)), at).expect("a twin");
                        continue;
                    }
                    fs::write(&at, bytes).expect("a new file");
                    fs::set_permissions(at, fs::Permissions::from_mode(*mode)).expect("a mode");
                    first.insert((bytes, *mode), path);
                }
                Node::Link { target } => {
                    symlink(OsStr::from_bytes(target), at).expect("a new link");
                }
                Node::Fifo => {
                    let mode = rustix::fs::Mode::from_raw_mode(0o644);
                    let fifo = rustix::fs::FileType::Fifo;
                    rustix::fs::mknodat(rustix::fs::CWD, at, fifo, mode, 0).expect("a new fifo");
                }
            }
        }
        for (path, node) in self.0.iter().rev() {
            if let Node::Directory { mode } = node {
                let at = top.join(OsStr::from_bytes(path));
                fs::set_permissions(at, fs::Permissions::from_mode(*mode)).expect("a mode");
            }
        }
    }

    /// As an archive.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, node) in &self.0 {
            let mut header = tar::Header::new_gnu();
            let (kind, mode, bytes) = match node {
                Node::Directory { mode } => (tar::EntryType::Directory, *mode, &[][..]),
                Node::File { bytes, mode } => (tar::EntryType::Regular, *mode, &bytes[..]),
                Node::Link { target } => {
                    header.set_link_name_literal(target).expect("short");
                    (tar::EntryType::Symlink, 0o777, &[][..])
                }
                Node::Fifo => (tar::EntryType::Fifo, 0o644, &[][..]),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(bytes.len() as u64);
            let added = archive.append_data(&mut header, OsStr::from_bytes(path), bytes);
            added.expect("an entry");
        }
        archive.into_inner().expect("an archive")
    }

    /// What a workspace has of it: see W3 of the specification.
    pub(crate) fn seeded(&self) -> Self {
        let kept = self.0.iter().filter(|(_, node)| **node != Node::Fifo);
        Self(
            kept.map(|(path, node)| (path.clone(), node.clone().plain()))
                .collect(),
        )
    }

    /// What an export carries of it: see S13 of the specification.
    pub(crate) fn exported(mut self) -> Self {
        for node in self.0.values_mut() {
            if let Node::Directory { mode } = node {
                *mode &= 0o777;
            }
        }
        self
    }

    /// Makes directories writable again, so that an ordinary user can remove them.
    pub(crate) fn open_up(top: &Path) {
        let Ok(metadata) = top.symlink_metadata() else {
            return;
        };
        if !metadata.is_dir() || is_root() {
            return;
        }
        fs::set_permissions(top, fs::Permissions::from_mode(0o755)).expect("a mode");
        for entry in fs::read_dir(top).expect("a folder") {
            Self::open_up(&entry.expect("an entry").path());
        }
    }

    /// What one path and all below it are, relative to it; the path itself has the empty name.
    pub(crate) fn part(&self, top: &[u8]) -> Self {
        let below = |path: &[u8]| {
            if top.is_empty() {
                return Some(path.to_vec());
            }
            let rest = path.strip_prefix(top)?;
            match rest.strip_prefix(b"/") {
                Some(rest) => Some(rest.to_vec()),
                None => rest.is_empty().then(Vec::new),
            }
        };
        let part = self.0.iter();
        Self(
            part.filter_map(|(path, node)| Some((below(path)?, node.clone())))
                .collect(),
        )
    }

    /// The same tree below a directory.
    fn under(&self, to: &[u8]) -> Self {
        let mut tree = Self::default();
        tree.lay(self, to);
        tree
    }

    fn put(&mut self, path: &[u8], bytes: &[u8], mode: u32) {
        for parent in above(path) {
            let new = Node::Directory { mode: 0o755 };
            let there = self.0.entry(parent.to_vec()).or_insert(new);
            assert!(
                matches!(there, Node::Directory { .. }),
                "the plan writes below {there:?}"
            );
        }
        let file = Node::File {
            bytes: bytes.to_vec(),
            mode,
        };
        let old = self.0.insert(path.to_vec(), file);
        assert!(
            matches!(old, None | Some(Node::File { .. })),
            "the plan writes over {old:?}"
        );
    }

    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.0.retain(|known, _| {
            let rest = known.strip_prefix(path);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        });
    }

    /// Moves what is there to where nothing is, as far as that can be.
    pub(crate) fn relocate(&mut self, from: &[u8], to: &[u8]) {
        let moved = self.part(from);
        if moved.0.is_empty() || self.0.contains_key(to) {
            return;
        }
        self.remove(from);
        let new = Node::Directory { mode: 0o755 };
        for parent in above(to) {
            self.0.entry(parent.to_vec()).or_insert(new.clone());
        }
        for (rest, node) in moved.0 {
            let path = match rest.as_slice() {
                b"" => to.to_vec(),
                rest => [to, b"/", rest].concat(),
            };
            self.0.insert(path, node);
        }
    }

    fn mode_of(&self, path: &[u8]) -> Option<u32> {
        match self.0.get(path) {
            Some(Node::File { mode, .. }) => Some(*mode),
            Some(Node::Directory { .. } | Node::Link { .. } | Node::Fifo) | None => None,
        }
    }

    /// Lays another tree over a directory.
    pub(crate) fn lay(&mut self, other: &Self, to: &[u8]) {
        let new = Node::Directory { mode: 0o755 };
        for dir in above(to).chain((!to.is_empty()).then_some(to)) {
            self.0.entry(dir.to_vec()).or_insert(new.clone());
        }
        for (path, node) in &other.0 {
            let path = match to {
                b"" => path.clone(),
                to => [to, b"/", path].concat(),
            };
            match node {
                Node::Directory { .. } => {
                    self.0.entry(path).or_insert(node.clone());
                }
                Node::File { .. } | Node::Link { .. } | Node::Fifo => {
                    self.0.insert(path, node.clone());
                }
            }
        }
    }

    /// Does what a step of a plan says it will do, and nothing else. `other` is what `sync` steps take from.
    pub(crate) fn promised(&mut self, step: &PlannedStep, other: &Self) {
        if let PlannedAction::Write(write) = &step.action {
            for file in &write.files {
                let path = file.path.as_bytes();
                let kept = self.mode_of(path).unwrap_or(0o644);
                let old = match self.0.get(path) {
                    Some(Node::File { bytes, .. }) if file.append => bytes.clone(),
                    Some(_) | None => Vec::new(),
                };
                let bytes = [&old[..], &file.bytes].concat();
                self.put(path, &bytes, file.mode.unwrap_or(kept));
            }
        } else if let PlannedAction::Patch(patch) = &step.action {
            let files = &patch.predicted.as_ref().expect("it is exact").files;
            for file in files.iter().filter(|file| file.after.is_none()) {
                assert!(self.0.contains_key(&file.path), "removes what is not there");
                self.remove(&file.path);
            }
            for file in files {
                if let Some((bytes, mode)) = &file.after {
                    self.put(&file.path, bytes, *mode);
                }
            }
        } else if let PlannedAction::Delete(delete) = &step.action {
            for path in &delete.paths {
                self.remove(path.as_bytes());
            }
        } else if let PlannedAction::Move(moving) = &step.action {
            let (from, to) = (moving.from.as_bytes(), moving.to.as_bytes());
            assert!(self.0.contains_key(from), "moves what is not there");
            assert!(!self.0.contains_key(to), "moves over something");
            for parent in above(to) {
                let there = self.0.get(parent);
                assert!(
                    matches!(there, None | Some(Node::Directory { .. })),
                    "below {there:?}"
                );
            }
            self.relocate(from, to);
        } else if let PlannedAction::Sync(sync) = &step.action {
            let mut other = other.seeded();
            if !sync.source.exclude.is_empty() {
                other.remove(b"a");
            }
            let replaced: Vec<_> = (sync.replaces.iter())
                .map(|path| path.as_bytes().to_vec())
                .collect();
            let before = self.clone();
            self.lay(&other, sync.to.as_bytes());
            let is_leaf = |tree: &Self, path: &Vec<u8>| {
                let node = tree.0.get(path);
                node.is_some_and(|node| !matches!(node, Node::Directory { .. }))
            };
            for path in before.0.keys() {
                let kind = is_leaf(&before, path);
                assert_eq!(kind, is_leaf(self, path), "the plan lays over {path:?}");
            }
            let laid = other.under(sync.to.as_bytes());
            let over = laid.0.keys().filter(|path| is_leaf(&before, path));
            assert_eq!(replaced, over.cloned().collect::<Vec<_>>());
        } else {
            let verb = step.action.verb();
            assert!(
                matches!(verb, "read" | "list" | "export"),
                "{verb} is not tried here"
            );
        }
    }

    /// Where a path leads that is read; links are followed inside the tree, and absolute ones nowhere.
    pub(crate) fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.walk(Vec::new(), path, &mut 40)
    }

    fn walk(&self, mut at: Vec<u8>, path: &[u8], links: &mut u32) -> Option<Vec<u8>> {
        for part in path.split(|byte| *byte == b'/') {
            // Whatever follows a name, be it empty, wants a directory.
            if !at.is_empty() && !matches!(self.0.get(&at)?, Node::Directory { .. }) {
                return None;
            }
            match part {
                b"" | b"." => continue,
                b".." => {
                    if at.is_empty() {
                        return None;
                    }
                    let end = at.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    at.truncate(end);
                    continue;
                }
                _ => {}
            }
            let dir = at.clone();
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(part);
            if let Node::Link { target } = self.0.get(&at)? {
                if *links == 0 || target.starts_with(b"/") {
                    return None;
                }
                *links -= 1;
                at = self.walk(dir, target, links)?;
            }
        }
        Some(at)
    }
}

impl Node {
    /// With the bits that a workspace keeps.
    fn plain(self) -> Self {
        match self {
            Self::Directory { mode } => Self::Directory {
                mode: mode & 0o1777,
            },
            Self::File { bytes, mode } => Self::File {
                bytes,
                mode: mode & 0o777,
            },
            link @ (Self::Link { .. } | Self::Fifo) => link,
        }
    }
}
