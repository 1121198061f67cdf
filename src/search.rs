//! Finds a regular expression in files that come in pieces. Bytes in, lines out, no I/O, and memory that does not grow
//! with the files.
//!
//! A line ends before `\n` or `\r\n`, and is looked at by itself: `^` and `$` are its ends, and nothing matches beyond
//! them. Whole blocks are searched first, by an expression that finds no line too few; what it finds is held against
//! the line alone.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Hir, Look};

/// As many bytes of a line are searched together; a longer one is searched in parts.
pub const MAX_LINE: usize = 16 << 20;
/// As many bytes of a line are shown; of a longer one a part with the match in it.
pub const MAX_SHOWN: usize = 1024;
/// Bytes that are shown before the match, where not all of the line is.
const BEFORE: usize = 128;
/// A file with a NUL byte in so many first bytes is no text: where git looks, too.
const BINARY_HEAD: usize = 8000;
/// How large an expression may become in memory.
const COMPILED: usize = 1 << 20;
/// Byte strings of which a match has one: more are not worth looking for.
const MAX_NEEDLES: usize = 32;
/// Shorter ones are in nearly every file.
const MIN_NEEDLE: usize = 2;
const MAX_NEEDLE: usize = 64;

/// A regular expression that lines are held against.
#[derive(Debug)]
pub struct Matcher {
    /// On one line.
    line: Regex,
    /// On many at once: finds a place in or before every line that matches. Absent where that cannot be.
    block: Option<Regex>,
    needles: Vec<Vec<u8>>,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// From 1.
    pub line: u64,
    /// The first byte of the first match, from 1.
    pub column: u64,
    /// The line, or a part of it.
    pub text: Vec<u8>,
    /// The column of the first byte of `text`.
    pub start: u64,
    /// Whether `text` is not the whole line.
    pub cut: bool,
    /// The file is no text.
    pub binary: bool,
}

impl Matcher {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Where it is none, or too large.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        let compile = |lines: bool| {
            let mut builder = RegexBuilder::new(pattern);
            builder.multi_line(lines).crlf(lines).size_limit(COMPILED);
            builder.build()
        };
        let line = compile(false)?;
        let parsed = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .multi_line(true)
            .crlf(true)
            .build()
            .parse(pattern);
        let Ok(hir) = parsed else {
            return Ok(Self {
                line,
                block: None,
                needles: Vec::new(),
            });
        };
        // The ends of the whole text (`\A`, `\z`) are the ends of each line, which a block does not know.
        let looks = hir.properties().look_set();
        let is_whole = looks.contains(Look::Start) || looks.contains(Look::End);
        Ok(Self {
            line,
            block: (!is_whole).then(|| compile(true)).transpose()?,
            needles: needles(&hir),
        })
    }

    /// Byte strings of which every file with a match has at least one; none where nothing is known.
    pub fn needles(&self) -> &[Vec<u8>] {
        &self.needles
    }

    /// Begins with a file.
    pub fn file(&self) -> FileSearch<'_> {
        FileSearch {
            matcher: self,
            rest: Vec::new(),
            line: 1,
            head: 0,
            cut_off: 0,
            binary: false,
            in_parts: false,
        }
    }
}

/// The better of what matches begin with and what they end with.
fn needles(hir: &Hir) -> Vec<Vec<u8>> {
    let extract = |kind| Extractor::new().kind(kind).extract(hir);
    let mut first = extract(ExtractKind::Prefix);
    first.keep_first_bytes(MAX_NEEDLE);
    let mut last = extract(ExtractKind::Suffix);
    last.keep_last_bytes(MAX_NEEDLE);
    let sides = [usable(&first), usable(&last)];
    let worth = |side: &Vec<Vec<u8>>| side.iter().map(Vec::len).min().unwrap_or(0);
    sides.into_iter().max_by_key(worth).unwrap_or_default()
}

fn usable(sequence: &Seq) -> Vec<Vec<u8>> {
    let Some(literals) = sequence.literals() else {
        return Vec::new();
    };
    let mut all: Vec<_> = literals
        .iter()
        .map(|literal| literal.as_bytes().to_vec())
        .collect();
    all.sort();
    all.dedup();
    let is_usable = all.len() <= MAX_NEEDLES && all.iter().all(|needle| needle.len() >= MIN_NEEDLE);
    if is_usable { all } else { Vec::new() }
}

/// What is to be done after a line was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Look for the next one.
    GoOn,
    /// Nothing more of this file is wanted.
    Stop,
}

