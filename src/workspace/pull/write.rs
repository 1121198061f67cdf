//! Changes a directory of the host, all of it or nothing.
//!
//! ```text
//!  DIR/.pyro-RUN-N/        the stage: new files before, old ones after
//!  pulls/RUN/journal       in the state directory: what is about to be changed
//!
//!  note, change, note, change, ... --commit--> journal renamed to `done`: the new directory
//!                  `--- failure, or the process is killed and another comes: undo --> the old one
//! ```
//! Whatever was replaced is looked at once more when it lies on the stage: what somebody changed in the last moment
//! is seen, and everything taken back.

use super::error::PullError;
use super::fault::point;
use super::journal::{self, Log, Record, at, exchange, is_empty, set_mode, shift, undo};
use super::node::{BITS, Node};
use super::tree::{HostTree, look, split};
use crate::request::Digest;
use crate::workspace::host_write::{PREFIX, open_beneath};
use crate::workspace::remove::remove_tree_at;
use crate::workspace::replace_file;
use pyro_protocol::Bytes;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, symlinkat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Directories that changes need and nobody says anything about are made so.
const USUAL: u32 = 0o755;

/// Something new that lies on the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    name: String,
    inode: u64,
    /// What it is.
    pub node: Node,
}

/// One change of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file or link goes.
    Remove {
        /// Relative to the directory.
        path: Vec<u8>,
        /// What it is.
        was: Node,
    },
    /// A directory goes.
    RemoveDirectory {
        /// Relative to the directory.
        path: Vec<u8>,
        /// It stays where something else is in it; otherwise that is a reason to take all back.
        may_stay: bool,
    },
    /// A directory comes.
    MakeDirectory {
        /// Relative to the directory.
        path: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A file or link comes, or takes the place of another.
    Put {
        /// Relative to the directory.
        path: Vec<u8>,
        /// The new one.
        staged: Staged,
        /// What was there.
        was: Node,
    },
    /// A directory gets other permissions.
    Mode {
        /// Relative to the directory.
        path: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
}

/// What is written when all is changed: where, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Afterwards {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// A pull that was brought to its end.
#[derive(Debug)]
pub struct Brought {
    /// Directories that were to go and stayed, because something else is in them.
    pub stayed: Vec<Vec<u8>>,
    /// Why clearing up after it is left to the next command.
    pub uncleared: Option<PullError>,
}

/// A pull that was not made.
#[derive(Debug)]
pub struct NotBrought {
    /// Why.
    pub why: PullError,
    /// Paths that somebody changed while it was made and taken back; they stay as they are, and the old contents in the
    /// folder.
    pub left: Vec<PathBuf>,
    /// Where the old contents of those are.
    pub stage: PathBuf,
    /// Why it could not be taken back.
    pub stuck: Option<PullError>,
}

/// A pull on its way.
#[derive(Debug)]
pub struct Writer<'a> {
    tree: &'a HostTree,
    /// In the state directory.
    folder: PathBuf,
    stage: OwnedFd,
    stage_name: String,
    log: Log,
    records: Vec<Record>,
    next: u64,
    left: u64,
    limit: u64,
}

impl Afterwards {
    /// Writes it now, where nothing else is to be done.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write(&self) -> Result<(), PullError> {
        let written = replace_file(&self.path, self.text.as_bytes());
        written.map_err(PullError::io("note what was pulled, in", &self.path))
    }
}

