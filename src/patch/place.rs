//! Says where in the original file a hunk belongs: at the stated line, else at the only place, else nowhere.
//! All hunks are placed in the file as it was, so neither their order nor their grouping matters.

use std::cell::OnceCell;

use super::blob::{git_blob_hex, git_blob_sha256_hex};
use super::diagnose::{Diagnosis, diagnose};
use super::nearest::nearest;
use super::refusal::{NearMiss, Refusal, RefusalCode, Refused};
use super::search::{Index, TooMuch};
use super::section::{Hunk, HunkLine, LineKind, Match};

/// Hex digits of a hash in a repository with SHA-256.
const LONG: usize = 64;

/// The most places that a refusal lists.
const LISTED: usize = 8;

/// A file that hunks are to be placed in.
pub(crate) struct Original<'a> {
    bytes: &'a [u8],
    pub(crate) lines: Vec<&'a [u8]>,
    exact: OnceCell<Index<'a>>,
    loose: OnceCell<Index<'a>>,
    trimmed: OnceCell<Index<'a>>,
    hash: OnceCell<String>,
    long_hash: OnceCell<String>,
}

impl<'a> Original<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            lines: bytes.split_inclusive(|&byte| byte == b'\n').collect(),
            exact: OnceCell::new(),
            loose: OnceCell::new(),
            trimmed: OnceCell::new(),
            hash: OnceCell::new(),
            long_hash: OnceCell::new(),
        }
    }

    /// The `index` line of the patch names exactly this content, so the stated numbers are right.
    pub(crate) fn is_blob(&self, hex: Option<&[u8]>) -> bool {
        let Some(hex) = hex.filter(|hex| hex.len() >= 7) else {
            return false;
        };
        // A repository has one kind of hash or the other; only the length of a whole one tells.
        let hash = if hex.len() == LONG {
            self.long_hash
                .get_or_init(|| git_blob_sha256_hex(self.bytes))
        } else {
            self.hash.get_or_init(|| git_blob_hex(self.bytes))
        };
        hash.as_bytes().starts_with(hex)
    }

    /// Comparisons that searching has cost so far.
    #[cfg(test)]
    pub(crate) fn work(&self) -> u64 {
        let indexes = [&self.exact, &self.loose, &self.trimmed];
        let built = indexes.into_iter().filter_map(OnceCell::get);
        built.map(Index::spent).sum()
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How the file ends its lines, if all of them end alike.
    pub(crate) fn line_end(&self) -> Option<LineEnd> {
        LineEnd::of(self.lines.iter().copied())
    }

    fn exact(&self) -> &Index<'a> {
        self.exact
            .get_or_init(|| Index::new(self.lines.iter().copied()))
    }

    /// Lines without their end and without blanks before it.
    fn loose(&self) -> &Index<'a> {
        self.loose
            .get_or_init(|| Index::new(self.lines.iter().map(|line| loosened(line))))
    }

    /// The 0-based line where the hunk starts, or why there is none.
    pub(crate) fn place(
        &self,
        hunk: &Hunk,
        policy: Match,
        blob: Option<&[u8]>,
    ) -> Result<usize, Refused> {
        let old: Vec<&[u8]> = hunk.old_lines().collect();
        let stated = stated(hunk, old.len());
        let at_end = at_end(hunk);
        let fits = |start: usize| self.end_agrees(at_end, start + old.len());
        let at_stated = stated.filter(|&start| {
            let end = start.checked_add(old.len());
            end.and_then(|end| self.lines.get(start..end))
                .is_some_and(|lines| lines == old)
                && fits(start)
        });
        if old.is_empty() {
            return self.insertion(hunk, at_stated, blob);
        }
        if let Some(start) = at_stated {
            if self.is_blob(blob) {
                return Ok(start);
            }
            // Without any context the stated line alone proves little.
            if policy == Match::Exact || hunk.count(LineKind::Context) > 0 {
                return self.doubled(hunk, start, old.len()).map_or(Ok(start), Err);
            }
        }
        let from = self.below_anchors(hunk);
        let mut places = self
            .exact()
            .find(&old, LISTED + 1, |start| {
                fits(start) && from.is_some_and(|from| from <= start)
            })
            .map_err(too_much)?;
        if places.is_empty() && policy == Match::Unique {
            places = self.find_loose(hunk, &old).map_err(too_much)?;
        }
        match places.as_slice() {
            [] => Err(self.missing(hunk, &old, stated)),
            [_, ..] if policy == Match::Exact => Err(self
                .several(
                    RefusalCode::NotExact,
                    match stated {
                        Some(_) => "the stated line is not where the old lines stand",
                        None => "no line is stated, and no other place is taken",
                    },
                    &places,
                )
                .help(match stated {
                    Some(_) => "correct the line number, or allow other places with `match = \"unique\"`",
                    None => "write the line as in `@@ -3,2 +3,2 @@`, or allow other places with `match = \"unique\"`",
                })),
            [start] => self
                .doubled(hunk, *start, old.len())
                .map_or(Ok(*start), Err),
            [_, _, ..] => {
                let message = if stated.is_some() {
                    "the old lines are at several places, and the stated line does not decide between them"
                } else {
                    "the old lines are at several places, and no line is stated"
                };
                Err(self.several(RefusalCode::Ambiguous, message, &places).help(
                    "add context lines until only one place fits, or state the right line in `@@`",
                ))
            }
        }
    }

    /// A hunk without old lines: only its line number says where it belongs.
    fn insertion(
        &self,
        hunk: &Hunk,
        at_stated: Option<usize>,
        blob: Option<&[u8]>,
    ) -> Result<usize, Refused> {
        if self.lines.is_empty() {
            return Ok(0);
        }
        if hunk.at_end {
            return Ok(self.lines.len());
        }
        match at_stated {
            Some(start) if self.is_blob(blob) => Ok(start),
            Some(_) | None => Err(Refusal::new(
                RefusalCode::Ambiguous,
                "the hunk has no old lines, so nothing shows that its line number is right",
            )
            .help("add a context line before or after the added lines")),
        }
    }

    /// A new last line without a line end can only be the last line of the file.
    fn end_agrees(&self, at_end: bool, end: usize) -> bool {
        !at_end || end == self.lines.len()
    }

    /// The first line where a hunk may start whose anchors stand above it (or on it), in their order.
    fn below_anchors(&self, hunk: &Hunk) -> Option<usize> {
        let trimmed = || Index::new(self.lines.iter().map(|line| line.trim_ascii()));
        let (mut from, mut last) = (0, 0);
        for anchor in &hunk.anchors {
            let index = self.trimmed.get_or_init(trimmed);
            let places = index.places(anchor.trim_ascii());
            last = *places.get(places.partition_point(|&at| at < from))?;
            from = last + 1;
        }
        Some(last)
    }

    /// Places where only blanks at the end of context lines differ, or the last line end of the file.
    fn find_loose(&self, hunk: &Hunk, old: &[&[u8]]) -> Result<Vec<usize>, TooMuch> {
        let last = self.lines.len().saturating_sub(1);
        let same = |at: usize, line: &HunkLine| {
            let (Some(file), text) = (self.lines.get(at), line.text.as_slice()) else {
                return false;
            };
            let open = at == last && !file.ends_with(b"\n") && text.ends_with(b"\n");
            let blanks = line.kind == LineKind::Context
                && file.ends_with(b"\n")
                && text.ends_with(b"\n")
                && file.ends_with(b"\r\n") == text.ends_with(b"\r\n");
            *file == text || blanks || (open && *file == chomp(text))
        };
        let (at_end, from) = (at_end(hunk), self.below_anchors(hunk));
        let loose: Vec<&[u8]> = old.iter().map(|line| loosened(line)).collect();
        self.loose().find(&loose, LISTED + 1, |start| {
            let lines = hunk
                .lines
                .iter()
                .filter(|line| line.kind != LineKind::Added);
            self.end_agrees(at_end, start + old.len())
                && from.is_some_and(|from| from <= start)
                && lines.zip(start..).all(|(line, at)| same(at, line))
        })
    }

    /// Added lines at an edge of the hunk that stand in the file already would be there twice.
    fn doubled(&self, hunk: &Hunk, start: usize, old: usize) -> Option<Refused> {
        let new: Vec<&[u8]> = hunk.new_lines().collect();
        let added = new.len().checked_sub(old).filter(|added| *added > 0)?;
        if hunk.count(LineKind::Removed) > 0 {
            return None;
        }
        let starts_with_added = hunk
            .lines
            .first()
            .is_some_and(|line| line.kind == LineKind::Added);
        let ends_with_added = hunk
            .lines
            .last()
            .is_some_and(|line| line.kind == LineKind::Added);
        let before = start.checked_sub(added).filter(|_| starts_with_added);
        let place = [ends_with_added.then_some(start), before]
            .into_iter()
            .flatten()
            .find(|&at| self.lines.get(at..at + new.len()) == Some(&new))?;
        Some(self.already(place))
    }

    fn already(&self, place: usize) -> Refused {
        let message = format!(
            "the new lines are in the file already, at line {}",
            place + 1
        );
        let mut refusal = Refusal::new(RefusalCode::AlreadyApplied, message)
            .help("leave the hunk out; if the change is to be undone, swap its `-` and `+` lines");
        refusal.file_line = Some(place as u64 + 1);
        refusal
    }

    fn several(&self, code: RefusalCode, message: &str, places: &[usize]) -> Refused {
        let mut list: Vec<String> = places
            .iter()
            .take(LISTED)
            .map(|place| (place + 1).to_string())
            .collect();
        if places.len() > LISTED {
            list.push("..".to_owned());
        }
        let mut refusal = Refusal::new(
            code,
            format!("{message} (they stand at line {})", list.join(", ")),
        );
        let lines = places.iter().take(LISTED).map(|place| *place as u64 + 1);
        refusal.places = lines.collect();
        refusal.file_line = refusal.places.first().copied();
        refusal
    }

    /// The old lines are nowhere: tells why, as far as it shows.
    fn missing(&self, hunk: &Hunk, old: &[&[u8]], stated: Option<usize>) -> Refused {
        let new: Vec<&[u8]> = hunk.new_lines().collect();
        // Without added lines only the joint between two context lines shows that lines went.
        let edge =
            |line: Option<&HunkLine>| line.is_some_and(|line| line.kind == LineKind::Context);
        let proves = hunk.count(LineKind::Added) > 0
            || (edge(hunk.lines.first()) && edge(hunk.lines.last()));
        if proves
            && let Ok(places) = self.exact().find(&new, 1, |_| true)
            && let Some(place) = places.first()
        {
            return self.already(*place);
        }
        if let Ok(places) = self.exact().find(old, LISTED + 1, |_| true)
            && !places.is_empty()
        {
            let elsewhere = |message: &str, help: &str| {
                self.several(RefusalCode::ContextMissing, message, &places)
                    .help(help)
            };
            return match hunk.anchors.first() {
                Some(anchor) if !hunk.at_end => elsewhere(
                    &format!(
                        "the old lines are in the file, but not below `{}`",
                        String::from_utf8_lossy(anchor)
                    ),
                    "leave the anchor out, or write the line that stands above the change",
                ),
                Some(_) | None => elsewhere(
                    "the old lines are in the file, but not at its end, where the hunk puts them",
                    "leave out what says that the file ends there: `\\ No newline at end of file` or `*** End of File`",
                ),
            };
        }
        let near = nearest(old, &self.lines, self.exact(), stated);
        let Diagnosis { code, help } = diagnose(hunk, near.as_ref(), self.exact());
        let Some(near) = near else {
            return Refusal::new(code, "none of the old lines are in the file").help(help);
        };
        let (equal, of) = (near.equal, old.len());
        let miss = NearMiss {
            line: near.start as u64 + 1,
            distance: stated.map(|stated| distance(near.start, stated)),
            equal,
            of,
        };
        let fits = match equal {
            0 => "none of the old lines are in the file as they are written".to_owned(),
            _ => format!(
                "the old lines are not in the file; closest is line {}{}, where {equal} of {of} are the same",
                miss.line,
                miss.away(),
            ),
        };
        let message = format!("{fits}; line {} is the first that differs", near.line + 1);
        let mut refusal = Refusal::new(code, message).help(help);
        refusal.file_line = Some(near.line as u64 + 1);
        refusal.patch_line = Some(line_of_old(hunk, near.first));
        refusal.nearest = Some(miss);
        refusal.expected = near.expected;
        refusal.found = near.found;
        refusal
    }
}

