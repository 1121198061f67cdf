//! Reads one hunk. Where its body ends is decided by the body; the counts in the `@@` line only confirm it.
//!
//! First the counts are believed: when they end where a hunk may end, that is it. Otherwise the body runs to the
//! first line that cannot belong to it, and the counts are used once more, to see whether the text was cut off.

use super::diagnose::{self, Diagnosis};
use super::envelope::is_directive;
use super::parse::{Reader, is_fence};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{Hunk, HunkLine, LineKind};

/// What the `@@` line says; everything may be missing.
struct Stated {
    old_start: Option<u64>,
    new_start: Option<u64>,
    /// Lines on both sides, and whether they were written out rather than left at 1.
    counts: Option<(u64, u64)>,
    explicit: bool,
}

/// Reads the hunk whose `@@` line is next.
pub(crate) fn hunk(reader: &mut Reader<'_>) -> Result<Hunk, Refused> {
    let line = reader.number();
    let stated = stated(reader.peek(0).unwrap_or_default());
    reader.skip(1);
    below(reader, line, &stated)
}

/// Reads a hunk whose `@@` line was left out.
pub(crate) fn headless(reader: &mut Reader<'_>) -> Result<Hunk, Refused> {
    let line = reader.number();
    below(reader, line, &stated(b""))
}

fn below(reader: &mut Reader<'_>, line: usize, stated: &Stated) -> Result<Hunk, Refused> {
    let (lines, refusal) = match by_counts(reader, stated) {
        Believed::Yes(lines) => (lines, None),
        Believed::Unclear(at) => {
            let refusal = Refusal::new(
                RefusalCode::Corrupt,
                "the counts end the hunk here, and after a blank line more lines follow that may belong to it",
            );
            (
                by_body(reader, stated).0,
                Some(refusal.at(at).help("correct the counts in the `@@` line")),
            )
        }
        Believed::No => by_body(reader, stated),
    };
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let hunk = Hunk {
        old_start: stated.old_start,
        new_start: stated.new_start,
        lines,
        anchors: Vec::new(),
        at_end: false,
        line,
    };
    check(&hunk)?;
    Ok(hunk)
}

/// Stands for a hunk that could not be read.
pub(crate) fn placeholder(line: usize) -> Hunk {
    Hunk {
        old_start: None,
        new_start: None,
        lines: Vec::new(),
        anchors: Vec::new(),
        at_end: false,
        line,
    }
}

/// Whether a hunk makes sense by itself.
pub(crate) fn check(hunk: &Hunk) -> Result<(), Refused> {
    if hunk.lines.is_empty() {
        return Err(Refusal::new(RefusalCode::CutOff, "the hunk has no lines").at(hunk.line));
    }
    if !hunk.changes() {
        return Err(Refusal::new(
            RefusalCode::NoChange,
            "the hunk has only context and changes nothing",
        )
        .at(hunk.line)
        .help("mark what goes with `-` and what comes with `+`"));
    }
    let unfinished = |lines: &mut dyn Iterator<Item = &[u8]>| {
        let open: Vec<bool> = lines.map(|line| !line.ends_with(b"\n")).collect();
        open.iter().rev().skip(1).any(|open| *open)
    };
    if unfinished(&mut hunk.old_lines()) || unfinished(&mut hunk.new_lines()) {
        let message = "`\\ No newline at end of file` stands below a line that is not the last one";
        return Err(Refusal::new(RefusalCode::Corrupt, message).at(hunk.line));
    }
    Ok(())
}

/// Takes the CR from every line, if every line has one.
pub(crate) fn drop_carriage_returns(hunks: &mut [Hunk]) {
    let has = |line: &HunkLine| line.text.ends_with(b"\r\n") || line.text.ends_with(b"\r");
    if !hunks.iter().all(|hunk| hunk.lines.iter().all(has)) {
        return;
    }
    for line in hunks.iter_mut().flat_map(|hunk| &mut hunk.lines) {
        let end = line.text.ends_with(b"\n");
        line.text.truncate(line.text.len() - 1 - usize::from(end));
        line.text.extend(end.then_some(b'\n'));
    }
}

/// `@@ -A,B +C,D @@`, also without counts, without numbers, without anything.
fn stated(line: &[u8]) -> Stated {
    let exact = || {
        let rest = line.strip_prefix(b"@@ -")?;
        let (old, rest) = range(rest)?;
        let (new, rest) = range(rest.strip_prefix(b" +")?)?;
        rest.strip_prefix(b" @@")?;
        Some((old, new))
    };
    match exact() {
        Some(((old_start, old), (new_start, new))) => Stated {
            old_start: Some(old_start),
            new_start: Some(new_start),
            counts: Some((old.unwrap_or(1), new.unwrap_or(1))),
            explicit: old.is_some() && new.is_some(),
        },
        None => Stated {
            old_start: None,
            new_start: None,
            counts: None,
            explicit: false,
        },
    }
}

