//! Everything outside of a request that a plan rests on, each with a digest: what a saved plan compares with later.
//!
//! Reads more than a plan needs: every file of the seed, so that a change that keeps the size is seen too. What is
//! shown inside as it is (exposed directories, a `dir:` environment) is taken by its listing: paths, kinds, modes,
//! sizes, times and link targets.

use super::facts::{
    EntryKind, EnvironmentFact, ExportFact, ExposeFact, Facts, FileFact, PullFact, SecretState,
    SeedEntry, SeedFact, TargetFact,
};
use super::file::{kind_word, why};
use crate::request::{Digest, HostVariable};
use pyro_protocol::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Something that a plan rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// What the request wants it for.
    pub kind: InputKind,
    /// As the request spells it; of `seed` the path below the seed, `.` for the seed itself; of `sync` what the step
    /// names, with the path below it.
    pub name: Bytes,
    /// What is there, in words: `file 0644`, `directory 0755`, `nothing at /srv/out/a.txt`.
    pub is: String,
    /// Of its contents, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// The version of pyro itself.
    Pyro,
    /// The file that the request was read from.
    Request,
    /// Something about the host or its user.
    Host,
    /// A host variable that the request reads.
    Variable,
    /// Where a secret comes from.
    Secret,
    /// The system tree.
    Environment,
    /// A host path that is shown inside.
    Expose,
    /// The seed, or something in it.
    Seed,
    /// What a `sync` step names, or something in it.
    Sync,
    /// A host file that the request takes bytes from.
    From,
    /// A host file that a text is held against.
    Golden,
    /// A host path that an export becomes.
    Export,
    /// A host directory that a pull goes into; what is in it is looked at when the step runs.
    Pull,
}

impl InputKind {
    /// As it is written in a saved plan.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pyro => "pyro",
            Self::Request => "request",
            Self::Host => "host",
            Self::Variable => "variable",
            Self::Secret => "secret",
            Self::Environment => "environment",
            Self::Expose => "expose",
            Self::Seed => "seed",
            Self::Sync => "sync",
            Self::From => "from",
            Self::Golden => "golden",
            Self::Export => "export",
            Self::Pull => "pull",
        }
    }
}

impl Input {
    /// An input of a name.
    pub fn new(
        kind: InputKind,
        name: impl Into<Bytes>,
        is: impl Into<String>,
        digest: Option<Digest>,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            is: is.into(),
            digest,
        }
    }
}

