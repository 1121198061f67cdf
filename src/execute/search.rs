//! `search`: the guest sends files, and the lines are found here.

use super::files::name_in_line;
use super::session::{Session, StepError};
use super::{capture, expect};
use crate::exclude::Exclude;
use crate::machine::{CallEvent, LinkError};
use crate::plan::{PlannedSearch, PlannedStep};
use crate::receipt::{MatchReport, SearchReport, StepReport, Text};
use crate::request::{CaptureSource, GuestPath};
use crate::search::{FileSearch, Hit, Matcher, Then};
use crate::secret::{Redaction, Stream};
use pyro_protocol::message::{Op, Records, Reply, Stat, TreeRead};
use pyro_protocol::{Bytes, pieces};

/// What stands before the contents of a file is never longer.
const MAX_HEADER: usize = 64 << 10;
/// Paths that a note names.
const NAMED: usize = 10;

impl Session<'_> {
    pub(super) fn search(
        &mut self,
        step: &PlannedStep,
        search: &PlannedSearch,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let matcher = Matcher::new(&search.regex).map_err(|error| {
            let message = format!("/{}/ cannot be searched for: {error}", search.regex);
            StepError::refused("pattern-invalid", message)
        })?;
        let mut found = Found::new(search);
        let mut left_out = Vec::new();
        for path in &search.paths {
            if found.is_full {
                break;
            }
            let records = self.search_below(path, search, &matcher, &mut found)?;
            found.report.files += records.entries;
            found.report.bytes += records.bytes;
            left_out.extend(records.left_out);
        }
        let secrets = self.secrets.redaction();
        // What files hold is rid of them already; names are not.
        let text = secrets.bytes(&lines(&found.report.matches)).into_owned();
        let more = u64::from(found.is_full);
        report.redacted |= found.redacted;
        report.failures = expect::text("text", &search.text, &text, more);
        capture::take(step, CaptureSource::Text, (&text, more), secrets, report);
        self.goldens(step, "text", &search.text, &text, more, report);
        report.text = Some(Text::from(&text[..]));
        report.notes.extend(found.notes());
        if !left_out.is_empty() {
            let named: Vec<_> = left_out.iter().take(NAMED).map(Bytes::lossy).collect();
            let more = match left_out.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let note = format!(
                "not searched, being unreadable or gone meanwhile: {}{more}",
                named.join(", ")
            );
            report.notes.push(note);
        }
        report.search = Some(found.report);
        Ok(())
    }

    fn search_below(
        &mut self,
        path: &GuestPath,
        search: &PlannedSearch,
        matcher: &Matcher,
        found: &mut Found<'_>,
    ) -> Result<Records, StepError> {
        let op = Op::TreeRead(TreeRead {
            path: Bytes::from(path.as_bytes()),
            from: search
                .after
                .as_ref()
                .map(|after| Bytes::from(after.as_bytes())),
            skip: names(&search.exclude),
            needles: needles(matcher, self.secrets.redaction()),
        });
        self.speaks(&op)?;
        let call = self.link.call(op);
        let redaction = self.secrets.redaction().clone();
        let mut files = Files::default();
        loop {
            match self.next(call)? {
                CallEvent::Started => {}
                CallEvent::Data { bytes, .. } => {
                    files.take(&bytes, (matcher, &redaction), found)?;
                    if found.is_full {
                        let searched = Records {
                            entries: files.begun,
                            bytes: files.bytes,
                            ..Records::default()
                        };
                        self.call_off(call)?;
                        return Ok(searched);
                    }
                }
                CallEvent::Done(Reply::Records(records)) => return Ok(records),
                CallEvent::Done(reply) => return Err(StepError::surprise(&reply)),
                CallEvent::Failed(failure) => return Err(failure.into()),
            }
        }
    }
}

/// What the guest may pass a file over for. It sees files as they are: which ones it passes over would say what is in a
/// secret, so with secrets it passes over none.
fn needles(matcher: &Matcher, redaction: &Redaction) -> Vec<Bytes> {
    let needles = redaction.is_none().then(|| matcher.needles());
    needles
        .into_iter()
        .flatten()
        .map(|needle| Bytes::from(&needle[..]))
        .collect()
}

