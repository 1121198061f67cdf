//! A seed that is an archive: read through from its beginning to its end, nothing of it unpacked.

use super::facts::{
    ArchiveFact, EntryKind, FileFact, MAX_FILE, MAX_LEFT_OUT, SeedContent, SeedEntry, SeedFact,
    SeedLeftOut, SeedListing,
};
use super::file;
use crate::archive::{self, ArchiveError, Kind};
use crate::exclude::{Exclude, Level, MAX_GITIGNORE};
use crate::request::Digest;
use pyro_protocol::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of all `.gitignore` files together.
const MAX_GITIGNORES: usize = 64 << 20;

/// What the archive at `path` holds; nothing where that is no file.
pub(super) fn listing(
    path: &Path,
    exclude: &Exclude,
    touched: &BTreeSet<Vec<u8>>,
    limit: u64,
) -> Option<SeedFact> {
    let path = std::fs::canonicalize(path).ok()?;
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut found = Found::new(touched.clone(), exclude.reads_gitignores());
    let whole = loop {
        let read = File::open(&path)
            .map_err(ArchiveError::Io)
            .and_then(|file| archive::read(file, limit, &mut |entry, body| found.add(entry, body)));
        let whole = match read {
            Ok(whole) => whole,
            Err(ArchiveError::NotAnArchive(why)) => return Some(SeedFact::NotAnArchive(why)),
            Err(ArchiveError::Io(error)) => return Some(SeedFact::Unreadable(file::why(&error))),
            Err(
                error @ (ArchiveError::Damaged(_)
                | ArchiveError::Refused { .. }
                | ArchiveError::TooLarge(_)),
            ) => return Some(SeedFact::BadArchive(error.to_string())),
        };
        if found.missed.is_empty() {
            break whole;
        }
        // Contents that came before it was known that they have a name of interest: they are wanted now.
        let mut wanted = found.wanted;
        wanted.append(&mut found.missed);
        found = Found::new(wanted, found.gitignores);
    };
    let mut listing = found.listing(exclude, touched);
    listing.path = path;
    listing.archive = Some(ArchiveFact {
        sha256: Digest(whole.sha256),
        bytes: whole.bytes,
    });
    Some(SeedFact::Directory(listing))
}

/// What one reading brings.
struct Found {
    entries: BTreeMap<Vec<u8>, SeedEntry>,
    /// Files whose contents are needed.
    wanted: BTreeSet<Vec<u8>>,
    /// So are those of `.gitignore` files.
    gitignores: bool,
    /// Of what is wanted.
    contents: BTreeMap<Vec<u8>, FileFact>,
    /// First names of files with several.
    first: BTreeMap<Vec<u8>, Vec<u8>>,
    /// First names of what turned out to be wanted too late.
    missed: BTreeSet<Vec<u8>>,
    ignored_bytes: usize,
}

impl Found {
    fn new(wanted: BTreeSet<Vec<u8>>, gitignores: bool) -> Self {
        Self {
            entries: BTreeMap::new(),
            wanted,
            gitignores,
            contents: BTreeMap::new(),
            first: BTreeMap::new(),
            missed: BTreeSet::new(),
            ignored_bytes: 0,
        }
    }

    fn wants(&self, path: &[u8], size: u64) -> bool {
        let is_gitignore = path == b".gitignore" || path.ends_with(b"/.gitignore");
        self.wanted.contains(path) || self.gitignores && is_gitignore && size <= MAX_GITIGNORE
    }