/// The search of one file, piece by piece.
#[derive(Debug)]
pub struct FileSearch<'m> {
    matcher: &'m Matcher,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The number of the line that comes next.
    line: u64,
    /// Bytes that came so far, as far as that matters.
    head: usize,
    /// Bytes of the line before `rest`, which were searched by themselves.
    cut_off: u64,
    binary: bool,
    in_parts: bool,
}

impl FileSearch<'_> {
    /// Whether the file has a line that was searched in parts, because it is longer than [`MAX_LINE`].
    pub fn is_in_parts(&self) -> bool {
        self.in_parts
    }

    /// Takes the next piece and tells of every line that is whole by then.
    pub fn take(&mut self, piece: &[u8], found: &mut dyn FnMut(Hit) -> Then) -> Then {
        if self.head < BINARY_HEAD {
            let looked_at = &piece[..piece.len().min(BINARY_HEAD - self.head)];
            self.binary |= memchr::memchr(0, looked_at).is_some();
            self.head += looked_at.len();
        }
        let Some(end) = memchr::memrchr(b'\n', piece) else {
            self.rest.extend_from_slice(piece);
            return self.too_long(found);
        };
        let (whole, after) = piece.split_at(end + 1);
        let then = if self.rest.is_empty() {
            self.block(whole, found)
        } else {
            let mut block = std::mem::take(&mut self.rest);
            block.extend_from_slice(whole);
            let then = self.block(&block, found);
            block.clear();
            self.rest = block;
            then
        };
        if then == Then::Stop {
            return then;
        }
        self.rest.extend_from_slice(after);
        self.too_long(found)
    }

    /// Tells of the last line, where it has no end.
    pub fn end(&mut self, found: &mut dyn FnMut(Hit) -> Then) -> Then {
        let rest = std::mem::take(&mut self.rest);
        self.block(&rest, found)
    }

    fn too_long(&mut self, found: &mut dyn FnMut(Hit) -> Then) -> Then {
        let mut then = Then::GoOn;
        while then == Then::GoOn && self.rest.len() >= MAX_LINE {
            self.in_parts = true;
            let part = self.rest.drain(..MAX_LINE).collect::<Vec<_>>();
            then = self.line(&part, self.line, found);
            self.cut_off += part.len() as u64;
        }
        then
    }

    /// Searches lines that are whole, but for the end of the last one.
    fn block(&mut self, block: &[u8], found: &mut dyn FnMut(Hit) -> Then) -> Then {
        let (mut at, mut counted) = (0, 0);
        while at < block.len() {
            let start = match &self.matcher.block {
                Some(regex) => match regex.find_at(block, at) {
                    Some(place) => place.start(),
                    None => break,
                },
                None => at,
            };
            let start = memchr::memrchr(b'\n', &block[at..start]).map_or(at, |end| at + end + 1);
            if start == block.len() {
                break;
            }
            let end = memchr::memchr(b'\n', &block[start..]).map_or(block.len(), |end| start + end);
            self.count(&block[counted..start]);
            counted = start;
            let line = &block[start..end];
            let line = match end < block.len() {
                true => line.strip_suffix(b"\r").unwrap_or(line),
                false => line,
            };
            if self.line(line, self.line, found) == Then::Stop {
                return Then::Stop;
            }
            at = end + 1;
        }
        self.count(&block[counted..]);
        Then::GoOn
    }

    fn count(&mut self, bytes: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
        if lines > 0 {
            self.cut_off = 0;
        }
        self.line += lines;
    }

    fn line(&self, line: &[u8], number: u64, found: &mut dyn FnMut(Hit) -> Then) -> Then {
        let Some(place) = self.matcher.line.find(line) else {
            return Then::GoOn;
        };
        let (from, to) = shown(line, place.start(), place.end());
        found(Hit {
            line: number,
            column: self.cut_off + place.start() as u64 + 1,
            text: line[from..to].to_vec(),
            start: self.cut_off + from as u64 + 1,
            cut: self.cut_off > 0 || from > 0 || to < line.len(),
            binary: self.binary,
        })
    }
}

/// The part of a line that is shown.
fn shown(line: &[u8], start: usize, end: usize) -> (usize, usize) {
    if line.len() <= MAX_SHOWN {
        return (0, line.len());
    }
    // No character is cut in two, where they are any.
    let is_inside = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut from = match end <= MAX_SHOWN {
        true => 0,
        false => start.saturating_sub(BEFORE),
    };
    let mut to = line.len().min(from + MAX_SHOWN);
    for _ in 0..3 {
        from += usize::from(from > 0 && from < start && is_inside(from));
        to -= usize::from(to > start && is_inside(to));
    }
    (from, to)
}

#[cfg(test)]
mod tests;