/// Names that the guest need not look at: patterns that are the name of a path and nothing else, where no pattern
/// takes something back.
fn names(patterns: &[String]) -> Vec<Bytes> {
    let is_name = |pattern: &&String| {
        let name = pattern.strip_suffix('/').unwrap_or(pattern);
        let is_plain = |c: char| !c.is_whitespace() && !"/*?[]{}\\!#".contains(c);
        !name.is_empty() && name.chars().all(is_plain)
    };
    if patterns.iter().any(|pattern| pattern.starts_with('!')) {
        return Vec::new();
    }
    patterns
        .iter()
        .filter(is_name)
        .map(|pattern| Bytes::from(pattern.as_str()))
        .collect()
}

/// What was found so far, within its bounds.
struct Found<'p> {
    search: &'p PlannedSearch,
    include: Exclude,
    exclude: Exclude,
    report: SearchReport,
    /// Bytes of the lines so far.
    told: u64,
    is_full: bool,
    /// Whether a file had a secret, which was no part of what was searched.
    redacted: bool,
    /// Files with a line that was searched in parts.
    in_parts: Vec<String>,
}

impl<'p> Found<'p> {
    fn new(search: &'p PlannedSearch) -> Self {
        Self {
            search,
            include: Exclude::new(&search.include, false),
            exclude: Exclude::new(&search.exclude, false),
            report: SearchReport::default(),
            told: 0,
            is_full: false,
            redacted: false,
            in_parts: Vec::new(),
        }
    }

    /// Whether a file is to be searched.
    fn wants(&self, path: &[u8]) -> bool {
        let is_done = match (&self.search.after, self.search.after_line) {
            (Some(after), None) => path <= after.as_bytes(),
            (Some(after), Some(_)) => path < after.as_bytes(),
            (None, _) => false,
        };
        !is_done
            && (self.include.is_nothing() || self.include.names(path, false))
            && !self.exclude.names(path, false)
    }

    fn hit(&mut self, path: &[u8], hit: Hit) -> Then {
        let is_told =
            |(after, line): (&GuestPath, u64)| after.as_bytes() == path && hit.line <= line;
        if self
            .search
            .after
            .as_ref()
            .zip(self.search.after_line)
            .is_some_and(is_told)
        {
            return Then::GoOn;
        }
        let text = (!hit.binary).then_some(hit.text);
        let size = text.as_ref().map_or(0, |text| text.len() as u64);
        let is_enough = self.report.matches.len() as u64 >= self.search.max_matches
            || !self.report.matches.is_empty()
                && self.told + size > self.search.max_bytes.as_bytes();
        if is_enough {
            self.is_full = true;
            self.report.truncated = true;
            // It goes on after the last line that is told.
            if let Some(last) = self.report.matches.last() {
                self.report.next_after = Some(last.path.clone());
                self.report.next_after_line = (!last.binary).then_some(last.line);
            }
            return Then::Stop;
        }
        self.told += size;
        self.report.matches.push(MatchReport {
            path: Text::from(path),
            line: hit.line,
            column: hit.column,
            text: text.as_deref().map(Text::from),
            start: if hit.binary { 1 } else { hit.start },
            cut: hit.cut && !hit.binary,
            binary: hit.binary,
        });
        if hit.binary { Then::Stop } else { Then::GoOn }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_full {
            let matches = self.report.matches.len();
            notes.push(format!(
                "there is more: these are the first {matches}; `after` and `after_line` go on"
            ));
        }
        for name in self.in_parts.iter().take(NAMED) {
            notes.push(format!(
                "{name} has a line of more than 16 MiB, which was searched in parts: what lies across two was not found"
            ));
        }
        notes
    }
}