/// What the facts of a request are about, with digests; sorted. Reads the contents of the seed now.
pub fn inputs(facts: &Facts) -> Vec<Input> {
    let mut out = Vec::new();
    for (name, fact) in &facts.variables {
        let (is, digest) = match fact {
            HostVariable::Text(text) => ("set", Some(Digest::of(text.as_bytes()))),
            HostVariable::Unset => ("not set", None),
            HostVariable::NotText => ("not UTF-8", None),
        };
        out.push(Input::new(InputKind::Variable, name.as_str(), is, digest));
    }
    for (name, fact) in &facts.secrets {
        // No digest: whoever reads the saved plan could try values against it.
        let is = match (&fact.state, &fact.path) {
            (SecretState::Ready, None) => "set".to_owned(),
            (SecretState::Missing, None) => "not set".to_owned(),
            (SecretState::Ready, Some(path)) => format!("file at {}", path.display()),
            (SecretState::Missing, Some(path)) => format!("nothing at {}", path.display()),
            (SecretState::Later, _) => "read when it is needed".to_owned(),
            (SecretState::NoHome, _) => "no home is known".to_owned(),
            (SecretState::Unreadable(why), _) => format!("unreadable: {why}"),
            (SecretState::Unfit { why, .. }, _) => format!("a value that {why}"),
        };
        out.push(Input::new(InputKind::Secret, name.as_str(), is, None));
    }
    for (name, fact) in &facts.from {
        let (is, digest) = file(fact);
        out.push(Input::new(InputKind::From, name.as_str(), is, digest));
    }
    for (name, fact) in &facts.goldens {
        let (is, digest) = file(&fact.content);
        out.push(Input::new(InputKind::Golden, name.as_str(), is, digest));
    }
    if let Some(fact) = &facts.environment {
        let (is, digest) = match fact {
            EnvironmentFact::Missing => ("nothing".to_owned(), None),
            EnvironmentFact::NotADirectory => ("no directory".to_owned(), None),
            EnvironmentFact::Unreadable(why) => (format!("unreadable: {why}"), None),
            EnvironmentFact::Directory { path, .. } => {
                let (kind, digest) = listing(path);
                (format!("{kind} at {}", path.display()), digest)
            }
        };
        out.push(Input::new(InputKind::Environment, "dir", is, digest));
    }
    for (name, fact) in &facts.expose {
        let (is, digest) = match fact {
            ExposeFact::NoHome => ("no home is known".to_owned(), None),
            ExposeFact::Missing(path) => (format!("nothing at {}", path.display()), None),
            ExposeFact::Unreadable(why) => (format!("unreadable: {why}"), None),
            ExposeFact::Found { path, .. } => {
                let (kind, digest) = listing(path);
                (format!("{kind} at {}", path.display()), digest)
            }
        };
        out.push(Input::new(InputKind::Expose, name.as_str(), is, digest));
    }
    for (name, fact) in &facts.exports {
        out.push(export(name, fact));
    }
    for (name, fact) in &facts.pulls {
        let is = match fact {
            PullFact::Missing => "nothing".to_owned(),
            PullFact::NotADirectory => "no directory".to_owned(),
            PullFact::Unreadable(why) => format!("unreadable: {why}"),
            PullFact::Directory { path, .. } => format!("directory at {}", path.display()),
        };
        out.push(Input::new(InputKind::Pull, name.as_str(), is, None));
    }
    if let Some(fact) = &facts.seed {
        source(fact, InputKind::Seed, &seed_name, &mut out);
    }
    for sync in &facts.syncs {
        let name = |path: &[u8]| sync_name(&sync.from, path);
        source(&sync.found, InputKind::Sync, &name, &mut out);
    }
    out.sort();
    // Two steps may take different parts of one directory.
    out.dedup();
    out
}

fn file(fact: &FileFact) -> (String, Option<Digest>) {
    match fact {
        FileFact::Content(bytes) => ("file".to_owned(), Some(Digest::of(bytes))),
        FileFact::Missing => ("nothing".to_owned(), None),
        FileFact::NotAFile(kind) => (kind.clone(), None),
        FileFact::Unreadable(why) => (format!("unreadable: {why}"), None),
        FileFact::TooLarge(size) => (format!("file of {size} bytes"), None),
    }
}

fn export(name: &str, fact: &ExportFact) -> Input {
    let (kind, digest) = match &fact.target {
        TargetFact::Missing => ("nothing".to_owned(), None),
        TargetFact::File(_) | TargetFact::Directory => listing(&fact.path),
        TargetFact::Symlink(to) => (format!("link to {}", to.lossy()), Some(Digest::of(to))),
        TargetFact::Other => ("device, socket or pipe".to_owned(), None),
        TargetFact::Unreadable(why) => (format!("unreadable: {why}"), None),
    };
    let is = format!("{kind} at {}", fact.path.display());
    Input::new(InputKind::Export, name, is, digest)
}

/// How something of the seed is called; the seed itself has an empty path.
fn seed_name(path: &[u8]) -> Bytes {
    if path.is_empty() { b"." } else { path }.into()
}

/// How something of what a `sync` step names is called; that itself has an empty path.
pub(crate) fn sync_name(from: &str, path: &[u8]) -> Bytes {
    match path {
        b"" => from.into(),
        path => [from.as_bytes(), b"/", path].concat().into(),
    }
}

fn source(fact: &SeedFact, kind: InputKind, name: &dyn Fn(&[u8]) -> Bytes, out: &mut Vec<Input>) {
    let mut root = |is: String| out.push(Input::new(kind, name(b""), is, None));
    let listing = match fact {
        SeedFact::Missing => return root("nothing".to_owned()),
        SeedFact::NotADirectory => return root("no directory".to_owned()),
        SeedFact::Unreadable(why) => return root(format!("unreadable: {why}")),
        SeedFact::NotAnArchive(why) => return root(format!("no archive: {why}")),
        SeedFact::BadArchive(why) => return root(format!("a bad archive: {why}")),
        SeedFact::Directory(listing) => listing,
    };
    if let Some(archive) = listing.archive {
        let digest = archive.sha256;
        let is = format!("archive at {}", listing.path.display());
        return out.push(Input::new(kind, name(b""), is, Some(digest)));
    }
    root(format!("directory at {}", listing.path.display()));
    for entry in &listing.entries {
        let (is, digest) = seed_entry(&listing.path, entry);
        out.push(Input::new(kind, name(&entry.path), is, digest));
    }
    // The plan lists it, so that it is there is part of what was approved.
    for left in &listing.left_out {
        let is = format!("left out: {}", left.reason);
        out.push(Input::new(kind, name(&left.path), is, None));
    }
}

