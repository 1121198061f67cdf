//! What a workspace's files were when it was made.

use pyro_protocol::manifest::{Entry, Manifest};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The baseline of a workspace: what each path was, and its contents where they were kept.
#[derive(Debug, Default)]
pub struct Baseline {
    manifest: Manifest,
    pack: Option<File>,
}

impl Baseline {
    /// From a manifest, and the pack file that its offsets point into.
    pub fn new(manifest: Manifest, pack: Option<File>) -> Self {
        Self { manifest, pack }
    }

    /// Reads it from the folder of a workspace: `baseline`, and `pack` where contents were kept. Without a file it
    /// is that of an empty workspace.
    ///
    /// # Errors
    /// Where a file cannot be read, or is no manifest.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let manifest = match fs::read(folder.join("baseline")) {
            Ok(bytes) => Manifest::decode(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(error) => return Err(error),
        };
        let pack = match File::open(folder.join("pack")) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { manifest, pack })
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
    /// Where nothing was there, contents were not kept or are not what they were, or the disk refuses.
    pub fn contents(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (Some(entry), Some(pack)) = (self.manifest.get(path), &self.pack) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let size = usize::try_from(entry.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; size];
        pack.read_exact_at(&mut bytes, entry.pack_offset)?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != entry.sha256 {
            return Err(io::Error::other("the contents that were kept are damaged"));
        }
        Ok(bytes)
    }
}
