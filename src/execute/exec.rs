//! `exec`: runs a program and keeps what it puts out.

use super::capture;
use super::event::{Event, Stream};
use super::expect;
use super::golden;
use super::output::Output;
use super::session::{Session, StepError};
use crate::machine::CallEvent;
use crate::plan::{PlannedExec, PlannedStep};
use crate::receipt::{ExecReport, StepReport};
use crate::request::CaptureSource;
use pyro_protocol::Bytes;
use pyro_protocol::frame::STREAM_ERRORS;
use pyro_protocol::message::{ExecEnd, ExecRun, Op, Reply};
use std::path::Path;

/// Output that is kept at all, for each stream of each step.
const SPOOL_LIMIT: u64 = 256 << 20;
/// From TERM to KILL.
const GRACE_MS: u64 = 2000;
const SIGKILL: i32 = 9;

impl Session<'_> {
    pub(super) fn exec(
        &mut self,
        step: &PlannedStep,
        exec: &PlannedExec,
        report: &mut StepReport,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), StepError> {
        let redaction = self.secrets.redaction().clone();
        let op = Op::ExecRun(ExecRun {
            argv: exec.argv.clone(),
            cwd: exec.cwd.clone(),
            env: self.environment(exec)?,
            timeout_ms: exec.timeout.as_millis(),
            grace_ms: GRACE_MS,
            stdin: exec.stdin.is_some(),
            spool_limit: SPOOL_LIMIT,
            terminal: None,
            unnamed: !redaction.is_none(),
        });
        let call = self.link.call(op);
        if let Some(stdin) = &exec.stdin {
            self.link.input(call, stdin);
            self.link.end_input(call);
        }
        let limit = exec.max_output.as_bytes();
        let output = |folder: &Path, name| {
            Output::new(limit, folder.join(format!("{}.{name}", step.number)))
                .counting(!redaction.is_none())
        };
        let mut stdout = output(self.folder, "stdout");
        let mut stderr = output(self.folder, "stderr");
        let (mut clean_out, mut clean_err) = (redaction.stream(), redaction.stream());
        let done = loop {
            match self.next(call)? {
                CallEvent::Started => {}
                CallEvent::Data { stream, bytes } => {
                    let (stream, output, clean) = if stream == STREAM_ERRORS {
                        (Stream::Stderr, &mut stderr, &mut clean_err)
                    } else {
                        (Stream::Stdout, &mut stdout, &mut clean_out)
                    };
                    // From here on there are no secrets in it.
                    let bytes = clean.push(&bytes);
                    output.push(&bytes);
                    tell(step, stream, &bytes, on_event);
                }
                CallEvent::Done(Reply::Exec(done)) => break done,
                CallEvent::Done(reply) => return Err(StepError::surprise(&reply)),
                CallEvent::Failed(failure) => return Err(failure.into()),
            }
        };
        for (stream, output, clean) in [
            (Stream::Stdout, &mut stdout, &mut clean_out),
            (Stream::Stderr, &mut stderr, &mut clean_err),
        ] {
            let bytes = clean.finish();
            output.push(&bytes);
            output.redacted = clean.any();
            tell(step, stream, &bytes, on_event);
        }
        self.still_there(&done.end)?;
        let outcome = outcome(&done.end, &done);
        if outcome.left_running > 0 {
            let many = if outcome.left_running == 1 {
                "process"
            } else {
                "processes"
            };
            report
                .notes
                .push(format!("{} {many} left running", outcome.left_running));
        }
        if let Some(limit) = &done.limit
            && outcome.reason.is_none()
        {
            report
                .notes
                .push(format!("processes of it were ended: {limit}"));
        }
        report.failures = expect::exec(step, exec, &done.end, &outcome);
        let checks = [
            ("stdout", &exec.stdout, &mut stdout, &done.stdout),
            ("stderr", &exec.stderr, &mut stderr, &done.stderr),
        ];
        for (name, wanted, output, counted) in checks {
            if !wanted.is_empty() {
                report
                    .failures
                    .extend(expect::output(name, wanted, output, counted.dropped));
            }
        }
        if !matches!(done.end, ExecEnd::NotStarted { .. } | ExecEnd::Cancelled) {
            let mut outputs = [
                (
                    CaptureSource::Stdout,
                    &exec.stdout,
                    &mut stdout,
                    done.stdout.dropped,
                ),
                (
                    CaptureSource::Stderr,
                    &exec.stderr,
                    &mut stderr,
                    done.stderr.dropped,
                ),
            ];
            for (source, _, output, dropped) in &mut outputs {
                if !capture::wants(step, *source) {
                    continue;
                }
                match output.all() {
                    Ok(bytes) => {
                        capture::take(step, *source, (&bytes, *dropped), &redaction, report);
                    }
                    Err(error) => report.failures.push(expect::failure(
                        step.pointer.at("capture"),
                        format!("{} could not be kept in full: {error}", source.as_str()),
                    )),
                }
            }
            for (source, wanted, output, dropped) in outputs {
                // An output that could not be kept was told above.
                if golden::wanted(wanted)
                    && let Ok(bytes) = output.all()
                {
                    self.goldens(step, source.as_str(), wanted, &bytes, dropped, report);
                }
            }
        }
        report.exec = Some(outcome);
        report.stdout = Some(stdout.report(&done.stdout));
        report.stderr = Some(stderr.report(&done.stderr));
        if done.end == ExecEnd::Cancelled {
            Err(StepError::Cancelled)
        } else {
            Ok(())
        }
    }
}