/// What stands at a path of a seed, and the digest of what it holds.
fn seed_entry(root: &Path, entry: &SeedEntry) -> (String, Option<Digest>) {
    let SeedEntry {
        path,
        kind,
        mode,
        size: _,
        error,
    } = entry;
    match kind {
        EntryKind::File => {
            let bits = mode & 0o777;
            match hash(&root.join(OsStr::from_bytes(path))) {
                Ok(digest) => (format!("file {bits:04o}"), Some(digest)),
                Err(error) => (
                    format!("file {bits:04o}, unreadable: {}", why(&error)),
                    None,
                ),
            }
        }
        EntryKind::Directory => (format!("directory {:04o}", mode & 0o1777), None),
        EntryKind::Symlink(to) => ("link".to_owned(), Some(Digest::of(to))),
        EntryKind::Fifo => ("fifo".to_owned(), None),
        EntryKind::Socket => ("socket".to_owned(), None),
        EntryKind::Device => ("device".to_owned(), None),
        EntryKind::Unknown => (
            format!("not known: {}", error.as_deref().unwrap_or("it went away")),
            None,
        ),
    }
}

/// The sha256 of a regular file, which is no link.
fn hash(path: &Path) -> io::Result<Digest> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
        .bits()
        .cast_signed();
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    read_through(&mut file)
}

fn read_through(file: &mut File) -> io::Result<Digest> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(sha256.finalize().into())),
            Ok(count) => sha256.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What stands at a path, in a word; of a file the digest of its contents, of a directory that of all that is below.
fn listing(path: &Path) -> (String, Option<Digest>) {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return (format!("unreadable: {}", why(&error)), None),
    };
    let kind = kind_word(&meta).to_owned();
    if meta.is_file() {
        return match hash(path) {
            Ok(digest) => (kind, Some(digest)),
            // Nobody reads it but by its place; its size and time have to do.
            Err(_) => {
                let text = format!("{} {}", meta.size(), time(&meta));
                (kind, Some(Digest::of(text.as_bytes())))
            }
        };
    }
    if !meta.is_dir() {
        return (kind, None);
    }
    let mut lines = Vec::new();
    let mut todo = vec![Vec::new()];
    while let Some(dir) = todo.pop() {
        let at = path.join(OsStr::from_bytes(&dir));
        let names = match fs::read_dir(&at) {
            Ok(names) => names,
            Err(error) => {
                lines.push([dir.as_slice(), b"\0unreadable\0", why(&error).as_bytes()].concat());
                continue;
            }
        };
        for entry in names.flatten() {
            let mut below = dir.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.file_name().as_bytes());
            lines.push(line(&entry.path(), &below));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(below);
            }
        }
    }
    lines.sort();
    let mut sha256 = Sha256::new();
    for line in &lines {
        // Names have no NUL, and each line ends with two of them.
        sha256.update(line);
        sha256.update(b"\0\0");
    }
    (kind, Some(Digest(sha256.finalize().into())))
}

fn line(at: &Path, below: &[u8]) -> Vec<u8> {
    let mut line = below.to_vec();
    match fs::symlink_metadata(at) {
        Ok(meta) => {
            let kind = kind_word(&meta);
            line.extend_from_slice(format!("\0{kind} {:o}", meta.mode() & 0o7777).as_bytes());
            if meta.is_symlink() {
                let target = fs::read_link(at).unwrap_or_default();
                line.push(b' ');
                line.extend_from_slice(&target.into_os_string().into_vec());
            } else if meta.is_file() {
                line.extend_from_slice(format!(" {} {}", meta.size(), time(&meta)).as_bytes());
            }
        }
        Err(error) => line.extend_from_slice(format!("\0{}", why(&error)).as_bytes()),
    }
    line
}

fn time(meta: &fs::Metadata) -> String {
    format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())
}
