//! The baseline of a work tree: what each path was when the workspace was made.
//!
//! A compact binary form, because it is read on every diff of a tree of many thousand files. Little-endian:
//! the magic `pyrobase`, u32 version 1, i64 time (ns) when the baseline was complete, then entries sorted by path
//! (bytewise), each: u32 path length, path, u8 kind, u32 mode, u64 size, i64 mtime ns, i64 ctime ns, u64 inode,
//! 32 bytes sha256, u64 offset of the contents in the pack file that lies beside the manifest.

use crate::message::Kind;

const MAGIC: &[u8; 8] = b"pyrobase";
const VERSION: u32 = 1;

/// The baseline as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// When the tree was complete, in nanoseconds since 1970. A path whose ctime is not older than this by more
    /// than a clock tick must be compared by content: it may have changed within the same tick.
    pub complete_ns: i64,
    /// Sorted by path.
    pub entries: Vec<Entry>,
}

/// One path of the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the tree.
    pub path: Vec<u8>,
    /// What it is. Never [`Kind::Other`].
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of contents (of a link: of its target; of a directory: 0).
    pub size: u64,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Status change time, in nanoseconds since 1970. Cannot be set from inside.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Of the contents; zeros for a directory.
    pub sha256: [u8; 32],
    /// Where the contents begin in the pack.
    pub pack_offset: u64,
}

/// Bytes that are not a manifest of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAManifest;

impl std::fmt::Display for NotAManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a baseline manifest of version 1")
    }
}

impl std::error::Error for NotAManifest {}

impl Manifest {
    /// The manifest as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.complete_ns.to_le_bytes());
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        out
    }

    /// Reads what [`Manifest::encode`] wrote.
    ///
    /// # Errors
    /// Where the bytes are cut off or something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAManifest> {
        let mut rest = Rest(bytes);
        if rest.take(8)? != MAGIC || rest.u32()? != VERSION {
            return Err(NotAManifest);
        }
        let complete_ns = rest.i64()?;
        let mut entries = Vec::new();
        while !rest.0.is_empty() {
            entries.push(Entry::decode(&mut rest.0)?);
        }
        Ok(Self {
            complete_ns,
            entries,
        })
    }

    /// The entry of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.path.as_slice().cmp(path))
            .ok()?;
        self.entries.get(index)
    }
}

impl Entry {
    /// Takes an entry from the front of `bytes`.
    ///
    /// # Errors
    /// Where the bytes are cut off or something else.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, NotAManifest> {
        let mut rest = Rest(bytes);
        let path_len = rest.u32()? as usize;
        let entry = Self {
            path: rest.take(path_len)?.to_vec(),
            kind: match rest.take(1)?[0] {
                0 => Kind::File,
                1 => Kind::Directory,
                2 => Kind::Symlink,
                3 => Kind::Other,
                _ => return Err(NotAManifest),
            },
            mode: rest.u32()?,
            size: rest.u64()?,
            mtime_ns: rest.i64()?,
            ctime_ns: rest.i64()?,
            inode: rest.u64()?,
            sha256: rest.take(32)?.try_into().map_err(|_| NotAManifest)?,
            pack_offset: rest.u64()?,
        };
        *bytes = rest.0;
        Ok(entry)
    }

    /// Appends the entry to a manifest's bytes: a large one can be sent without being held.
    ///
    /// # Panics
    /// Where the path is longer than 4 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            path,
            kind,
            mode,
            size,
            mtime_ns,
            ctime_ns,
            inode,
            sha256,
            pack_offset,
        } = self;
        let path_len = u32::try_from(path.len()).expect("paths are shorter than 4 GiB");
        out.extend_from_slice(&path_len.to_le_bytes());
        out.extend_from_slice(path);
        out.push(match kind {
            Kind::File => 0,
            Kind::Directory => 1,
            Kind::Symlink => 2,
            Kind::Other => 3,
        });
        out.extend_from_slice(&mode.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&mtime_ns.to_le_bytes());
        out.extend_from_slice(&ctime_ns.to_le_bytes());
        out.extend_from_slice(&inode.to_le_bytes());
        out.extend_from_slice(sha256);
        out.extend_from_slice(&pack_offset.to_le_bytes());
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotAManifest> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NotAManifest)?;
        self.0 = rest;
        Ok(taken)
    }
    fn u32(&mut self) -> Result<u32, NotAManifest> {
        Ok(u32::from_le_bytes(
            self.take(4)?.try_into().map_err(|_| NotAManifest)?,
        ))
    }
    fn u64(&mut self) -> Result<u64, NotAManifest> {
        Ok(u64::from_le_bytes(
            self.take(8)?.try_into().map_err(|_| NotAManifest)?,
        ))
    }
    fn i64(&mut self) -> Result<i64, NotAManifest> {
        Ok(i64::from_le_bytes(
            self.take(8)?.try_into().map_err(|_| NotAManifest)?,
        ))
    }
}
