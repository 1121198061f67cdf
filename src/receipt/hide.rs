//! Takes secrets out of everything in a receipt that is text of the request or of the workspace.
//!
//! Every field is named here, so that one that is added does not compile before it was thought about.

use super::{
    AttemptReport, ChangeReport, EntryReport, ExecReport, ExpectFailure, FileReport, MatchReport,
    MoveReport, OutputReport, PatchReason, PathVersion, PullConflict, PullReport, PulledReport,
    Receipt, RefusalReport, RequestReport, RestReport, SearchReport, SeedReport, StepReport, Text,
};
use crate::secret::{Redaction, TAG};
use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// Takes secrets out, and notes whether there were any.
#[derive(Debug)]
struct Hide<'r> {
    redaction: &'r Redaction,
    any: bool,
}

impl Hide<'_> {
    fn string(&mut self, text: &mut String) {
        self.any |= self.redaction.string(text);
    }

    fn strings<'s>(&mut self, texts: impl IntoIterator<Item = &'s mut String>) {
        for text in texts {
            self.string(text);
        }
    }

    fn text(&mut self, text: &mut Text) {
        // What is no text is looked at as the bytes that it is.
        let bytes = text.bytes();
        if let Cow::Owned(clean) = self.redaction.bytes(&bytes) {
            *text = Text::from(&clean[..]);
            self.any = true;
        }
    }

    fn texts<'s>(&mut self, texts: impl IntoIterator<Item = &'s mut Text>) {
        for text in texts {
            self.text(text);
        }
    }

    fn paths<'p>(&mut self, paths: impl IntoIterator<Item = &'p mut PathBuf>) {
        for path in paths {
            if let Cow::Owned(clean) = self.redaction.bytes(path.as_os_str().as_bytes()) {
                *path = PathBuf::from(OsString::from_vec(clean));
                self.any = true;
            }
        }
    }

    fn version(&mut self, version: Option<&mut PathVersion>) {
        if let Some(version) = version {
            let PathVersion {
                kind: _,
                size: _,
                mode: _,
                sha256: _,
                target,
            } = version;
            self.texts(target);
        }
    }

    fn change(&mut self, change: &mut ChangeReport) {
        let ChangeReport {
            path,
            before,
            after,
        } = change;
        self.text(path);
        self.version(before.as_mut());
        self.version(after.as_mut());
    }

    fn pull(&mut self, pull: Option<&mut PullReport>) {
        let Some(pull) = pull else { return };
        let PullReport {
            directory,
            dry_run: _,
            changes,
            already: _,
            conflicts,
        } = pull;
        self.text(directory);
        for change in changes {
            let PulledReport {
                path,
                how: _,
                before,
                after,
            } = change;
            self.text(path);
            self.version(before.as_mut());
            self.version(after.as_mut());
        }
        for PullConflict { path, reason } in conflicts {
            self.text(path);
            self.string(reason);
        }
    }

    fn exec(&mut self, exec: Option<&mut ExecReport>) {
        if let Some(exec) = exec {
            let ExecReport {
                exit_code: _,
                signal: _,
                reason,
                timed_out: _,
                not_started,
                duration_us: _,
                cpu_us: _,
                max_rss_kib: _,
                left_running: _,
            } = exec;
            self.strings(reason);
            self.strings(not_started);
        }
    }

    fn output(&mut self, output: Option<&mut OutputReport>) {
        if let Some(output) = output {
            let OutputReport {
                bytes: _,
                dropped: _,
                sha256: _,
                head,
                tail,
                truncated: _,
                file: _,
                redacted,
            } = output;
            // Nothing is in them any more, unless something put it there that is no output.
            self.text(head);
            self.texts(tail);
            self.any |= *redacted;
        }
    }

    fn refusal(&mut self, refusal: Option<&mut RefusalReport>) {
        let Some(refusal) = refusal else { return };
        let RefusalReport {
            code: _,
            message,
            help,
            reasons,
        } = refusal;
        self.string(message);
        self.strings(help);
        for reason in reasons {
            let PatchReason {
                code: _,
                message,
                file,
                hunk: _,
                patch_line: _,
                file_line: _,
                nearest: _,
                places: _,
                similar,
                expected,
                found,
                help,
            } = reason;
            self.string(message);
            self.texts(file);
            self.texts(similar);
            self.texts(expected);
            self.texts(found);
            self.strings(help);
        }
    }

    fn failures(&mut self, failures: &mut [ExpectFailure]) {
        for failure in failures {
            let ExpectFailure {
                pointer,
                message,
                expected,
                diff,
            } = failure;
            self.string(pointer);
            self.string(message);
            self.texts(expected);
            self.texts(diff);
        }
    }

    fn seed(&mut self, seed: Option<&mut SeedReport>) {
        let Some(seed) = seed else { return };
        let SeedReport {
            path: _,
            entries: _,
            bytes: _,
            left_out,
            left_out_more: _,
        } = seed;
        self.texts(left_out.iter_mut().map(|left| &mut left.path));
    }
}

