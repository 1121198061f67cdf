//! What is copied from the host into the workspace: a directory or an archive, by its listing.

use super::{LeftOut, PlannedSeed, Problem, ProblemCode, text};
use crate::preflight::{EntryKind, MAX_LEFT_OUT, SeedEntry, SeedFact};
use crate::request::{Digest, Pointer};

/// How many unreadable paths are named.
const NAMED: usize = 10;

/// What the request says of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) shown: &'a str,
    pub(super) exclude: &'a [String],
    pub(super) respect_gitignore: bool,
}

/// How what is wrong with a source is told.
#[derive(Debug)]
pub(super) struct Words {
    missing: ProblemCode,
    not_a_directory: ProblemCode,
    unreadable: ProblemCode,
    archive: ProblemCode,
    contains_state: ProblemCode,
    /// What its contents do, or become.
    place: &'static str,
    /// The key that leaves out parts of it.
    exclude: &'static str,
}

/// Of the seed.
pub(super) const SEED: Words = Words {
    missing: ProblemCode::SeedMissing,
    not_a_directory: ProblemCode::SeedNotADirectory,
    unreadable: ProblemCode::SeedUnreadable,
    archive: ProblemCode::SeedArchive,
    contains_state: ProblemCode::SeedContainsState,
    place: "become /workspace",
    exclude: "workspace.exclude",
};

/// Of what a `sync` step names.
pub(super) const SYNC: Words = Words {
    missing: ProblemCode::SyncMissing,
    not_a_directory: ProblemCode::SyncNotADirectory,
    unreadable: ProblemCode::SyncUnreadable,
    archive: ProblemCode::SyncArchive,
    contains_state: ProblemCode::SyncContainsState,
    place: "are laid over the workspace",
    exclude: "exclude",
};

