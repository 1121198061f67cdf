//! Holds what came of a step against what was expected. Every expectation that fails is reported.

use super::output::Output;
use crate::patch;
use crate::plan::{PlannedExec, PlannedStep, PlannedText, TextCheck};
use crate::receipt::{ExecReport, ExpectFailure, StepOutcome, StepReport, Text};
use crate::request::{Duration, Signal};
use pyro_protocol::message::ExecEnd;

/// The outcome of a step that was not refused.
pub(super) fn refusal_wanted(step: &PlannedStep, report: &mut StepReport) -> StepOutcome {
    let not_started = report
        .exec
        .as_ref()
        .is_some_and(|exec| exec.not_started.is_some());
    if step.expect_fails && !not_started {
        report.failures.insert(
            0,
            failure(
                step.pointer.at("expect").at("fails"),
                "it was to be refused, but it was done",
            ),
        );
    }
    if report.failures.is_empty() {
        StepOutcome::Passed
    } else {
        StepOutcome::Failed
    }
}

pub(super) fn failure(pointer: impl ToString, message: impl Into<String>) -> ExpectFailure {
    ExpectFailure {
        pointer: pointer.to_string(),
        message: message.into(),
        expected: None,
        diff: None,
    }
}

/// How a program ended against how it was to end.
pub(super) fn exec(
    step: &PlannedStep,
    exec: &PlannedExec,
    end: &ExecEnd,
    report: &ExecReport,
) -> Vec<ExpectFailure> {
    let at = |key: &str| step.pointer.at("expect").at(key);
    let mut failures = Vec::new();
    let actual = actual(end);
    if let ExecEnd::NotStarted { reason, .. } = end {
        if !step.expect_fails {
            failures.push(failure(
                step.pointer.at("exec"),
                format!("not started: {reason}"),
            ));
        }
        return failures;
    }
    if *end == ExecEnd::Cancelled {
        return failures;
    }
    let timed_out = *end == ExecEnd::TimedOut;
    match (exec.timed_out, timed_out) {
        (Some(true), false) => failures.push(failure(
            at("timed_out"),
            format!(
                "expected to run into its timeout of {}, but it {actual}",
                exec.timeout
            ),
        )),
        (Some(false) | None, true) => {
            let pointer = if exec.timed_out.is_some() {
                at("timed_out")
            } else {
                step.pointer.at("timeout")
            };
            failures.push(failure(
                pointer,
                format!(
                    "timed out after {}; it and all it started were ended",
                    exec.timeout
                ),
            ));
        }
        (Some(_) | None, _) => {}
    }
    if let Some(signal) = exec.signal
        && !matches!(end, ExecEnd::Signalled { signal: number, .. } if *number == signal.number)
    {
        failures.push(failure(
            at("signal"),
            format!("expected to end by signal {}, but it {actual}", signal.name),
        ));
    }
    let by_itself = exec.signal.is_none() && exec.timed_out != Some(true) && !timed_out;
    match &exec.exit {
        Some(codes) if !timed_out => {
            if !matches!(end, ExecEnd::Exited { code } if codes.contains(code)) {
                let wanted: Vec<String> = codes.iter().map(ToString::to_string).collect();
                failures.push(failure(
                    at("exit"),
                    format!(
                        "expected exit code {}, but it {actual}",
                        wanted.join(" or ")
                    ),
                ));
            }
        }
        None if by_itself && !matches!(end, ExecEnd::Exited { .. }) => {
            failures.push(failure(at("exit"), format!("it {actual}")));
        }
        Some(_) | None => {}
    }
    if let Some(limit) = exec.duration_under
        && report.duration_us / 1000 >= limit.as_millis()
    {
        let took = Duration::from_millis(report.duration_us / 1000);
        failures.push(failure(
            at("duration_under"),
            format!("expected to take less than {limit}, but it took {took}"),
        ));
    }
    failures
}

/// How a program ended, completing "it ...".
pub(super) fn actual(end: &ExecEnd) -> String {
    match end {
        ExecEnd::Exited { code } => format!("exited with {code}"),
        ExecEnd::Signalled { signal, reason } => {
            let name = Signal::ALL
                .iter()
                .find(|known| known.number == *signal)
                .map_or("", |known| known.name);
            let reason = reason
                .as_ref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!("was ended by signal {signal} ({name}){reason}").replace(" ()", "")
        }
        ExecEnd::TimedOut => "timed out".to_owned(),
        ExecEnd::Cancelled => "was cancelled".to_owned(),
        ExecEnd::NotStarted { reason, .. } => format!("was not started: {reason}"),
    }
}

/// An output stream against its checks.
pub(super) fn output(
    name: &str,
    wanted: &PlannedText,
    output: &mut Output,
    dropped: u64,
) -> Vec<ExpectFailure> {
    match output.all() {
        Ok(bytes) => text(name, wanted, &bytes, dropped),
        Err(error) => {
            let message = format!("{name} could not be kept in full: {error}");
            wanted
                .iter()
                .map(|(pointer, _)| failure(pointer, message.clone()))
                .collect()
        }
    }
}

