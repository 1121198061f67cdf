//! Making a tree what it should be: first files on the stage, then everything else.

use super::super::mark::broken;
use super::super::mark::known;
use super::super::pack::Pack;
use super::super::store::{Known, Mark, Which};
use super::super::{World, agent_failure, layer};
use super::dress::{dress, dress_at, shift};
use super::todo::{State, Todo};
use super::{Parent, Place, last, parent, passes};
use crate::tree::{self, Links, failure, kernel};
use pyro_protocol::frame::CHUNK;
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::{Failure, FailureCode, Kind, Records};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::Digest as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

impl Todo {
    /// Makes every file that has to come, with its mode and times, where nobody looks.
    pub(super) fn stage(
        &mut self,
        world: &World,
        place: &Place<'_>,
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
            let mut sha256 = sha2::Sha256::new();
            while done < wanted.entry.size {
                let left = usize::try_from(wanted.entry.size - done).unwrap_or(usize::MAX);
                let piece = &mut buffer[..left.min(CHUNK)];
                pack.read(&wanted.entry, done, piece)
                    .and_then(|()| file.write_all(piece))
                    .map_err(|error| agent_failure("stage", &error))?;
                sha256.update(&*piece);
                done += piece.len() as u64;
            }
            if <[u8; 32]>::from(sha256.finalize()) != wanted.entry.sha256 {
                let message = "stage: the contents that were kept are damaged";
                return Err(failure(FailureCode::Io, message, &wanted.entry.path));
            }
            dress(&file, wanted).map_err(doing)?;
            self.staged.insert(index, name);
        }
        Ok(())
    }

    /// Makes the tree what the target says.
    pub(super) fn run(
        &mut self,
        world: &World,
        place: &Place<'_>,
        target: &Mark,
        records: &mut Records,
    ) -> Result<(), Failure> {
        let root = &place.root;
        let pack = Pack::open(world).map_err(|error| broken(&error))?;
        self.open_up(root, target);
        let mut parents = Parent::new(root);
        for (serial, path) in self.extra.iter().enumerate() {
            passes(path)?;
            let away = format!("x{serial}");
            (parents.of(path))
                .and_then(|dir| shift(dir, last(path), &place.corner, away.as_bytes()))
                .map_err(|errno| kernel(errno, "remove", path))?;
            records.entries += 1;
        }
        let mut parents = Parent::new(root);
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
            let dir = parents.of(path).map_err(doing)?;
            let name = last(path);
            match wanted.entry.kind {
                Kind::Directory => {
                    fs::mkdirat(dir, name, Mode::RWXU).map_err(doing)?;
                    self.touched.insert(path.to_vec());
                }
                Kind::Symlink => {
                    let mut text = vec![0; usize::try_from(wanted.entry.size).unwrap_or(0)];
                    pack.read(&wanted.entry, 0, &mut text)
                        .map_err(|error| broken(&error))?;
                    fs::symlinkat(text.as_slice(), dir, name).map_err(doing)?;
                    dress_at(dir, name, wanted).map_err(doing)?;
                }
                Kind::File => match self.staged.get(&index) {
                    Some(staged) => {
                        fs::renameat(&place.corner, staged.as_str(), dir, name).map_err(doing)?;
                        records.bytes += wanted.entry.size;
                    }
                    None => {
                        let leader = self.leaders.get(&wanted.entry.inode).copied();
                        let leader = leader.and_then(|leader| target.paths.get(leader));
                        let from = leader.map_or(&b""[..], |leader| &leader.entry.path);
                        parent(root, from)
                            .and_then(|above| {
                                let flags = AtFlags::empty();
                                fs::linkat(&above, last(from), dir, name, flags)
                            })
                            .map_err(doing)?;
                    }
                },
                Kind::Other => layer::make_whiteout(dir, name).map_err(doing)?,
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
        let top;
        let now = match self.now.get(index).and_then(Option::as_ref) {
            Some(now) => now,
            None => {
                let found = known(path, &fs::fstat(root)?);
                let size = wanted.entry.size;
                top = Known {
                    entry: Entry {
                        size,
                        ..found.entry
                    },
                    ..found
                };
                &top
            }
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
}