impl<'a> Writer<'a> {
    /// Begins one in `folder`, which is made, under the name `run`. At most `limit` bytes are written.
    ///
    /// # Errors
    /// Where the state directory or the host refuses; then nothing was changed.
    pub fn begin(
        tree: &'a HostTree,
        folder: PathBuf,
        run: &str,
        limit: u64,
    ) -> Result<Self, PullError> {
        let noted = PullError::io("note the pull in", &folder);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&folder).map_err(&noted)?;
        let root = tree.stat()?;
        let stage_name = format!("{}{run}", String::from_utf8_lossy(PREFIX));
        let begin = Record::Begin {
            version: journal::VERSION,
            root: Bytes::from(tree.path().as_os_str().as_bytes()),
            identity: (root.st_dev, root.st_ino),
            stage: stage_name.clone(),
        };
        let log = Log::create(&folder.join("journal"), &begin).map_err(&noted)?;
        let made = make_stage(tree, &stage_name);
        let stage = match made {
            Ok(stage) => stage,
            Err(errno) => {
                let _gone = unlinkat(&tree.root, &*stage_name, rustix::fs::AtFlags::REMOVEDIR);
                let _gone = fs::remove_dir_all(&folder);
                return Err(PullError::host("write into", tree.path())(errno));
            }
        };
        Ok(Self {
            tree,
            folder,
            stage,
            stage_name,
            log,
            records: vec![begin],
            next: 0,
            left: limit,
            limit,
        })
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        self.next.to_string()
    }

    /// Puts a file on the stage. Its owner is that of the file it replaces, where this user may give files away.
    ///
    /// # Errors
    /// Where it cannot be written, or read.
    pub fn file(
        &mut self,
        path: &[u8],
        mut from: impl Read,
        mode: u32,
    ) -> Result<Staged, PullError> {
        let shown = self.tree.shown(path);
        let name = self.fresh();
        let refused = PullError::host("write", &shown);
        point().map_err(&refused)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = open_beneath(&self.stage, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(&refused)?);
        let mut sha256 = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from
                .read(&mut buffer)
                .map_err(|_| PullError::Moved(shown.clone()))?;
            if count == 0 {
                break;
            }
            size += count as u64;
            self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
                let limit = self.limit;
                let path = shown.clone();
                PullError::TooLarge { path, limit }
            })?;
            sha256.update(&buffer[..count]);
            let written = file.write_all(&buffer[..count]);
            written.map_err(PullError::io("write", &shown))?;
        }
        if let Ok((folder, last)) = self.tree.parent(path)
            && let Ok(Some(old)) = at(&folder, last)
        {
            // A courtesy: who may not give files away keeps them.
            let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            let _kept = fchown(&file, Some(uid), Some(gid));
        }
        let mode = mode & BITS;
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(&refused)?;
        let inode = fstat(&file).map_err(&refused)?.st_ino;
        let sha256 = Digest(sha256.finalize().into());
        Ok(Staged {
            name,
            inode,
            node: Node::File { mode, size, sha256 },
        })
    }

    /// Puts a link on the stage.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<Staged, PullError> {
        let name = self.fresh();
        let made = point()
            .and_then(|()| symlinkat(target, &self.stage, name.as_str()))
            .and_then(|()| at(&self.stage, name.as_bytes())?.ok_or(Errno::NOENT));
        let stat = made.map_err(PullError::host("link", &self.tree.shown(path)))?;
        Ok(Staged {
            name,
            inode: stat.st_ino,
            node: Node::Link {
                target: Bytes::from(target),
            },
        })
    }

    /// Makes all changes, in their order, and writes what is to be written then; or takes all back.
    ///
    /// # Errors
    /// Where a change cannot be made, or something is not what it was.
    pub fn run(
        mut self,
        changes: &[Change],
        afterwards: Option<&Afterwards>,
    ) -> Result<Brought, Box<NotBrought>> {
        let done = self.apply(changes);
        let done = done.and_then(|stayed| self.commit(afterwards).map(|()| stayed));
        match done {
            Ok(stayed) => Ok(Brought {
                stayed,
                uncleared: self.finish().err(),
            }),
            Err(why) => Err(self.not_brought(why)),
        }
    }

    /// Takes all back, for a reason.
    pub fn not_brought(self, why: PullError) -> Box<NotBrought> {
        let stage = self.tree.path().join(&self.stage_name);
        let (left, stuck) = match self.take_back() {
            Ok(left) => (left, None),
            Err(stuck) => (Vec::new(), Some(stuck)),
        };
        Box::new(NotBrought {
            why,
            left,
            stage,
            stuck,
        })
    }

    /// Returns the directories that stayed because something else is in them.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Vec<u8>>, PullError> {
        let mut stayed = Vec::new();
        // Whose permissions wait until everything is in them.
        let mut modes = Vec::new();
        for change in changes {
            match change {
                Change::Remove { path, was } => self.take(path, was)?,
                Change::RemoveDirectory { path, may_stay } => {
                    if !self.take_directory(path)? {
                        if !may_stay {
                            return Err(PullError::Changed(self.tree.shown(path)));
                        }
                        stayed.push(path.clone());
                    }
                }
                Change::MakeDirectory { path, mode } => {
                    self.make_directory(path)?;
                    modes.push((path, *mode));
                }
                Change::Put { path, staged, was } => self.put(path, staged, was)?,
                Change::Mode { path, mode } => modes.push((path, *mode)),
            }
        }
        for (path, mode) in modes.into_iter().rev() {
            self.mode(path, mode)?;
        }
        Ok(stayed)
    }

    fn note(&mut self, record: Record) -> Result<(), PullError> {
        let noted = PullError::io("note the pull in", &self.folder);
        point().map_err(|errno| noted(errno.into()))?;
        self.log.append(&record).map_err(noted)?;
        self.records.push(record);
        Ok(())
    }

    /// The directory that a path lies in; what is missing of it is made.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), PullError> {
        match self.tree.parent(path) {
            Err(Errno::NOENT) => {
                let (above, _) = split(path);
                self.make_directory(above)?;
                self.mode(above, USUAL)?;
                self.tree.parent(path)
            }
            done => done,
        }
        .map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR | Errno::NOENT => PullError::Changed(self.tree.shown(path)),
            errno => PullError::host("write", &self.tree.shown(path))(errno),
        })
    }

    fn take(&mut self, path: &[u8], was: &Node) -> Result<(), PullError> {
        let shown = self.tree.shown(path);
        let (folder, last) = self.parent(path)?;
        let name = self.fresh();
        self.note(Record::Taken {
            path: Bytes::from(path),
            name: name.clone(),
        })?;
        let taken = point().and_then(|()| shift((&folder, last), (&self.stage, name.as_bytes())));
        match taken {
            Err(Errno::NOENT) => return Err(PullError::Changed(shown)),
            done => done.map_err(PullError::host("remove", &shown))?,
        }
        self.is_still(&name, was, shown)
    }

    /// What came to the stage is what was to be replaced.
    fn is_still(&self, name: &str, was: &Node, shown: PathBuf) -> Result<(), PullError> {
        match look(&self.stage, name.as_bytes()) {
            Ok(node) if node == *was => Ok(()),
            Ok(_) => Err(PullError::Changed(shown)),
            Err(errno) => Err(PullError::host("look at", &shown)(errno)),
        }
    }

    /// Whether it went.
    fn take_directory(&mut self, path: &[u8]) -> Result<bool, PullError> {
        let shown = self.tree.shown(path);
        let (folder, last) = self.parent(path)?;
        let refused = PullError::host("remove", &shown);
        match is_empty(&folder, last) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(Errno::NOENT) => return Ok(true),
            Err(errno) => return Err(refused(errno)),
        }
        let name = self.fresh();
        self.note(Record::Taken {
            path: Bytes::from(path),
            name: name.clone(),
        })?;
        let taken = point().and_then(|()| shift((&folder, last), (&self.stage, name.as_bytes())));
        taken.map_err(&refused)?;
        match is_empty(&self.stage, name.as_bytes()) {
            Ok(true) => Ok(true),
            Ok(false) => Err(PullError::Changed(shown)),
            Err(errno) => Err(refused(errno)),
        }
    }

    fn make_directory(&mut self, path: &[u8]) -> Result<(), PullError> {
        let shown = self.tree.shown(path);
        let (folder, last) = self.parent(path)?;
        let refused = PullError::host("make", &shown);
        let name = self.fresh();
        let made = point()
            .and_then(|()| mkdirat(&self.stage, name.as_str(), Mode::RWXU))
            .and_then(|()| at(&self.stage, name.as_bytes())?.ok_or(Errno::NOENT));
        let inode = made.map_err(&refused)?.st_ino;
        self.note(Record::Made {
            path: Bytes::from(path),
            name: name.clone(),
            inode,
        })?;
        match point().and_then(|()| shift((&self.stage, name.as_bytes()), (&folder, last))) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => Err(PullError::Changed(shown)),
            done => done.map_err(refused),
        }
    }

    fn put(&mut self, path: &[u8], staged: &Staged, was: &Node) -> Result<(), PullError> {
        let shown = self.tree.shown(path);
        let (folder, last) = self.parent(path)?;
        let refused = PullError::host("write", &shown);
        let Staged { name, inode, node } = staged;
        let place = Record::Placed {
            path: Bytes::from(path),
            name: name.clone(),
            node: node.clone(),
        };
        if *was != Node::Absent {
            self.note(Record::Exchanged {
                path: Bytes::from(path),
                name: name.clone(),
                inode: *inode,
                node: node.clone(),
            })?;
            let swapped =
                point().and_then(|()| exchange(&self.stage, name.as_bytes(), &folder, last));
            match swapped {
                Ok(()) => return self.is_still(name, was, shown),
                Err(Errno::NOENT) => return Err(PullError::Changed(shown)),
                // In two steps, then. The record says that the new one lies on the stage, so nothing was done.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.take(path, was)?,
                Err(errno) => return Err(refused(errno)),
            }
        }
        self.note(place)?;
        match point().and_then(|()| shift((&self.stage, name.as_bytes()), (&folder, last))) {
            Err(Errno::EXIST) => Err(PullError::Changed(shown)),
            done => done.map_err(refused),
        }
    }

    fn mode(&mut self, path: &[u8], mode: u32) -> Result<(), PullError> {
        let shown = self.tree.shown(path);
        let (folder, last) = self.parent(path)?;
        let refused = PullError::host("change the permissions of", &shown);
        let stat = at(&folder, last).map_err(&refused)?;
        let Some(stat) = stat.filter(journal::is_directory) else {
            return Err(PullError::Changed(shown));
        };
        self.note(Record::Mode {
            path: Bytes::from(path),
            inode: stat.st_ino,
            mode: stat.st_mode & BITS,
        })?;
        point()
            .and_then(|()| set_mode(&folder, last, mode))
            .map_err(refused)
    }

    /// Makes the changes final, and writes what is to be written then.
    ///
    /// # Errors
    /// Where the state directory refuses: then everything waits for [`Writer::take_back`].
    fn commit(&mut self, afterwards: Option<&Afterwards>) -> Result<(), PullError> {
        let noted = PullError::io("note the pull in", &self.folder);
        if let Some(afterwards) = afterwards {
            let text = serde_json::to_vec(afterwards).map_err(|error| noted(error.into()))?;
            point().map_err(|errno| noted(errno.into()))?;
            replace_file(&self.folder.join("afterwards"), &text).map_err(&noted)?;
        }
        point().map_err(|errno| noted(errno.into()))?;
        fs::rename(self.folder.join("journal"), self.folder.join("done")).map_err(noted)
    }

    /// What is left to do once it is final: another process does it where this one is killed.
    ///
    /// # Errors
    /// Where the state directory or the host refuses; the changes are made all the same.
    fn finish(self) -> Result<(), PullError> {
        finish(self.tree, &self.folder, &self.stage_name)
    }

    /// Makes the directory what it was. Returns the paths that somebody has changed meanwhile, which stay as they are.
    ///
    /// # Errors
    /// Where the host refuses even that: then the next command tries again.
    fn take_back(self) -> Result<Vec<PathBuf>, PullError> {
        let Self {
            tree,
            folder,
            stage,
            stage_name,
            records,
            ..
        } = self;
        take_back(tree, &stage, &records)
            .and_then(|left| taken_back(tree, &folder, &stage_name, left))
    }
}