/// A start and a count, and the text behind them.
type Range<'a> = ((u64, Option<u64>), &'a [u8]);

fn range(text: &[u8]) -> Option<Range<'_>> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(b",") {
        Some(rest) => {
            let (count, rest) = number(rest)?;
            Some(((start, Some(count)), rest))
        }
        None => Some(((start, None), rest)),
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let digits = std::str::from_utf8(&text[..end]).ok()?;
    Some((digits.parse().ok()?, &text[end..]))
}

/// What a line can be in a body. `None`: no part of it.
pub(crate) fn kind(line: &[u8]) -> Option<LineKind> {
    match line.first() {
        // A blank context line that lost its space.
        None | Some(b' ') => Some(LineKind::Context),
        Some(b'-') => Some(LineKind::Removed),
        Some(b'+') => Some(LineKind::Added),
        Some(_) => None,
    }
}

/// The line as the file has it; the last line of the text may have lost its line end.
fn content(raw: &[u8], bare: &[u8]) -> Vec<u8> {
    let mut text = if bare.is_empty() { raw } else { &raw[1..] }.to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

/// Adds the line that is `ahead` lines away, if it can belong to a body.
fn take(reader: &Reader<'_>, ahead: usize, lines: &mut Vec<HunkLine>) -> Option<LineKind> {
    let bare = reader.peek(ahead)?;
    let kind = kind(bare)?;
    lines.push(HunkLine {
        kind,
        text: content(reader.raw(ahead)?, bare),
    });
    Some(kind)
}

/// Applies `\ No newline at end of file`, in whatever language, to the line above it.
fn marker(reader: &Reader<'_>, ahead: usize, lines: &mut [HunkLine]) -> bool {
    if !reader
        .peek(ahead)
        .is_some_and(|line| line.starts_with(b"\\ "))
    {
        return false;
    }
    if let Some(last) = lines.last_mut()
        && last.text.ends_with(b"\n")
    {
        last.text.pop();
    }
    true
}

enum Believed {
    Yes(Vec<HunkLine>),
    No,
    /// The number of the line from which on it is unclear what belongs to the hunk.
    Unclear(usize),
}

/// The body as the counts have it. Moves on only when they are believed.
fn by_counts(reader: &mut Reader<'_>, stated: &Stated) -> Believed {
    let Some((mut old, mut new)) = stated.counts else {
        return Believed::No;
    };
    let (mut lines, mut ahead) = (Vec::new(), 0);
    while old > 0 || new > 0 {
        if marker(reader, ahead, &mut lines) {
            ahead += 1;
            continue;
        }
        let Some(kind) = take(reader, ahead, &mut lines) else {
            return Believed::No;
        };
        ahead += 1;
        let (uses_old, uses_new) = (kind != LineKind::Added, kind != LineKind::Removed);
        if (uses_old && old == 0) || (uses_new && new == 0) {
            return Believed::No;
        }
        old -= u64::from(uses_old);
        new -= u64::from(uses_new);
    }
    while marker(reader, ahead, &mut lines) {
        ahead += 1;
    }
    let blank = reader.peek(ahead).is_some_and(<[u8]>::is_empty);
    let mut next = ahead;
    while reader.peek(next).is_some_and(<[u8]>::is_empty) {
        next += 1;
    }
    // Whoever leaves lines out counts those that are left.
    let elided = reader.peek(next).is_some_and(diagnose::is_elision);
    if elided && body_like(reader.peek(next + 1)) {
        return Believed::No;
    }
    let signed = reader.peek(next) == Some(b"-- ") && !body_like(reader.peek(next + 1));
    let more = !at_boundary(reader, next) && !signed && continues(reader, next, blank);
    match (more, blank) {
        (true, true) if stated.explicit => Believed::Unclear(reader.number() + next),
        (true, _) => Believed::No,
        (false, _) if lines.is_empty() => Believed::No,
        (false, _) => {
            reader.skip(ahead);
            Believed::Yes(lines)
        }
    }
}

fn body_like(line: Option<&[u8]>) -> bool {
    line.is_some_and(|line| kind(line).is_some())
}

/// Lines that look like a body go on here; behind a blank line, context alone may as well be indented prose.
fn continues(reader: &Reader<'_>, from: usize, behind_blank: bool) -> bool {
    let mut ahead = from;
    while let Some(line) = reader.peek(ahead) {
        match kind(line) {
            Some(LineKind::Added | LineKind::Removed) => return true,
            Some(LineKind::Context) if !behind_blank => return true,
            Some(LineKind::Context) if at_boundary(reader, ahead) => return false,
            Some(LineKind::Context) => ahead += 1,
            None => return false,
        }
        if at_boundary(reader, ahead) {
            return false;
        }
    }
    false
}

/// The end of the text, the next hunk or section, or a mail's signature.
fn at_boundary(reader: &Reader<'_>, ahead: usize) -> bool {
    let Some(line) = reader.peek(ahead) else {
        return true;
    };
    line.starts_with(b"@@")
        || line.starts_with(b"diff --git ")
        || is_directive(line)
        || reader.names_at(ahead)
        || is_signature(reader, ahead)
}

/// `-- ` and git's version below it.
fn is_signature(reader: &Reader<'_>, ahead: usize) -> bool {
    reader.peek(ahead).is_some_and(|line| line == b"-- ")
        && reader
            .peek(ahead + 1)
            .is_none_or(|line| line.first().is_some_and(u8::is_ascii_digit))
}

/// The body as far as it goes, whatever the counts say, and what is wrong with it.
fn by_body(reader: &mut Reader<'_>, stated: &Stated) -> (Vec<HunkLine>, Option<Refused>) {
    let (mut lines, mut blanks) = (Vec::new(), 0_u64);
    let mut ahead = 0;
    while let Some(line) = reader.peek(ahead) {
        let hunk_behind_names = || {
            reader
                .peek(ahead + 2)
                .is_none_or(|line| line.starts_with(b"@@"))
        };
        if line.starts_with(b"@@")
            || is_signature(reader, ahead)
            || (reader.names_at(ahead) && hunk_behind_names())
        {
            break;
        }
        if !marker(reader, ahead, &mut lines) {
            if take(reader, ahead, &mut lines).is_none() {
                break;
            }
            blanks = if line.is_empty() { blanks + 1 } else { 0 };
        }
        ahead += 1;
    }
    // Blank lines at the end separate the hunk from what follows more often than they belong to it.
    let elided = diagnose::of_body(&lines, reader.peek(ahead));
    let kept = lines
        .len()
        .saturating_sub(usize::try_from(blanks).unwrap_or(usize::MAX));
    lines.truncate(kept);
    let mut refusal = judge(reader, ahead, stated, &lines, blanks);
    if let (Some(refusal), Some(Diagnosis { code, help })) = (&mut refusal, elided) {
        refusal.code = code;
        refusal.help = Some(help.to_owned());
        "`...` stands in the hunk in place of lines".clone_into(&mut refusal.message);
    }
    reader.skip(ahead);
    (lines, refusal)
}

/// Whether the body that ends `ahead` lines away is a whole one.
fn judge(
    reader: &Reader<'_>,
    ahead: usize,
    stated: &Stated,
    lines: &[HunkLine],
    blanks: u64,
) -> Option<Refused> {
    let count = |without| lines.iter().filter(|line| line.kind != without).count() as u64;
    let (old, new) = (count(LineKind::Added), count(LineKind::Removed));
    let short = stated.counts.is_some_and(|(o, n)| {
        old <= o && new <= n && (old.saturating_add(blanks) < o || new.saturating_add(blanks) < n)
    });
    let cut_off = || {
        let (o, n) = stated.counts.unwrap_or_default();
        let message = format!(
            "the `@@` line promises {o} old and {n} new lines, and only {old} and {new} follow"
        );
        Refusal::new(RefusalCode::CutOff, message)
            .at(reader.number() + ahead - usize::from(reader.peek(ahead).is_none() && ahead > 0))
            .help("send the whole hunk, or correct the counts if it is whole")
    };
    match reader.peek(ahead) {
        Some(line) if is_signature(reader, ahead) || is_directive(line) => short.then(cut_off),
        Some(line) if at_boundary(reader, ahead) || line.starts_with(b"diff ") => None,
        Some(line) if !is_fence(line) => {
            let stray = (ahead..)
                .map_while(|at| reader.peek(at))
                .take_while(|line| {
                    !is_fence(line) && !line.starts_with(b"@@") && !line.starts_with(b"diff ")
                })
                .zip(ahead..)
                .take_while(|(_, at)| !at_boundary(reader, *at))
                .any(|(line, _)| matches!(line.first(), Some(b'+' | b'-')));
            if blanks == 0 || stray {
                let message = "this line is no part of a hunk, which needs ` `, `-` or `+` first";
                return Some(
                    Refusal::new(RefusalCode::Corrupt, message)
                        .at(reader.number() + ahead)
                        .help("put a space before context lines, and a blank line between the hunk and other text"),
                );
            }
            short.then(cut_off)
        }
        None if !stated.explicit
            && lines
                .last()
                .is_some_and(|line| line.kind != LineKind::Context)
            && !reader.ended() =>
        {
            let message =
                "the text ends in the middle of a line, and no counts say that the hunk is whole";
            Some(
                Refusal::new(RefusalCode::CutOff, message)
                    .at(reader.number() + ahead - 1)
                    .help("end the patch with a line end, or write counts into the `@@` line"),
            )
        }
        Some(_) | None => short.then(cut_off),
    }
}