/// The lines as text: `PATH:LINE:TEXT`.
fn lines(matches: &[MatchReport]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in matches {
        name_in_line(&one.path.bytes(), &mut out);
        let Some(text) = &one.text else {
            out.extend_from_slice(b": matches in binary\n");
            continue;
        };
        out.extend_from_slice(format!(":{}:", one.line).as_bytes());
        let bytes = text.bytes();
        let ellipsis = "\u{2026}".as_bytes();
        if one.start > 1 {
            out.extend_from_slice(ellipsis);
        }
        out.extend_from_slice(&bytes);
        // Which end is cut, the report does not say; a part from the first byte on is cut at its other end.
        if one.cut && (one.start == 1 || bytes.len() >= crate::search::MAX_SHOWN - 3) {
            out.extend_from_slice(ellipsis);
        }
        out.push(b'\n');
    }
    out
}

/// The stream of files, taken apart as it comes.
#[derive(Default)]
struct Files<'m> {
    /// Bytes of a header, or of the head of a piece, that is not whole yet.
    part: Vec<u8>,
    state: State<'m>,
    begun: u64,
    bytes: u64,
}

#[derive(Default)]
enum State<'m> {
    /// Before the header of a file.
    #[default]
    Header,
    /// In a file: how many bytes of the piece are left (none: before the head of the next one), and its search, where
    /// more of it is wanted.
    File {
        path: Vec<u8>,
        left: usize,
        search: Option<FileSearch<'m>>,
        /// Takes secrets out before anything is looked for: nobody finds out by searching what they are.
        clean: Box<Stream>,
    },
}

impl<'m> Files<'m> {
    fn take(
        &mut self,
        mut bytes: &[u8],
        (matcher, redaction): (&'m Matcher, &Redaction),
        found: &mut Found<'_>,
    ) -> Result<(), StepError> {
        while !bytes.is_empty() && !found.is_full {
            match &mut self.state {
                State::Header => {
                    let end = memchr::memchr(b'\n', bytes);
                    let (head, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    self.part.extend_from_slice(head);
                    bytes = rest;
                    if self.part.len() > MAX_HEADER {
                        return Err(broken("a path without an end"));
                    }
                    if end.is_some() {
                        let stat: Stat = serde_json::from_slice(&self.part)
                            .map_err(|error| broken(&error.to_string()))?;
                        self.part.clear();
                        self.begun += 1;
                        self.bytes += stat.size;
                        let path = stat.path.to_vec();
                        let search = found.wants(&path).then(|| matcher.file());
                        self.state = State::File {
                            path,
                            left: 0,
                            search,
                            clean: Box::new(redaction.stream()),
                        };
                    }
                }
                State::File {
                    path,
                    left: 0,
                    search,
                    clean,
                } => {
                    let missing = 4 - self.part.len();
                    let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.part.extend_from_slice(head);
                    bytes = rest;
                    let Some((length, _)) = pieces::split(&self.part) else {
                        continue;
                    };
                    self.part.clear();
                    if length > 0 {
                        let State::File { left, .. } = &mut self.state else {
                            continue;
                        };
                        *left = usize::try_from(length).unwrap_or(usize::MAX);
                        continue;
                    }
                    if let Some(search) = search {
                        let rest = clean.finish();
                        search.take(&rest, &mut |hit| found.hit(path, hit));
                        search.end(&mut |hit| found.hit(path, hit));
                        if search.is_in_parts() {
                            found
                                .in_parts
                                .push(String::from_utf8_lossy(path).into_owned());
                        }
                    }
                    found.redacted |= clean.any();
                    self.state = State::Header;
                }
                State::File {
                    path,
                    left,
                    search,
                    clean,
                } => {
                    let (piece, rest) = bytes.split_at((*left).min(bytes.len()));
                    bytes = rest;
                    *left -= piece.len();
                    if let Some(one) = search
                        && one.take(&clean.push(piece), &mut |hit| found.hit(path, hit))
                            == Then::Stop
                    {
                        *search = None;
                    }
                    found.redacted |= clean.any();
                }
            }
        }
        Ok(())
    }
}

fn broken(what: &str) -> StepError {
    StepError::Lost(LinkError::Protocol(format!(
        "the files of a search: {what}"
    )))
}