    fn add(&mut self, entry: &archive::Entry, body: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = &entry.path;
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = &path[..end];
            if !self.entries.contains_key(above) {
                self.put(above, EntryKind::Directory, 0o755, 0);
            }
        }
        match &entry.kind {
            Kind::Directory if path.is_empty() => {}
            Kind::Directory => self.put(path, EntryKind::Directory, entry.mode, 0),
            Kind::Symlink(to) => self.put(path, EntryKind::Symlink(Bytes::from(&to[..])), 0o777, 0),
            Kind::LeftOut("fifo") => self.put(path, EntryKind::Fifo, 0, 0),
            Kind::LeftOut(_) => self.put(path, EntryKind::Device, 0, 0),
            Kind::HardLink(target) => {
                let first = self.first.get(target).unwrap_or(target).clone();
                let (mode, size) =
                    (self.entries.get(&first)).map_or((0, 0), |twin| (twin.mode, twin.size));
                self.put(path, EntryKind::File, mode, size);
                if self.wants(path, size) {
                    match self.contents.get(&first).cloned() {
                        Some(content) => self.keep(path, content)?,
                        None => drop(self.missed.insert(first.clone())),
                    }
                }
                self.first.insert(path.clone(), first);
            }
            Kind::File { size, pieces } => {
                self.put(path, EntryKind::File, entry.mode, *size);
                if self.wants(path, *size) {
                    let content = if *size > MAX_FILE {
                        FileFact::TooLarge(*size)
                    } else {
                        FileFact::Content(Bytes(whole(*size, pieces, body)?))
                    };
                    self.keep(path, content)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &[u8], content: FileFact) -> Result<(), ArchiveError> {
        if let (FileFact::Content(text), false) = (&content, self.wanted.contains(path)) {
            self.ignored_bytes += text.len();
            if self.ignored_bytes > MAX_GITIGNORES {
                let why = "its `.gitignore` files take more than 64 MiB".to_owned();
                return Err(ArchiveError::TooLarge(why));
            }
        }
        self.contents.insert(path.to_vec(), content);
        Ok(())
    }

    fn put(&mut self, path: &[u8], kind: EntryKind, mode: u32, size: u64) {
        let entry = SeedEntry {
            path: path.into(),
            kind,
            mode,
            size,
            error: None,
        };
        self.entries.insert(path.to_vec(), entry);
    }

    fn gitignore(&self, dir: &[u8]) -> Option<Vec<u8>> {
        let path = match dir {
            b"" => b".gitignore".to_vec(),
            dir => [dir, b"/.gitignore"].concat(),
        };
        match self.contents.get(&path)? {
            FileFact::Content(text) if text.len() as u64 <= MAX_GITIGNORE => Some(text.0.clone()),
            FileFact::Content(_)
            | FileFact::Missing
            | FileFact::NotAFile(_)
            | FileFact::Unreadable(_)
            | FileFact::TooLarge(_) => None,
        }
    }

    /// Without what the request leaves out.
    fn listing(mut self, exclude: &Exclude, touched: &BTreeSet<Vec<u8>>) -> SeedListing {
        let mut listing = SeedListing::default();
        let top = exclude.enter(&Level::default(), b"", || self.gitignore(b""));
        // Those of directories that are not left out; what has no level above it goes with its directory.
        let mut levels: BTreeMap<Vec<u8>, Level> = BTreeMap::from([(Vec::new(), top)]);
        for (path, entry) in std::mem::take(&mut self.entries) {
            let above = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let Some(level) = levels.get(&path[..above]).cloned() else {
                continue;
            };
            let directory = entry.kind == EntryKind::Directory;
            if let Some(why) = exclude.why(&level, &path, directory) {
                listing.left_out.push(SeedLeftOut {
                    path: entry.path,
                    reason: why.to_string(),
                    directory,
                });
                continue;
            }
            if directory {
                let level = exclude.enter(&level, &path, || self.gitignore(&path));
                levels.insert(path, level);
            }
            listing.entries.push(entry);
        }
        let more = listing.left_out.len().saturating_sub(MAX_LEFT_OUT);
        listing.left_out.truncate(MAX_LEFT_OUT);
        listing.left_out_more = more as u64;
        listing.contents = self
            .contents
            .into_iter()
            .filter(|(path, _)| touched.contains(path))
            .map(|(path, file)| SeedContent {
                path: path.into(),
                file,
            })
            .filter(|content| listing.entry(&content.path).is_some())
            .collect();
        listing
    }
}

/// The contents of a file, with its holes.
fn whole(size: u64, pieces: &[(u64, u64)], body: &mut dyn Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    for (offset, length) in pieces {
        let start = usize::try_from(*offset).unwrap_or(usize::MAX);
        let end = usize::try_from(offset + length).unwrap_or(usize::MAX);
        let Some(piece) = bytes.get_mut(start..end) else {
            continue;
        };
        body.read_exact(piece)
            .map_err(|error| ArchiveError::Damaged(error.to_string()))?;
    }
    Ok(bytes)
}
