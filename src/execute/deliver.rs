//! `diff` and `export`: what leaves the workspace.

use super::calls::CallReader;
use super::session::{Session, StepError};
use super::{capture, expect};
use crate::patch::{self, Side};
use crate::plan::{PlannedDiff, PlannedExport, PlannedStep};
use crate::receipt::{RefusalReport, StepReport, Text};
use crate::request::CaptureSource;
use crate::workspace::{HostTarget, HostWriteError, unpack};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use pyro_protocol::Bytes;
use pyro_protocol::message::{Change, Kind, Op, TarOut, Version};
use std::error::Error as _;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A changed file larger than this is named in a diff, not shown.
const MAX_SHOWN: u64 = 8 << 20;

impl Session<'_> {
    pub(super) fn diff(
        &mut self,
        step: &PlannedStep,
        diff: &PlannedDiff,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let exclude = globs(&diff.exclude)?;
        let mut text = Vec::new();
        for change in self.changes()? {
            if !excluded(&exclude, &change) {
                self.section(&change, &mut text)?;
            }
        }
        report.failures = expect::text("text", &diff.text, &text, 0);
        capture::take(step, CaptureSource::Text, &text, 0, report);
        self.goldens(step, "text", &diff.text, &text, 0, report);
        report.text = Some(Text::from(&text[..]));
        Ok(())
    }

    /// Appends one path's section of the patch.
    fn section(&mut self, change: &Change, out: &mut Vec<u8>) -> Result<(), StepError> {
        let Change {
            path,
            before,
            after,
        } = change;
        let large = |version: &Option<Version>| {
            version
                .as_ref()
                .is_some_and(|version| version.size > MAX_SHOWN)
        };
        if large(before) || large(after) {
            out.extend_from_slice(&large_note(change));
            return Ok(());
        }
        let old = match before {
            Some(version) if matches!(version.kind, Kind::File | Kind::Symlink) => {
                let bytes = self.baseline.contents(path).map_err(|error| {
                    StepError::refused(
                        "baseline-unreadable",
                        format!("the baseline of {} cannot be read: {error}", path.lossy()),
                    )
                })?;
                Some((bytes, mode(version)))
            }
            Some(_) | None => None,
        };
        let new = match after {
            Some(Version {
                kind: Kind::Symlink,
                target: Some(target),
                ..
            }) => Some((target.0.clone(), 0o120_777)),
            Some(version) if version.kind == Kind::File => {
                match self.read_file(path, Some(MAX_SHOWN)) {
                    Ok((bytes, _)) => Some((bytes, mode(version))),
                    // Gone or replaced since the tree was compared; a program that runs on does such things.
                    Err(StepError::Refused(_)) => None,
                    Err(error) => return Err(error),
                }
            }
            Some(_) | None => None,
        };
        let side = |version| {
            let (bytes, mode): &(Vec<u8>, u32) = version;
            Side { bytes, mode: *mode }
        };
        let (old, new) = (old.as_ref().map(side), new.as_ref().map(side));
        out.extend_from_slice(&patch::unified(path, old, new));
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
        let mut reader = CallReader::new(
            self,
            Op::TarOut(TarOut {
                path: Bytes::from(path),
            }),
        );
        let unpacked = unpack(&mut reader, &target, run);
        let call = reader.finish();
        match unpacked {
            Ok(files) => report.host_files = files,
            // The reason lies with the guest where the stream from it broke.
            Err(HostWriteError::Receive(_)) if call.is_err() => return call,
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
                }));
            }
        }
        Ok(())
    }
}

fn mode(version: &Version) -> u32 {
    if version.kind == Kind::Symlink {
        0o120_777
    } else {
        0o100_000 | version.mode & 0o777
    }
}

fn large_note(change: &Change) -> Vec<u8> {
    let show = |version: &Option<Version>| {
        version.as_ref().map_or_else(
            || "nothing".to_owned(),
            |version| {
                format!(
                    "{} bytes sha256:{:.12}",
                    version.size,
                    version.sha256.as_deref().unwrap_or("unknown")
                )
            },
        )
    };
    let name = String::from_utf8_lossy(&patch::quote(&change.path)).into_owned();
    format!(
        "Large file {name}: {} -> {}\n",
        show(&change.before),
        show(&change.after)
    )
    .into_bytes()
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
