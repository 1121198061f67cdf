//! Expectations: lowered to checks, and refused where they cannot hold together.

use super::draft::Draft;
use super::planner::Planner;
use super::{PlannedText, Problem, ProblemCode, TextCheck, golden, text, workspace};
use crate::exclude;
use crate::request::{Action, ChangedExpect, Expect, Pointer, Step, TextExpect};

/// Programs that a regular expression may become, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Lowers the checks of one text.
pub(super) fn text(
    planner: &Planner<'_>,
    wanted: Option<&TextExpect>,
    place: &Pointer,
    draft: &mut Draft,
) -> PlannedText {
    let Some(wanted) = wanted else {
        return PlannedText::new();
    };
    let TextExpect {
        equals,
        contains,
        matches,
        lines,
        empty,
        golden,
    } = wanted;
    let mut checks = PlannedText::new();
    if let Some(content) = equals {
        let place = place.at("equals");
        if let Some(bytes) = draft.content(content, &planner.facts.from, &place) {
            checks.push((place, TextCheck::Equals(bytes)));
        }
    }
    for (place, part) in each(contains, &place.at("contains")) {
        checks.push((place, TextCheck::Contains(part.clone().into_bytes())));
    }
    for (place, pattern) in each(matches, &place.at("matches")) {
        if draft.is_late(&place) {
            checks.push((place, TextCheck::Matches(pattern.clone())));
            continue;
        }
        readable_regex(pattern, place.clone(), draft);
        checks.push((place, TextCheck::Matches(pattern.clone())));
    }
    if let Some(lines) = lines {
        checks.push((place.at("lines"), TextCheck::Lines(*lines)));
    }
    if let Some(empty) = empty {
        checks.push((place.at("empty"), TextCheck::Empty(*empty)));
    }
    if let Some(golden) = golden {
        let place = place.at("golden");
        let check = golden::plan(planner, golden, &place, draft);
        checks.extend(check.map(|check| (place, check)));
    }
    contradictions(&checks, draft);
    checks
}

/// A list of one may have been written without brackets, so its place is the key's.
fn each<'a>(
    list: &'a [String],
    place: &'a Pointer,
) -> impl Iterator<Item = (Pointer, &'a String)> + 'a {
    list.iter().enumerate().map(|(index, text)| {
        let place = match list {
            [_] => place.clone(),
            _ => place.at(index),
        };
        (place, text)
    })
}

/// How many lines a text has: ends of lines, and a last line without one.
fn line_count(text: &[u8]) -> u64 {
    text.split_inclusive(|byte| *byte == b'\n').count() as u64
}

/// Refuses checks that no text can pass together.
fn contradictions(checks: &PlannedText, draft: &mut Draft) {
    // What is known only when the step runs contradicts nothing yet.
    let known: PlannedText = (checks.iter())
        .filter(|(place, _)| !draft.is_late(place))
        .cloned()
        .collect();
    let exact = known.iter().find_map(|(_, check)| match check {
        TextCheck::Equals(bytes) => Some((bytes.as_slice(), "equals")),
        TextCheck::Empty(true) => Some((&b""[..], "empty")),
        TextCheck::Contains(_)
        | TextCheck::Matches(_)
        | TextCheck::Lines(_)
        | TextCheck::Empty(false)
        | TextCheck::Golden(_) => None,
    });
    let Some((exact, key)) = exact else { return };
    for (place, check) in &known {
        let holds = match check {
            TextCheck::Equals(bytes) => bytes == exact,
            TextCheck::Contains(part) => {
                part.is_empty() || exact.windows(part.len()).any(|window| window == part)
            }
            TextCheck::Matches(pattern) => {
                regex::bytes::Regex::new(pattern).map_or(true, |regex| regex.is_match(exact))
            }
            TextCheck::Lines(lines) => line_count(exact) == *lines,
            TextCheck::Empty(empty) => exact.is_empty() == *empty,
            // What it is rid of need not be in it.
            TextCheck::Golden(_) => true,
        };
        if !holds {
            draft.input(conflict(
                place.clone(),
                format!("what `{key}` says can never meet this"),
                "take one of the two out",
            ));
        }
    }
}

/// Says why a regular expression cannot be read, if it cannot.
pub(super) fn readable_regex(pattern: &str, place: Pointer, draft: &mut Draft) {
    let built = regex::bytes::RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE)
        .build();
    if let Err(error) = built {
        let problem = Problem::new(
            ProblemCode::PatternInvalid,
            place,
            "this regular expression cannot be read",
        )
        .help(
            "the syntax is that of Rust's `regex` crate; write `\\` before what stands for itself",
        );
        let lines = error.to_string();
        let lines = lines.lines().map(text::escape).filter(|l| !l.is_empty());
        draft.input(lines.fold(problem, Problem::note));
    }
}