fn make_stage(tree: &HostTree, name: &str) -> Result<OwnedFd, Errno> {
    point()?;
    mkdirat(&tree.root, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let stage = open_beneath(&tree.root, name.as_bytes(), flags, Mode::empty())?;
    // For a moment it lies in a working tree; who looks at that just then need not see it.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let ignored = open_beneath(&stage, b".gitignore", flags, Mode::RUSR | Mode::WUSR)?;
    let _unseen = File::from(ignored).write_all(b"*\n");
    Ok(stage)
}

pub(super) fn take_back(
    tree: &HostTree,
    stage: &OwnedFd,
    records: &[Record],
) -> Result<Vec<Vec<u8>>, PullError> {
    let undone = undo(tree, stage, records);
    match undone.refused {
        None => Ok(undone.left),
        Some((errno, path)) => Err(PullError::NotTakenBack {
            path: tree.shown(&path),
            stage: stage_of(tree, records),
            source: errno.into(),
        }),
    }
}

fn stage_of(tree: &HostTree, records: &[Record]) -> PathBuf {
    match records.first() {
        Some(Record::Begin { stage, .. }) => tree.path().join(stage),
        Some(_) | None => tree.path().to_owned(),
    }
}

/// Notes that all is back, and clears up.
pub(super) fn taken_back(
    tree: &HostTree,
    folder: &Path,
    stage: &str,
    left: Vec<Vec<u8>>,
) -> Result<Vec<PathBuf>, PullError> {
    if left.is_empty() {
        // From here on nothing is taken for ours any more, whatever its inode.
        let noted = PullError::io("note the pull in", folder);
        point().map_err(|errno| noted(errno.into()))?;
        fs::rename(folder.join("journal"), folder.join("undone")).map_err(noted)?;
    }
    clear(tree, folder, stage, left)
}

/// Removes stage and journal. A stage with things that could not be put back stays where it is.
pub(super) fn clear(
    tree: &HostTree,
    folder: &Path,
    stage: &str,
    left: Vec<Vec<u8>>,
) -> Result<Vec<PathBuf>, PullError> {
    if left.is_empty() {
        let refused = PullError::io("remove", &tree.path().join(stage));
        point().map_err(|errno| refused(errno.into()))?;
        remove_tree_at(&tree.root, stage.as_bytes()).map_err(refused)?;
    }
    let refused = PullError::io("remove", folder);
    point().map_err(|errno| refused(errno.into()))?;
    fs::remove_dir_all(folder).map_err(refused)?;
    if let Some(pulls) = folder.parent() {
        // Where it was the only one.
        let _others = fs::remove_dir(pulls);
    }
    Ok(left.iter().map(|path| tree.shown(path)).collect())
}

/// Does what is left of a pull that is final.
pub(super) fn finish(tree: &HostTree, folder: &Path, stage: &str) -> Result<(), PullError> {
    let noted = PullError::io("note what was pulled, in", folder);
    point().map_err(|errno| noted(errno.into()))?;
    write_afterwards(folder).map_err(noted)?;
    clear(tree, folder, stage, Vec::new()).map(drop)
}

fn write_afterwards(folder: &Path) -> std::io::Result<()> {
    let text = match fs::read(folder.join("afterwards")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        done => done?,
    };
    let Afterwards { path, text } = serde_json::from_slice(&text)?;
    // A workspace that was deleted meanwhile remembers nothing.
    match path.parent() {
        Some(parent) if parent.is_dir() => replace_file(&path, text.as_bytes()),
        Some(_) | None => Ok(()),
    }
}
