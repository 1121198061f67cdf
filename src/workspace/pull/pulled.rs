//! What was brought home from a workspace so far, for each directory that it was brought to: the next pull goes by that
//! instead of by what the workspace began with.
//!
//! ```text
//!  pulled/KEY/record.json    the directory, and each path as it was on both sides after the last pull
//!  pulled/KEY/contents/HEX   contents of text files, for a merge
//! ```

use super::error::PullError;
use super::node::Node;
use super::write::Afterwards;
use crate::request::Digest;
use crate::workspace::replace_file;
use pyro_protocol::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// Copies what is noted of one workspace to another, which is a copy of it.
///
/// # Errors
/// Where the disk refuses.
pub(crate) fn copy_pulled(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        done => done?,
    };
    let make = |path: &Path| {
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(path)
    };
    for entry in entries {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        make(&copy.join("contents"))?;
        // Nobody writes to them: what is new gets a name of its own.
        for content in fs::read_dir(entry.path().join("contents"))
            .into_iter()
            .flatten()
        {
            let content = content?;
            fs::hard_link(
                content.path(),
                copy.join("contents").join(content.file_name()),
            )?;
        }
        match fs::copy(entry.path().join("record.json"), copy.join("record.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// A path after the last pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledPath {
    /// Relative to both trees.
    pub path: Bytes,
    /// In the workspace.
    pub workspace: Node,
    /// On the host.
    pub host: Node,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    root: Bytes,
    paths: Vec<PulledPath>,
}

/// What was brought into one directory so far.
#[derive(Debug)]
pub struct Pulled {
    folder: PathBuf,
    root: PathBuf,
    paths: BTreeMap<Vec<u8>, (Node, Node)>,
}

impl Pulled {
    /// Reads what was brought from a workspace, whose records lie in `folder`, into the directory `root`.
    ///
    /// # Errors
    /// Where the record is there and cannot be read.
    pub fn open(folder: &Path, root: &Path) -> Result<Self, PullError> {
        let key = Digest::of(root.as_os_str().as_bytes()).hex();
        let folder = folder.join(&key[..16]);
        let path = folder.join("record.json");
        let read = || {
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                done => done?,
            };
            let record: Record = serde_json::from_slice(&bytes)?;
            match record.version {
                VERSION => Ok(record.paths),
                _ => Err(io::Error::other("it is of another pyro")),
            }
        };
        let paths = read().map_err(PullError::io("read what was pulled before,", &path))?;
        let paths = paths.into_iter();
        Ok(Self {
            folder,
            root: root.to_owned(),
            paths: paths
                .map(|one| (one.path.to_vec(), (one.workspace, one.host)))
                .collect(),
        })
    }

    /// How a path was in the workspace and on the host after the last pull; nothing where none was about it.
    pub fn get(&self, path: &[u8]) -> Option<&(Node, Node)> {
        self.paths.get(path)
    }

    /// All paths that pulls were about.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.keys().map(Vec::as_slice)
    }

    /// Notes how a path is now on both sides. A path that is as the workspace began is forgotten.
    pub fn set(&mut self, path: &[u8], workspace: Node, host: Node, baseline: &Node) {
        if workspace == *baseline && host == *baseline {
            self.paths.remove(path);
        } else {
            self.paths.insert(path.to_vec(), (workspace, host));
        }
    }

    /// The contents of a text file as a pull kept them.
    ///
    /// # Errors
    /// Where they were not kept, or cannot be read.
    pub fn contents(&self, sha256: &Digest) -> io::Result<Vec<u8>> {
        fs::read(self.content(sha256))
    }

    /// Keeps the contents of a text file.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), PullError> {
        let path = self.content(&Digest::of(bytes));
        let kept = || {
            if path.exists() {
                return Ok(());
            }
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
            builder.create(self.folder.join("contents"))?;
            replace_file(&path, bytes)
        };
        kept().map_err(PullError::io("keep what was pulled, in", &path))
    }

    fn content(&self, sha256: &Digest) -> PathBuf {
        self.folder.join("contents").join(sha256.hex())
    }

    /// The record, to be written once the pull is final.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn afterwards(&self) -> Result<Afterwards, PullError> {
        let noted = PullError::io("note what was pulled, in", &self.folder);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&self.folder).map_err(&noted)?;
        let paths = self.paths.iter();
        let record = Record {
            version: VERSION,
            root: Bytes::from(self.root.as_os_str().as_bytes()),
            paths: paths
                .map(|(path, (workspace, host))| PulledPath {
                    path: Bytes::from(&path[..]),
                    workspace: workspace.clone(),
                    host: host.clone(),
                })
                .collect(),
        };
        let text = serde_json::to_string(&record).map_err(|error| noted(error.into()))?;
        Ok(Afterwards {
            path: self.folder.join("record.json"),
            text,
        })
    }

    /// Removes contents that no path has any more.
    pub fn thin(&self) {
        let used = |(workspace, _): &(Node, Node)| match workspace {
            Node::File { sha256, .. } => Some(sha256.hex()),
            Node::Absent | Node::Link { .. } | Node::Directory { .. } | Node::Other => None,
        };
        let used: BTreeSet<String> = self.paths.values().filter_map(used).collect();
        let contents = fs::read_dir(self.folder.join("contents"));
        for entry in contents.into_iter().flatten().flatten() {
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| used.contains(name))
            {
                let _gone = fs::remove_file(entry.path());
            }
        }
    }
}