/// Says what a source holds, or why it is not taken.
pub(super) fn plan(
    wanted: &Wanted<'_>,
    fact: Option<&SeedFact>,
    place: &Pointer,
    words: &Words,
    problems: &mut Vec<Problem>,
) -> Option<PlannedSeed> {
    let Wanted {
        shown,
        exclude,
        respect_gitignore,
    } = *wanted;
    let Words {
        missing,
        not_a_directory,
        unreadable,
        archive,
        contains_state,
        place: becomes,
        exclude: key,
    } = words;
    let name = text::escape(shown);
    let mut refuse = |code: &ProblemCode, message: String, help: &str| {
        problems.push(Problem::new(*code, place.clone(), message).help(help));
        None
    };
    let listing = match fact {
        None | Some(SeedFact::Missing) => {
            return refuse(
                missing,
                format!("there is no directory or archive `{name}`"),
                "host paths begin at the directory of the request file; create it or name another",
            );
        }
        Some(SeedFact::NotADirectory) => {
            return refuse(
                not_a_directory,
                format!("`{name}` is neither a directory nor an archive"),
                &format!("name a directory or a tar; its contents {becomes}"),
            );
        }
        Some(SeedFact::Unreadable(why)) => {
            return refuse(
                unreadable,
                format!("`{name}` cannot be listed: {why}"),
                "make it readable for you, or name another directory",
            );
        }
        Some(SeedFact::NotAnArchive(why)) => {
            return refuse(
                not_a_directory,
                format!(
                    "`{name}` is neither a directory nor an archive: {}",
                    text::escape(why)
                ),
                "name a directory, or a tar that is plain or packed with gzip or zstd",
            );
        }
        Some(SeedFact::BadArchive(why)) => {
            return refuse(
                archive,
                format!("the archive `{name}` is not taken: {}", text::escape(why)),
                "unpack it yourself, look at what it holds, and name the directory; an archive may hold as much as `disk`",
            );
        }
        Some(SeedFact::Directory(listing)) => listing,
    };
    if let Some(state) = &listing.contains_state {
        return refuse(
            contains_state,
            match state.is_empty() {
                true => format!("`{name}` is pyro's own state directory"),
                false => format!(
                    "`{name}` has pyro's own state in it, at `{}`",
                    text::escape(&state.0)
                ),
            },
            &format!(
                "name a smaller directory, leave it out (`{key}`), or keep pyro's state elsewhere (PYRO_STATE_DIR)"
            ),
        );
    }
    let closed: Vec<_> = (listing.entries.iter())
        .filter_map(|entry| Some((&entry.path, entry.error.as_ref()?)))
        .collect();
    if !closed.is_empty() {
        let mut problem = Problem::new(
            *unreadable,
            place.clone(),
            format!(
                "{} in `{name}` cannot be read",
                text::count(closed.len() as u64, "path", "paths")
            ),
        )
        .help(format!(
            "make all of it readable for you, or leave these paths out (`{key}`)"
        ));
        for (path, why) in closed.iter().take(NAMED) {
            problem = problem.note(format!("{}: {why}", text::escape(&path.0)));
        }
        if closed.len() > NAMED {
            problem = problem.note(format!("and {} more", closed.len() - NAMED));
        }
        problems.push(problem);
    }
    let mut planned = PlannedSeed {
        path: listing.path.clone(),
        shown: shown.to_owned(),
        files: 0,
        others: 0,
        bytes: 0,
        left_out: Vec::new(),
        left_out_more: listing.left_out_more,
        exclude: exclude.to_vec(),
        respect_gitignore,
        archive: listing.archive,
        listing: listing_digest(
            listing.archive.map(|archive| archive.sha256),
            (listing.entries.iter())
                .filter_map(|entry| Some((entry.path.0.as_slice(), Listed::of(entry)?))),
        ),
        contents: None,
    };
    for entry in &listing.entries {
        let mut leave_out = |reason: &str| {
            planned.left_out.push(LeftOut {
                path: entry.path.clone(),
                reason: reason.to_owned(),
            });
        };
        match entry.kind {
            EntryKind::File => {
                planned.files += 1;
                planned.bytes = planned.bytes.saturating_add(entry.size);
            }
            EntryKind::Directory | EntryKind::Symlink(_) => planned.others += 1,
            EntryKind::Fifo => leave_out("fifo"),
            EntryKind::Socket => leave_out("socket"),
            EntryKind::Device => leave_out("device"),
            EntryKind::Unknown => leave_out("not readable"),
        }
    }
    planned.left_out.extend(listing.left_out.iter().map(|left| {
        let mut path = left.path.clone();
        if left.directory {
            path.0.push(b'/');
        }
        LeftOut {
            path,
            reason: left.reason.clone(),
        }
    }));
    planned.left_out.sort();
    let more = planned.left_out.len().saturating_sub(MAX_LEFT_OUT);
    planned.left_out.truncate(MAX_LEFT_OUT);
    planned.left_out_more += more as u64;
    Some(planned)
}

/// What a path is, as far as a listing says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'a> {
    /// Of this many bytes, and whether its owner may run it.
    File(u64, bool),
    /// A directory.
    Directory,
    /// A link, and where it points.
    Link(&'a [u8]),
}

impl<'a> Listed<'a> {
    /// What is carried over of an entry, if it is.
    fn of(entry: &'a SeedEntry) -> Option<Self> {
        match &entry.kind {
            EntryKind::File => Some(Self::File(entry.size, entry.mode & 0o100 != 0)),
            EntryKind::Directory => Some(Self::Directory),
            EntryKind::Symlink(target) => Some(Self::Link(target)),
            EntryKind::Fifo | EntryKind::Socket | EntryKind::Device | EntryKind::Unknown => None,
        }
    }
}

/// Of what a checkout elsewhere has too: no permission bits but that for running, which the umask leaves alone.
/// Sorted by path; of an archive with its sha256.
pub fn listing_digest<'a>(
    archive: Option<Digest>,
    entries: impl Iterator<Item = (&'a [u8], Listed<'a>)>,
) -> Digest {
    let mut text = Vec::new();
    if let Some(archive) = archive {
        text.extend_from_slice(&archive.0);
    }
    for (path, listed) in entries {
        let (kind, size, more) = match listed {
            Listed::File(size, true) => (b'x', size, &[][..]),
            Listed::File(size, false) => (b'f', size, &[][..]),
            Listed::Directory => (b'd', 0, &[][..]),
            Listed::Link(target) => (b'l', 0, target),
        };
        text.push(kind);
        text.extend_from_slice(&size.to_le_bytes());
        for part in [path, more] {
            text.extend_from_slice(part);
            text.push(0);
        }
    }
    Digest::of(&text)
}