impl StepReport {
    /// Takes secrets out of everything it says.
    pub(crate) fn hide(&mut self, redaction: &Redaction) {
        if redaction.is_none() {
            return;
        }
        let mut hide = Hide {
            redaction,
            any: self.redacted,
        };
        let Self {
            number: _,
            id: _,
            verb: _,
            pointer,
            summary,
            outcome: _,
            duration_ms: _,
            exec,
            stdout,
            stderr,
            files,
            sync,
            moved,
            pull,
            search,
            text,
            counts: _,
            entries,
            rest,
            changes,
            host_files,
            refusal,
            failures,
            notes,
            captures,
            attempts,
            redacted,
        } = self;
        hide.string(pointer);
        hide.string(summary);
        hide.exec(exec.as_mut());
        hide.output(stdout.as_mut());
        hide.output(stderr.as_mut());
        for file in files {
            let FileReport {
                path,
                before,
                after,
                hunks: _,
                content,
                truncated: _,
                redacted,
            } = file;
            hide.text(path);
            hide.version(before.as_mut());
            hide.version(after.as_mut());
            hide.texts(content);
            hide.any |= *redacted;
        }
        hide.seed(sync.as_mut());
        if let Some(MoveReport { from, to, now }) = moved {
            hide.text(from);
            hide.text(to);
            hide.version(Some(now));
        }
        hide.pull(pull.as_mut());
        if let Some(search) = search {
            let SearchReport {
                matches,
                files: _,
                bytes: _,
                truncated: _,
                next_after,
                next_after_line: _,
            } = search;
            for found in matches {
                let MatchReport {
                    path,
                    line: _,
                    column: _,
                    text,
                    start: _,
                    cut: _,
                    binary: _,
                } = found;
                hide.text(path);
                hide.texts(text);
            }
            hide.texts(next_after);
        }
        hide.texts(text);
        if let Some(RestReport {
            entries: _,
            next_after,
        }) = rest
        {
            hide.text(next_after);
        }
        for EntryReport { path, now } in entries {
            hide.text(path);
            hide.version(Some(now));
        }
        for change in changes {
            hide.change(change);
        }
        hide.paths(host_files.iter_mut().map(|file| &mut file.path));
        hide.refusal(refusal.as_mut());
        hide.failures(failures);
        hide.strings(notes);
        hide.strings(captures.values_mut());
        for attempt in attempts {
            let AttemptReport {
                duration_ms: _,
                exec,
                stdout,
                stderr,
                refusal,
                failures,
            } = attempt;
            hide.exec(exec.as_mut());
            hide.output(stdout.as_mut());
            hide.output(stderr.as_mut());
            hide.refusal(refusal.as_mut());
            hide.failures(failures);
        }
        *redacted = hide.any;
    }
}

impl Receipt {
    /// Takes secrets out of what it says besides its steps, which are rid of them when they end.
    pub(crate) fn hide(&mut self, redaction: &Redaction) {
        if redaction.is_none() {
            return;
        }
        let mut hide = Hide {
            redaction,
            any: false,
        };
        let Self {
            format_version: _,
            pyro_version: _,
            run: _,
            request,
            plan_digest: _,
            started_at: _,
            ended_at: _,
            duration_ms: _,
            execution_mode: _,
            isolation,
            environment: _,
            workspace: _,
            seed,
            limits: _,
            outcome: _,
            lost,
            steps: _,
            left_out: _,
            changes,
            host_files,
            kept,
        } = self;
        let RequestReport {
            name,
            source: _,
            matrix,
            digest: _,
        } = request;
        hide.strings(name);
        hide.strings(matrix.0.values_mut());
        hide.strings(isolation);
        hide.seed(seed.as_mut());
        hide.strings(lost);
        for change in changes {
            hide.change(change);
        }
        hide.paths(host_files.iter_mut().map(|file| &mut file.path));
        hide.strings(kept.as_mut().and_then(|kept| kept.failed.as_mut()));
    }
}

/// Whether a value that was captured has a secret in it: what stands in the place of one counts.
pub(crate) fn has_secret(redaction: &Redaction, value: &str) -> bool {
    !redaction.is_none() && (value.contains(TAG) || !redaction.ranges(value.as_bytes()).is_empty())
}