/// Lines from one place to another; negative is up.
fn distance(place: usize, stated: usize) -> i64 {
    let number = |line: usize| i64::try_from(line).unwrap_or(i64::MAX);
    number(place).saturating_sub(number(stated))
}

/// The hunk says that the file ends below it.
fn at_end(hunk: &Hunk) -> bool {
    let last = hunk.new_lines().last();
    hunk.at_end || last.is_some_and(|line| !line.ends_with(b"\n"))
}

/// Where the hunk says it starts, 0-based: without old lines it names the line above.
pub(crate) fn stated(hunk: &Hunk, old: usize) -> Option<usize> {
    let start = usize::try_from(hunk.old_start?).ok()?;
    if old == 0 {
        Some(start)
    } else {
        start.checked_sub(1)
    }
}

/// The patch line of an old line. Markers between lines may make it one too small.
fn line_of_old(hunk: &Hunk, index: usize) -> usize {
    let mut old = hunk
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.kind != LineKind::Added);
    hunk.line + 1 + old.nth(index).map_or(0, |(at, _)| at)
}

fn too_much(TooMuch: TooMuch) -> Refused {
    Refusal::new(
        RefusalCode::TooLarge,
        "the file and the hunks repeat themselves too much to be searched",
    )
    .help("state the exact line in each `@@`, or split the patch")
}

fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn loosened(line: &[u8]) -> &[u8] {
    let line = chomp(line);
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t'))
        .map_or(0, |at| at + 1);
    &line[..end]
}

/// How all lines of a text end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    Lf,
    CrLf,
}

impl LineEnd {
    /// `None` when they differ, or there are none.
    pub(crate) fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut seen = None;
        for line in lines.filter(|line| line.ends_with(b"\n")) {
            let this = if line.ends_with(b"\r\n") {
                Self::CrLf
            } else {
                Self::Lf
            };
            if *seen.get_or_insert(this) != this {
                return None;
            }
        }
        seen
    }
}

/// The hunks with the line ends of the file, if both are of one kind and differ.
pub(crate) fn with_line_ends(hunks: &[&Hunk], file: Option<LineEnd>) -> Option<Vec<Hunk>> {
    let patch = LineEnd::of(
        hunks
            .iter()
            .flat_map(|hunk| &hunk.lines)
            .map(|line| line.text.as_slice()),
    )?;
    // An added line alone does not show how the file was thought to end its lines.
    let old = hunks.iter().flat_map(|hunk| hunk.old_lines());
    let file = file.filter(|file| *file != patch && LineEnd::of(old).is_some())?;
    let convert = |hunk: &&Hunk| {
        let mut hunk = (*hunk).clone();
        for line in hunk
            .lines
            .iter_mut()
            .filter(|line| line.text.ends_with(b"\n"))
        {
            line.text.truncate(chomp(&line.text).len());
            line.text.extend_from_slice(if file == LineEnd::CrLf {
                b"\r\n"
            } else {
                b"\n"
            });
        }
        hunk
    };
    Some(hunks.iter().map(convert).collect())
}