fn conflict(place: Pointer, message: impl Into<String>, help: &str) -> Problem {
    Problem::new(ProblemCode::ExpectConflict, place, message).help(help)
}

/// Refuses expectations that cannot hold together, or say nothing about this verb.
pub(super) fn check(step: &Step, draft: &mut Draft) {
    let Expect {
        exit,
        stdout,
        stderr,
        content,
        text,
        duration_under,
        timed_out,
        signal,
        changed,
        fails,
    } = &step.expect;
    let place = draft.pointer.at("expect");
    let given = [
        ("exit", exit.is_some()),
        ("stdout", stdout.is_some()),
        ("stderr", stderr.is_some()),
        ("content", content.is_some()),
        ("text", text.is_some()),
        ("duration_under", duration_under.is_some()),
        ("timed_out", timed_out.is_some()),
        ("signal", signal.is_some()),
        ("changed", changed.is_some()),
    ];
    let (verb, meant): (_, &[&str]) = match &step.action {
        Action::Exec(_) => (
            "exec",
            &[
                "exit",
                "stdout",
                "stderr",
                "duration_under",
                "timed_out",
                "signal",
                "changed",
            ],
        ),
        Action::Write(_) => ("write", &["changed"]),
        Action::Patch(_) => ("patch", &["changed"]),
        Action::Delete(_) => ("delete", &["changed"]),
        Action::Move(_) => ("move", &["changed"]),
        Action::Snapshot(_) => ("snapshot", &[]),
        Action::Reset(_) => ("reset", &["changed"]),
        Action::Sync(_) => ("sync", &["changed"]),
        Action::Read(_) => ("read", &["content"]),
        Action::List(_) => ("list", &["text"]),
        Action::Search(_) => ("search", &["text"]),
        Action::Diff(_) => ("diff", &["text"]),
        Action::Export(_) => ("export", &[]),
        Action::Pull(_) => ("pull", &[]),
    };
    for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
        if !meant.contains(key) {
            let message = format!("`{key}` says nothing about a `{verb}` step");
            draft.input(conflict(place.at(key), message, "take it out"));
        } else if *fails {
            draft.input(conflict(
                place.at(key),
                format!("a step that is refused (`fails`) has no `{key}`"),
                "take out `fails`, or this",
            ));
        }
    }
    if let Some(ChangedExpect::Only(patterns)) = changed {
        for (index, pattern) in patterns.iter().enumerate() {
            if let Some(why) = exclude::bad_pattern(pattern) {
                let place = place.at("changed").at("only").at(index);
                draft.input(workspace::pattern_invalid(pattern, &why, place));
            }
        }
    }
    if *fails {
        return;
    }
    if let Some(codes) = exit {
        if codes.is_empty() {
            let help = "name at least one exit code, or leave it out for 0";
            draft.input(conflict(place.at("exit"), "no exit code is right", help));
        }
        for code in codes.iter().filter(|code| !(0..=255).contains(*code)) {
            draft.input(conflict(
                place.at("exit"),
                format!("no program exits with {code}"),
                "exit codes go from 0 to 255; a signal is expected by `signal`",
            ));
        }
        if signal.is_some() {
            draft.input(conflict(
                place.at("signal"),
                "a command that ends by a signal has no exit code",
                "take out `exit` or `signal`",
            ));
        }
    }
    if *timed_out == Some(true) {
        let others = [("exit", exit.is_some()), ("signal", signal.is_some())];
        for (key, _) in others.iter().filter(|(_, is_given)| *is_given) {
            draft.input(conflict(
                place.at("timed_out"),
                format!("a command that is ended by its timeout is not judged by `{key}`"),
                &format!("take out `{key}` or `timed_out`"),
            ));
        }
    }
    if let (Some(true), Some(under), Action::Exec(exec)) = (timed_out, duration_under, &step.action)
        && exec.timeout.is_some_and(|timeout| *under <= timeout)
    {
        draft.input(conflict(
            place.at("duration_under"),
            "a command that is ended by its timeout takes at least that long",
            "take out `duration_under` or `timed_out`",
        ));
    }
    if let (Some(_), Action::Read(read)) = (content, &step.action)
        && read.paths.len() != 1
    {
        draft.input(conflict(
            place.at("content"),
            "`content` is about one file, and this step reads several",
            "read the files in steps of their own",
        ));
    }
}
