//! What a workspace's files were when it was made.

use pyro_protocol::manifest::{Entry, Manifest};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The baseline of a workspace: what each path was, and its contents where they were kept.
#[derive(Debug)]
pub struct Baseline {
    manifest: Manifest,
    pack: Option<File>,
}

impl Baseline {
    /// From a manifest, and the pack file that its offsets point into.
    pub fn new(manifest: Manifest, pack: Option<File>) -> Self {
        Self { manifest, pack }
    }

    /// Everything that was there, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.manifest.entries
    }

    /// What was at a path.
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        self.manifest.get(path)
    }

    /// The contents of a file (of a link: its target) as they were.
    ///
    /// # Errors
    /// Where nothing was there, contents were not kept, or the disk refuses.
    pub fn contents(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (Some(entry), Some(pack)) = (self.manifest.get(path), &self.pack) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let size = usize::try_from(entry.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; size];
        pack.read_exact_at(&mut bytes, entry.pack_offset)?;
        Ok(bytes)
    }
}