impl Session<'_> {
    /// What the program finds, its secrets too: they are in this one environment and in no file.
    fn environment(&self, exec: &PlannedExec) -> Result<Vec<(Bytes, Bytes)>, StepError> {
        let mut env = exec.env.clone();
        for (name, variable) in &exec.secrets {
            let Some(secret) = self.secrets.get(name) else {
                return Err(StepError::refused(
                    "secret-unknown",
                    format!("the workspace has no secret `{name}` any more"),
                ));
            };
            env.retain(|(known, _)| **known != *variable.as_bytes());
            env.push((Bytes::from(&**variable), Bytes::from(secret.expose())));
        }
        env.sort();
        Ok(env)
    }

    /// A KILL that nobody explains may be the end of the whole sandbox: its kernel ends every program with it. Such
    /// a sandbox cannot even try to start a program.
    fn still_there(&mut self, end: &ExecEnd) -> Result<(), StepError> {
        let unexplained = matches!(
            end,
            ExecEnd::Signalled {
                signal: SIGKILL,
                reason: None
            }
        );
        if !unexplained {
            return Ok(());
        }
        let probe = Op::ExecRun(ExecRun {
            argv: vec![Bytes::from(&b"/.pyro-there-is-no-such-program"[..])],
            cwd: Bytes::from(&b"/"[..]),
            env: Vec::new(),
            timeout_ms: 1000,
            grace_ms: 0,
            stdin: false,
            spool_limit: 0,
            terminal: None,
            unnamed: false,
        });
        match self.call(probe, None) {
            Err(StepError::Lost(error)) => Err(StepError::Lost(error)),
            Ok(_) | Err(StepError::Refused(_) | StepError::Cancelled) => Ok(()),
        }
    }
}

fn tell(step: &PlannedStep, stream: Stream, bytes: &[u8], on_event: &mut dyn FnMut(Event<'_>)) {
    if !bytes.is_empty() {
        on_event(Event::Output {
            step,
            stream,
            bytes,
        });
    }
}

fn outcome(end: &ExecEnd, done: &pyro_protocol::message::ExecReport) -> ExecReport {
    let base = ExecReport {
        exit_code: 0,
        signal: None,
        reason: None,
        timed_out: false,
        not_started: None,
        duration_us: done.duration_us,
        cpu_us: done.cpu_us,
        max_rss_kib: done.max_rss_kib,
        left_running: done.left_running,
    };
    match end {
        ExecEnd::Exited { code } => ExecReport {
            exit_code: *code,
            ..base
        },
        ExecEnd::Signalled { signal, reason } => ExecReport {
            exit_code: 128 + signal,
            signal: Some(*signal),
            reason: reason.clone(),
            ..base
        },
        ExecEnd::TimedOut => ExecReport {
            exit_code: 124,
            timed_out: true,
            ..base
        },
        ExecEnd::Cancelled => ExecReport {
            exit_code: 130,
            reason: Some("cancelled".to_owned()),
            ..base
        },
        ExecEnd::NotStarted { code, reason, .. } => ExecReport {
            exit_code: *code,
            not_started: Some(reason.clone()),
            ..base
        },
    }
}
