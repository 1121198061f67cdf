//! `tar.out`: a file or directory as an archive.
//!
//! Modes and whole-second times are kept, links stay links, the second name of a file becomes a hard link. Owner and
//! group are root, as programs see them. Sockets, FIFOs and devices are left out, and said to be.

use super::walk::{self, Depth, Found, LeftOut};
use super::{World, agent_failure, stat};
use crate::serve::port::Port;
use crate::serve::streams::Output;
use crate::tree::{self, Links, kernel};
use pyro_protocol::message::{Failure, FailureCode, Kind, Records, Reply, TarOut};
use rustix::fs::{self, OFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use tar::{Builder, EntryType, Header};

/// Files with several names that are remembered; more are packed as files of their own.
const LINKS_LIMIT: usize = 200_000;
/// What fits into a header's own field.
const LINK_NAME: usize = 100;

/// Sends the archive.
///
/// # Errors
/// Where there is no such path inside the tree.
pub(super) fn pack(world: &World, port: &Port, op: &TarOut) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    let doing = |errno| kernel(errno, "pack", &path);
    let (top, target) = stat::look(world, &path)?;
    let there = tree::kind(&top);
    // Somebody may have put it there since the host looked.
    if op.kind.is_some_and(|wanted| wanted != there) {
        let (code, what) = match there {
            Kind::Symlink => (FailureCode::Symlink, "a link has taken its place"),
            Kind::File | Kind::Directory | Kind::Other => {
                (FailureCode::WrongKind, "something else has taken its place")
            }
        };
        return Err(Failure {
            path: Some(path.as_slice().into()),
            ..tree::refusal(code, format!("pack: {what}"))
        });
    }
    let parent = tree::split(&path).map_or(&b""[..], |(parent, _)| parent);
    let name = tree::split(&path).map_or(&b"."[..], |(_, name)| name);
    let parent = tree::open(
        &world.tree,
        parent,
        OFlags::PATH | OFlags::DIRECTORY,
        Links::Inside,
    )
    .map_err(doing)?;
    let mut packer = Packer {
        root: parent,
        archive: Builder::new(Output::new(port)),
        port,
        seen: HashMap::new(),
        records: Records::default(),
        left_out: LeftOut::default(),
    };
    if tree::kind(&top) == Kind::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        packer.root = tree::open(&packer.root, name, flags, Links::Refuse).map_err(doing)?;
        let root: OwnedFd = packer
            .root
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| agent_failure("pack", &error))?;
        walk::walk(&root, Depth::All, &mut |found| packer.add(found))?;
    } else {
        packer.add(&Found {
            path: name,
            kind: tree::kind(&top),
            stat: &top,
            target: target.as_deref(),
        })?;
    }
    let Packer {
        archive,
        records,
        left_out,
        ..
    } = packer;
    archive
        .into_inner()
        .map_err(|error| failed(port, &error))?
        .finish()?;
    Ok(Reply::Records(Records {
        left_out: left_out.paths,
        ..records
    }))
}

fn failed(port: &Port, error: &io::Error) -> Failure {
    port.check()
        .err()
        .unwrap_or_else(|| agent_failure("pack", error))
}

struct Packer<'a> {
    root: OwnedFd,
    archive: Builder<Output<'a>>,
    port: &'a Port,
    /// First name of each file that has several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    records: Records,
    left_out: LeftOut,
}

impl Packer<'_> {
    fn add(&mut self, found: &Found<'_>) -> Result<(), Failure> {
        self.port.check()?;
        let mut header = Header::new_gnu();
        header.set_mode(tree::mode(found.stat));
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(found.stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        let result = match found.kind {
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                self.put(header, found.path, None, io::empty())
            }
            Kind::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                self.put(header, found.path, found.target, io::empty())
            }
            Kind::File => match self.first_name(found) {
                Some(first) => {
                    header.set_entry_type(EntryType::Link);
                    self.put(header, found.path, Some(&first), io::empty())
                }
                None => {
                    let Some(file) = walk::open_found(&self.root, found) else {
                        self.left_out.add(found.path);
                        return Ok(());
                    };
                    let size = fs::fstat(&file).map_or(0, |stat| tree::size(&stat));
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(size);
                    self.records.bytes += size;
                    self.put(header, found.path, None, Exactly { file, left: size })
                }
            },
            Kind::Other => {
                self.left_out.add(found.path);
                return Ok(());
            }
        };
        self.records.entries += 1;
        result.map_err(|error| failed(self.port, &error))
    }

    /// The name under which a file is in the archive already.
    fn first_name(&mut self, found: &Found<'_>) -> Option<Vec<u8>> {
        if found.stat.st_nlink < 2 {
            return None;
        }
        let key = (found.stat.st_dev, found.stat.st_ino);
        if let Some(first) = self.seen.get(&key) {
            return Some(first.clone());
        }
        if self.seen.len() < LINKS_LIMIT {
            self.seen.insert(key, found.path.to_vec());
        }
        None
    }

    fn put(
        &mut self,
        mut header: Header,
        path: &[u8],
        target: Option<&[u8]>,
        data: impl Read,
    ) -> io::Result<()> {
        if let Some(target) = target {
            // Literally: a link's target must come back byte by byte.
            if target.len() > LINK_NAME {
                let mut long = Header::new_gnu();
                long.set_entry_type(EntryType::GNULongLink);
                long.set_path("././@LongLink")?;
                long.set_size(target.len() as u64 + 1);
                long.set_cksum();
                self.archive.append(&long, target.chain(&b"\0"[..]))?;
            }
            header.set_link_name_literal(&target[..target.len().min(LINK_NAME)])?;
        }
        self.archive
            .append_data(&mut header, OsStr::from_bytes(path), data)
    }
}

/// As many bytes as the header says, whatever happens to the file meanwhile.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut count = self.file.read(&mut buffer[..want])?;
        if count == 0 {
            buffer[..want].fill(0);
            count = want;
        }
        self.left -= count as u64;
        Ok(count)
    }
}
