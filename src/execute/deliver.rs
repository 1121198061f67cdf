//! `diff` and `export`: what leaves the workspace.

use super::calls::CallReader;
use super::session::{Session, StepError};
use super::{capture, expect, points};
use crate::plan::{PlannedDiff, PlannedExport, PlannedStep};
use crate::receipt::{ChangeReport, RefusalReport, StepReport, Text};
use crate::request::CaptureSource;
use crate::secret::Stream;
use crate::workspace::{HostTarget, HostWriteError, unpack};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use pyro_protocol::Bytes;
use pyro_protocol::message::{Change, Kind, Op, TarOut};
use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How many paths a note names.
const NAMED: usize = 10;

impl Session<'_> {
    pub(super) fn diff(
        &mut self,
        step: &PlannedStep,
        diff: &PlannedDiff,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let exclude = globs(&diff.exclude)?;
        let mut changes = self.changes_since(&diff.against)?;
        changes.retain(|change| !excluded(&exclude, change));
        let text = self.patch_of(&diff.against, &changes)?;
        let secrets = self.secrets.redaction();
        let text = match secrets.bytes(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(clean) => {
                report.redacted = true;
                clean
            }
        };
        report.failures = expect::text("text", &diff.text, &text, 0);
        capture::take(step, CaptureSource::Text, (&text, 0), secrets, report);
        self.goldens(step, "text", &diff.text, &text, 0, report);
        report.text = Some(Text::from(&text[..]));
        report.changes = points::without_directories(&changes)
            .into_iter()
            .map(ChangeReport::from)
            .collect();
        Ok(())
    }

    pub(super) fn export(
        &mut self,
        export: &PlannedExport,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let path = export.path.as_bytes();
        let kind = match self.stat(path)? {
            None => {
                return Err(StepError::refused(
                    "not-found",
                    format!("there is no {} in the workspace", export.path),
                ));
            }
            Some(stat) if stat.kind == Kind::Symlink => {
                return Err(StepError::refused(
                    "symlink",
                    format!("{} is a symlink; export what it points to", export.path),
                ));
            }
            Some(stat) if stat.kind == Kind::Other => {
                return Err(StepError::refused(
                    "wrong-kind",
                    format!("{} is neither a file nor a directory", export.path),
                ));
            }
            Some(stat) => stat.kind,
        };
        let limit = self.plan.workspace.limits.disk;
        let target = HostTarget {
            path: &export.to,
            overwrite: export.overwrite,
            kind,
            limit,
        };
        let run = self.run;
        let mut watched = self.secrets.redaction().stream();
        let mut reader = CallReader::new(
            self,
            Op::TarOut(TarOut {
                path: Bytes::from(path),
                kind: Some(kind),
            }),
        );
        let unpacked = unpack(
            &mut Watched {
                inner: &mut reader,
                stream: &mut watched,
            },
            &target,
            run,
        );
        let call = reader.finish();
        match unpacked {
            Ok(files) => {
                report.host_files = files;
                report.notes.extend(call.ok().and_then(left_out));
                report
                    .notes
                    .extend(has_secrets(&watched.seen(), "exported", "an export"));
            }
            // The reason lies with the guest where the stream from it broke.
            Err(HostWriteError::Receive(_)) if call.is_err() => return call.map(drop),
            Err(error) => {
                let exists = matches!(error, HostWriteError::Exists(_));
                let source = error.source().map(|source| format!(": {source}"));
                let code = match error {
                    HostWriteError::Exists(_) | HostWriteError::OtherKind { .. } => "export-exists",
                    HostWriteError::Linked(_) => "export-symlink",
                    HostWriteError::Archive(_)
                    | HostWriteError::Receive(_)
                    | HostWriteError::Host { .. } => "export-failed",
                };
                let help = "take it away, or say `overwrite = true`; nothing was written";
                return Err(StepError::Refused(RefusalReport {
                    code: code.to_owned(),
                    message: format!("could not {error}{}", source.unwrap_or_default()),
                    help: exists.then(|| help.to_owned()),
                    reasons: Vec::new(),
                }));
            }
        }
        Ok(())
    }
}

/// Bytes on their way to the host, which are looked at and stay as they are.
pub(super) struct Watched<'a, R> {
    pub(super) inner: &'a mut R,
    pub(super) stream: &'a mut Stream,
}

impl<R: io::Read> io::Read for Watched<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        let _hidden = self.stream.push(&out[..count]);
        Ok(count)
    }
}

/// Says which secrets went to the host: what is brought there is exact.
pub(super) fn has_secrets(names: &[String], how: &str, it: &str) -> Option<String> {
    let (what, they) = match names {
        [] => return None,
        [_] => ("the secret", "it is"),
        _ => ("the secrets", "they are"),
    };
    Some(format!(
        "what was {how} has {what} {} in it: {it} is exact, and {they} on the host in plain text now",
        names.join(", ")
    ))
}

/// Says what did not come along.
fn left_out(mut paths: Vec<Bytes>) -> Option<String> {
    if paths.is_empty() {
        return None;
    }
    paths.sort();
    let named: Vec<_> = paths.iter().take(NAMED).map(Bytes::lossy).collect();
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "not exported, being neither file nor directory nor link, or gone meanwhile: {}{more}",
        named.join(", ")
    ))
}

fn globs(patterns: &[String]) -> Result<Gitignore, StepError> {
    let mut builder = GitignoreBuilder::new("/");
    for pattern in patterns {
        let added = builder.add_line(None, pattern);
        added.map_err(|error| {
            StepError::refused(
                "pattern-invalid",
                format!("`{pattern}` is no glob: {error}"),
            )
        })?;
    }
    builder
        .build()
        .map_err(|error| StepError::refused("pattern-invalid", error.to_string()))
}

fn excluded(globs: &Gitignore, change: &Change) -> bool {
    let directory = change
        .after
        .as_ref()
        .or(change.before.as_ref())
        .is_some_and(|now| now.kind == Kind::Directory);
    let path = Path::new(OsStr::from_bytes(&change.path));
    globs
        .matched_path_or_any_parents(path, directory)
        .is_ignore()
}
