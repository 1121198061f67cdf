//! A walk of the seed directory, links not followed.

use super::Surroundings;
use super::facts::{
    EntryKind, FileFact, MAX_LEFT_OUT, SeedContent, SeedEntry, SeedFact, SeedLeftOut, SeedListing,
};
use super::{file, host};
use crate::exclude::{Exclude, Level, MAX_GITIGNORE};
use pyro_protocol::Bytes;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

pub(super) fn walk(
    path: &Path,
    exclude: &Exclude,
    touched: &BTreeSet<Vec<u8>>,
    around: &Surroundings,
) -> SeedFact {
    let root = match fs::canonicalize(path) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return SeedFact::Missing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return SeedFact::NotADirectory;
        }
        Err(error) => return SeedFact::Unreadable(file::why(&error)),
    };
    match fs::metadata(&root) {
        Ok(meta) if !meta.is_dir() => return SeedFact::NotADirectory,
        Ok(_) => {}
        Err(error) => return SeedFact::Unreadable(file::why(&error)),
    }
    if let Err(error) = fs::read_dir(&root) {
        return SeedFact::Unreadable(file::why(&error));
    }
    let state = host::state(around);
    let mut walk = Walk {
        root: &root,
        state: &state,
        exclude,
        listing: SeedListing::default(),
    };
    walk.all();
    let mut listing = walk.listing;
    // It may not exist yet: then the run would make it, inside of what it copies.
    if let Ok(inside) = state.strip_prefix(&root)
        && (exclude.why_below(inside.as_os_str().as_bytes(), true, |dir| {
            gitignore(&root, dir)
        }))
        .is_none()
    {
        listing.contains_state = Some(inside.as_os_str().as_bytes().into());
    }
    listing.entries.sort_by(|a, b| a.path.cmp(&b.path));
    // Sorted first: which ones are named must not depend on the order of the disk.
    listing.left_out.sort();
    let more = listing.left_out.len().saturating_sub(MAX_LEFT_OUT);
    listing.left_out.truncate(MAX_LEFT_OUT);
    listing.left_out_more = more as u64;
    for path in touched {
        let is_file = listing
            .entry(path)
            .is_some_and(|entry| entry.kind == EntryKind::File);
        if is_file {
            let content = file::read_no_follow(&root.join(OsStr::from_bytes(path)));
            listing.contents.push(SeedContent {
                path: path.clone().into(),
                file: content,
            });
        }
    }
    listing.path = root;
    SeedFact::Directory(listing)
}

struct Walk<'a> {
    root: &'a Path,
    state: &'a Path,
    exclude: &'a Exclude,
    listing: SeedListing,
}

impl Walk<'_> {
    /// Lists what is below the root.
    fn all(&mut self) {
        // A stack, because nobody knows how deep a stranger's tree is.
        let mut todo = vec![(Vec::new(), Level::default())];
        while let Some((dir, above)) = todo.pop() {
            let host = self.root.join(OsStr::from_bytes(&dir));
            if self.state == host.as_path() {
                self.listing.contains_state = Some(dir.into());
                continue;
            }
            let level = (self.exclude).enter(&above, &dir, || gitignore(self.root, &dir));
            let names = match fs::read_dir(&host) {
                Ok(names) => names,
                Err(error) => {
                    self.blame(&dir, &error);
                    continue;
                }
            };
            for name in names {
                let name = match name {
                    Ok(name) => name,
                    Err(error) => {
                        self.blame(&dir, &error);
                        break;
                    }
                };
                let mut path = dir.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.file_name().as_bytes());
                let directory = name.file_type().is_ok_and(|kind| kind.is_dir());
                if let Some(why) = self.exclude.why(&level, &path, directory) {
                    self.listing.left_out.push(SeedLeftOut {
                        path: path.into(),
                        reason: why.to_string(),
                        directory,
                    });
                    continue;
                }
                let entry = match name.metadata() {
                    Ok(meta) => entry(&name.path(), &path, &meta),
                    Err(error) => SeedEntry {
                        path: path.clone().into(),
                        kind: EntryKind::Unknown,
                        mode: 0,
                        size: 0,
                        error: Some(file::why(&error)),
                    },
                };
                if entry.kind == EntryKind::Directory {
                    todo.push((path, level.clone()));
                }
                self.listing.entries.push(entry);
            }
        }
    }

    fn blame(&mut self, dir: &[u8], error: &io::Error) {
        let at = self
            .listing
            .entries
            .iter_mut()
            .find(|entry| entry.path.0.as_slice() == dir);
        if let Some(entry) = at {
            entry.error = Some(file::why(error));
        }
    }
}

/// The `.gitignore` of a directory of the seed, where it has one that counts. A link does not, as with git.
fn gitignore(root: &Path, dir: &[u8]) -> Option<Vec<u8>> {
    let path = root.join(OsStr::from_bytes(dir)).join(".gitignore");
    match file::read_no_follow(&path) {
        FileFact::Content(text) if text.0.len() as u64 <= MAX_GITIGNORE => Some(text.0),
        FileFact::Content(_)
        | FileFact::Missing
        | FileFact::NotAFile(_)
        | FileFact::Unreadable(_)
        | FileFact::TooLarge(_) => None,
    }
}

fn entry(host: &Path, path: &[u8], meta: &Metadata) -> SeedEntry {
    let mut error = None;
    let kind = meta.file_type();
    let kind = if kind.is_file() {
        // All may read it, as a rule; only where a bit is missing is the kernel asked.
        if meta.mode() & 0o444 != 0o444
            && let Err(errno) = rustix::fs::access(host, rustix::fs::Access::READ_OK)
        {
            error = Some(file::why(&errno.into()));
        }
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else if kind.is_symlink() {
        match fs::read_link(host) {
            Ok(target) => EntryKind::Symlink(Bytes(target.into_os_string().into_vec())),
            Err(cause) => {
                error = Some(file::why(&cause));
                EntryKind::Unknown
            }
        }
    } else if kind.is_fifo() {
        EntryKind::Fifo
    } else if kind.is_socket() {
        EntryKind::Socket
    } else {
        EntryKind::Device
    };
    SeedEntry {
        path: path.into(),
        size: if kind == EntryKind::File {
            meta.len()
        } else {
            0
        },
        kind,
        mode: meta.mode() & 0o7777,
        error,
    }
}
