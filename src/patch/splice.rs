//! Puts placed hunks into a file: checks that none gets in another's way, then builds the new bytes.

use super::place::{LineEnd, Original};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{Hunk, LineKind};

/// A hunk and the 0-based line of the old file where it starts.
pub(crate) struct Edit<'a> {
    pub(crate) start: usize,
    pub(crate) hunk: &'a Hunk,
    /// Its number and section, for what is said about it.
    pub(crate) number: usize,
}

impl Edit<'_> {
    fn end(&self) -> usize {
        self.start
            + self
                .hunk
                .lines
                .iter()
                .filter(|line| line.kind != LineKind::Added)
                .count()
    }

    /// The lines of the old file that the hunk changes: from the first that goes or is pushed down to the last.
    fn changed(&self) -> (usize, usize) {
        let mut at = self.start;
        let (mut first, mut last) = (None, self.start);
        for line in &self.hunk.lines {
            match line.kind {
                LineKind::Context => at += 1,
                LineKind::Removed => {
                    first.get_or_insert(at);
                    at += 1;
                    last = at;
                }
                LineKind::Added => {
                    first.get_or_insert(at);
                    last = at;
                }
            }
        }
        (first.unwrap_or(self.start), last)
    }
}

/// Sorts the edits by place; refuses each that changes what another one changes or shows as unchanged.
pub(crate) fn order(edits: &mut [Edit<'_>]) -> Vec<Refused> {
    edits.sort_by_cached_key(|edit| (edit.start, edit.changed()));
    let mut refusals = Vec::new();
    // The edit that reaches furthest down so far, with all it covers and with what it changes.
    let mut reach: Option<(usize, usize, usize)> = None;
    for edit in edits.iter() {
        let (first, last) = edit.changed();
        if let Some((end, changed, number)) = reach {
            // Context may be shared; what one hunk changes must be out of the other's sight.
            let into_above = first < end;
            let into_below = changed > edit.start || (changed == edit.start && first == edit.start);
            if into_above || into_below {
                let message =
                    format!("it changes or needs lines which hunk {number} changes or needs too");
                refusals.push(
                    Refusal::new(RefusalCode::Overlap, message)
                        .at(edit.hunk.line)
                        .hunk(edit.number)
                        .help("join both hunks into one, written against the file as it is now"),
                );
            }
            reach = Some((
                end.max(edit.end()),
                changed.max(last),
                if edit.end() >= end {
                    edit.number
                } else {
                    number
                },
            ));
        } else {
            reach = Some((edit.end(), last, edit.number));
        }
    }
    refusals
}

/// The file with all edits made; they are in order and apart from one another.
pub(crate) fn splice(original: &Original<'_>, edits: &[Edit<'_>]) -> Vec<u8> {
    let file = &original.lines;
    let end = if original.line_end() == Some(LineEnd::CrLf) {
        &b"\r\n"[..]
    } else {
        b"\n"
    };
    let mut out: Vec<u8> =
        Vec::with_capacity(file.iter().map(|line| line.len()).sum::<usize>() + 64);
    let mut push = |line: &[u8]| {
        // Only the last line may lack its end; one that is no longer the last gets it.
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.extend_from_slice(end);
        }
        out.extend_from_slice(line);
    };
    let mut at = 0;
    // The last line end of the file was lost, and the patch did not know.
    let mut unfinished = false;
    for edit in edits {
        // Context lines of two hunks may overlap; the later hunk's are copied once.
        let mut here = edit.start;
        let (first, _) = edit.changed();
        let copied = first.max(at);
        file[at..copied].iter().for_each(|line| push(line));
        at = copied;
        for line in &edit.hunk.lines {
            match line.kind {
                LineKind::Added => {
                    push(&line.text);
                    unfinished =
                        at == file.len() && line.text.ends_with(b"\n") && lost_end(file, edit.hunk);
                }
                LineKind::Context | LineKind::Removed => {
                    if here >= at {
                        if line.kind == LineKind::Context {
                            push(file[here]);
                        }
                        at = here + 1;
                        unfinished = false;
                    }
                    here += 1;
                }
            }
        }
    }
    file[at..].iter().for_each(|line| push(line));
    // A blank line without its end would be no line.
    let blank = [end, end].concat();
    if unfinished && at == file.len() && !out.ends_with(&blank) && out != end {
        out.truncate(out.len() - end.len());
    }
    out
}

/// The hunk's last old line has a line end, the last line of the file has none.
fn lost_end(file: &[&[u8]], hunk: &Hunk) -> bool {
    file.last().is_some_and(|line| !line.ends_with(b"\n"))
        && hunk
            .old_lines()
            .last()
            .is_some_and(|line| line.ends_with(b"\n"))
}