/// A text against its checks. `dropped` bytes after it are not known.
pub(super) fn text(
    name: &str,
    wanted: &PlannedText,
    actual: &[u8],
    dropped: u64,
) -> Vec<ExpectFailure> {
    let mut failures = Vec::new();
    for (pointer, check) in wanted {
        let Some(mut found) = one(name, check, actual, dropped) else {
            continue;
        };
        found.pointer = pointer.to_string();
        if dropped > 0 {
            found.message.push_str(&format!(
                " (its last {dropped} bytes were too many to keep)"
            ));
        }
        failures.push(found);
    }
    failures
}

fn one(name: &str, check: &TextCheck, actual: &[u8], dropped: u64) -> Option<ExpectFailure> {
    let lines = |bytes: &[u8]| {
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        ends as u64 + u64::from(bytes.last().is_some_and(|byte| *byte != b'\n'))
    };
    let found = match check {
        TextCheck::Equals(wanted) if *wanted == actual && dropped == 0 => return None,
        TextCheck::Equals(wanted) => {
            let diff = Text::from(&patch::lines(wanted, actual)[..]);
            ExpectFailure {
                diff: Some(diff),
                ..failure("", format!("{name} is not what was expected"))
            }
        }
        TextCheck::Contains(wanted) => {
            if memchr::memmem::find(actual, wanted).is_some() {
                return None;
            }
            ExpectFailure {
                expected: Some(Text::from(&wanted[..])),
                ..failure("", format!("{name} does not contain {}", quoted(wanted)))
            }
        }
        TextCheck::Matches(pattern) => match regex::bytes::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
        {
            Ok(regex) if regex.is_match(actual) => return None,
            Ok(_) => failure("", format!("{name} does not match /{pattern}/")),
            Err(error) => failure("", format!("/{pattern}/ is no regular expression: {error}")),
        },
        TextCheck::Lines(wanted) if lines(actual) == *wanted && dropped == 0 => return None,
        TextCheck::Lines(wanted) => failure(
            "",
            format!("{name} has {} lines, expected {wanted}", lines(actual)),
        ),
        TextCheck::Empty(wanted) if (actual.is_empty() && dropped == 0) == *wanted => return None,
        TextCheck::Empty(true) => {
            failure("", format!("{name} is not empty: {} bytes", actual.len()))
        }
        TextCheck::Empty(false) => failure("", format!("{name} is empty")),
        // Looked at when everything else was.
        TextCheck::Golden(_) => return None,
    };
    Some(found)
}

fn quoted(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::plan::TextCheck;
    use crate::request::Pointer;

    fn holds(check: TextCheck, actual: &[u8]) -> bool {
        text("stdout", &vec![(Pointer::default(), check)], actual, 0).is_empty()
    }

    #[test]
    fn checks_are_exact() {
        assert!(holds(TextCheck::Equals(b"a\n".to_vec()), b"a\n"));
        assert!(!holds(TextCheck::Equals(b"a".to_vec()), b"a\n"));
        assert!(holds(
            TextCheck::Contains(b"(1.5)".to_vec()),
            b"cost (1.5) all"
        ));
        assert!(!holds(TextCheck::Contains(b"(1.5)".to_vec()), b"cost 1x5"));
        assert!(holds(
            TextCheck::Contains(b"\xff\xfe".to_vec()),
            b"ab\xff\xfe"
        ));
        assert!(!holds(
            TextCheck::Contains(b"\xff\xfe".to_vec()),
            b"\xef\xbf\xbd\xef\xbf\xbd"
        ));
        assert!(holds(TextCheck::Matches("^b.$".into()), b"bc"));
        assert!(!holds(TextCheck::Matches("^b$".into()), b"a\nb\n"));
        for (lines, actual) in [
            (0, &b""[..]),
            (1, b"a"),
            (1, b"a\n"),
            (2, b"a\nb"),
            (2, b"\n\n"),
        ] {
            assert!(holds(TextCheck::Lines(lines), actual), "{actual:?}");
        }
        assert!(holds(TextCheck::Empty(true), b"") && !holds(TextCheck::Empty(true), b" "));
        assert!(holds(TextCheck::Empty(false), b" ") && !holds(TextCheck::Empty(false), b""));
    }

    // proves: E4
    #[test]
    fn nothing_is_proven_by_what_was_dropped() {
        for check in [
            TextCheck::Equals(b"a".to_vec()),
            TextCheck::Lines(1),
            TextCheck::Empty(true),
        ] {
            let failures = text("stdout", &vec![(Pointer::default(), check)], b"a", 5);
            assert!(
                failures[0].message.contains("last 5 bytes"),
                "{}",
                failures[0].message
            );
        }
        assert!(
            text(
                "stdout",
                &vec![(Pointer::default(), TextCheck::Contains(b"a".to_vec()))],
                b"a",
                5
            )
            .is_empty()
        );
    }
}
