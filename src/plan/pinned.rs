//! What a copy of the seed, or of what a `sync` names, must be, where somebody approved the plan: whoever changes the seed while it is copied must
//! not change what runs.

use crate::preflight::{Input, InputKind, SeedListing, sync_name};
use crate::request::Digest;
use std::collections::HashMap;

/// What a path of a seed is, as a copy of it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinnedKind {
    /// With these permission bits.
    File(u32),
    /// With these permission bits.
    Directory(u32),
    /// Its digest is that of its target.
    Link,
}

impl PinnedKind {
    /// As an [`Input`] says it.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::File(mode) => format!("file {:04o}", mode & 0o777),
            Self::Directory(mode) => format!("directory {:04o}", mode & 0o1777),
            Self::Link => "link".to_owned(),
        }
    }
}

/// Of all that the seed among these inputs fills a workspace with.
pub(crate) fn seed_contents(inputs: &[Input]) -> Digest {
    let lines = inputs
        .iter()
        .filter(|input| input.kind == InputKind::Seed && &input.name[..] != b".")
        .filter(|input| is_filled(input))
        .map(|input| line(&input.name, &input.is, input.digest));
    digest(lines.collect())
}

/// Of all that a `sync` lays over the workspace, as these inputs say it: `listing` is what it takes of `from`.
pub(crate) fn sync_contents(inputs: &[Input], from: &str, listing: &SeedListing) -> Digest {
    let known: HashMap<&[u8], &Input> = (inputs.iter())
        .filter(|input| input.kind == InputKind::Sync)
        .map(|input| (&input.name[..], input))
        .collect();
    let lines = listing.entries.iter().filter_map(|entry| {
        let input = known.get(&sync_name(from, &entry.path)[..])?;
        is_filled(input).then(|| line(&entry.path, &input.is, input.digest))
    });
    digest(lines.collect())
}

/// Whether it comes into a workspace.
fn is_filled(input: &Input) -> bool {
    let filled = ["file ", "directory ", "link"];
    filled.iter().any(|kind| input.is.starts_with(kind))
}

/// Of a workspace that was filled: each path, what it is, and the sha256 of its contents.
pub fn contents<'a>(entries: impl Iterator<Item = (&'a [u8], PinnedKind, [u8; 32])>) -> Digest {
    let lines = entries.map(|(path, kind, sha256)| {
        let sha256 = match kind {
            PinnedKind::File(_) | PinnedKind::Link => Some(Digest(sha256)),
            PinnedKind::Directory(_) => None,
        };
        line(path, &kind.shown(), sha256)
    });
    digest(lines.collect())
}

fn line(path: &[u8], is: &str, digest: Option<Digest>) -> Vec<u8> {
    let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
    [path, b"\0", is.as_bytes(), b"\0", digest.as_bytes(), b"\n"].concat()
}

fn digest(mut lines: Vec<Vec<u8>>) -> Digest {
    lines.sort();
    Digest::of(&lines.concat())
}
