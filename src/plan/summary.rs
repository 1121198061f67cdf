//! One step in a line, and its expectations in another.

use super::files::ENTRIES;
use super::text::{bytes, count, escape, excerpt, grouped};
use super::{
    Certainty, GoldenUse, LeftOut, Plan, PlannedAction, PlannedExec, PlannedSearch, PlannedSeed,
    PlannedStep, PlannedText, TextCheck,
};
use crate::request::{
    Base, ChangedExpect, Duration, GuestPath, Missing, Overwrite, PatchMatch, Point, Size,
};

/// How much of an expected text is shown.
const EXCERPT: usize = 48;
const NAMED: usize = 4;
/// How many paths of a long list are shown.
const LISTED: usize = 8;

/// What a step does, in a line.
pub(super) fn line(plan: &Plan, action: &PlannedAction) -> String {
    match action {
        PlannedAction::Exec(exec) => match script(exec).len() {
            0 => escape(&exec.shown),
            lines => format!("a shell script of {}", count(lines as u64, "line", "lines")),
        },
        PlannedAction::Write(write) => count(write.files.len() as u64, "file", "files"),
        PlannedAction::Patch(patch) => {
            if is_open(patch) {
                return "known only when it runs".to_owned();
            }
            let hunks: usize = patch.patch.files.iter().map(|file| file.hunks.len()).sum();
            let mails = match patch.patch.mails() {
                0 | 1 => String::new(),
                mails => format!(" in {mails} mails"),
            };
            let place = match patch.policy {
                PatchMatch::Unique => "",
                PatchMatch::Exact => ", only where it says",
            };
            format!(
                "{}, {}{mails}{place}",
                count(patch.patch.names() as u64, "file", "files"),
                count(hunks as u64, "hunk", "hunks"),
            )
        }
        PlannedAction::Delete(delete) => {
            let missing = match delete.missing {
                Missing::Error => "",
                Missing::Ignore => " (where there)",
            };
            format!("{}{missing}", names(&delete.paths))
        }
        PlannedAction::Move(moving) => format!("{} -> {}", name(&moving.from), name(&moving.to)),
        PlannedAction::Read(read) => {
            let mut text = names(&read.paths);
            if read.offset > 0 {
                text.push_str(&format!(", from byte {} on", read.offset));
            }
            if read.max_bytes != Size::from_bytes(64 << 10) {
                text.push_str(&format!(", at most {}", read.max_bytes));
            }
            text
        }
        PlannedAction::List(list) => {
            let mut text = name(&list.path);
            if list.recursive {
                text.push_str(" and all below");
            }
            if let Some(after) = &list.after {
                text.push_str(&format!(", after {}", name(after)));
            }
            if list.max_entries != ENTRIES {
                text.push_str(&format!(", at most {}", list.max_entries));
            }
            text
        }
        PlannedAction::Search(search) => {
            format!("/{}/ in {}", escape(&search.regex), names(&search.paths))
        }
        PlannedAction::Diff(diff) => match diff.exclude.as_slice() {
            [] => format!("against {}", point(&diff.against)),
            patterns => format!(
                "against {}, without {}",
                point(&diff.against),
                escape(patterns.join(", "))
            ),
        },
        PlannedAction::Snapshot(name) => format!("keep the workspace as `{name}`"),
        PlannedAction::Reset(to) => format!("put the workspace back to {}", point(to)),
        PlannedAction::Sync(sync) => format!("{} -> {}", source(&sync.source), name(&sync.to)),
        PlannedAction::Export(export) => {
            format!(
                "{} -> {}{}",
                name(&export.path),
                escape(&export.shown),
                host_write(plan, action)
            )
        }
        PlannedAction::Pull(pull) if pull.dry_run => {
            format!(
                "what changed -> {}, shown and not written",
                escape(&pull.shown)
            )
        }
        PlannedAction::Pull(pull) => {
            let shown = escape(&pull.shown);
            format!("what changed -> {shown}   {HOST_WRITE}, files in a directory that is there")
        }
        PlannedAction::Refused(_) => "refused before anything is sent".to_owned(),
    }
}

/// A patch whose text is known only when it runs.
fn is_open(patch: &super::PlannedPatch) -> bool {
    patch.patch.files.is_empty()
}

fn point(point: &Point) -> String {
    match point {
        Point::Baseline => "the baseline".to_owned(),
        Point::Snapshot(name) => format!("snapshot `{name}`"),
    }
}

/// What an export does to the host: the one thing a reviewer must not overlook.
pub(super) const HOST_WRITE: &str = "HOST WRITE";

fn host_write(plan: &Plan, action: &PlannedAction) -> String {
    let PlannedAction::Export(export) = action else {
        return String::new();
    };
    let write = plan
        .reach
        .host_writes
        .iter()
        .find(|write| write.path == export.to);
    match (write, export.overwrite) {
        (None, _) => String::new(),
        (Some(write), Overwrite::Allow) => match &write.replaces {
            Some(there) => format!("   {HOST_WRITE}, replaces a {there}"),
            None => format!("   {HOST_WRITE}, new; would replace what is there by then"),
        },
        (Some(_), Overwrite::Refuse) => format!("   {HOST_WRITE}, new"),
    }
}

/// What is copied from the host.
pub(super) fn source(source: &PlannedSeed) -> String {
    let kind = match source.archive {
        Some(_) => "the archive ",
        None => "",
    };
    format!(
        "{}, {} from {kind}{}",
        count(source.files, "file", "files"),
        bytes(source.bytes),
        escape(&source.shown)
    )
}

/// The first of some paths, and how many there are besides; nothing where there are none.
fn listed<T>(all: &[T], more: u64, show: impl Fn(&T) -> String) -> Option<String> {
    let mut shown: Vec<_> = all.iter().take(LISTED).map(show).collect();
    let more = more + all.len().saturating_sub(LISTED) as u64;
    if more > 0 {
        shown.push(format!("{} more", grouped(more)));
    }
    (!shown.is_empty()).then(|| shown.join(", "))
}

fn name(path: &GuestPath) -> String {
    match path.is_root() {
        true => "/workspace".to_owned(),
        false => escape(path.as_bytes()),
    }
}

fn names(paths: &[GuestPath]) -> String {
    let mut shown: Vec<_> = paths.iter().take(NAMED).map(name).collect();
    if paths.len() > NAMED {
        shown.push(format!("{} more", paths.len() - NAMED));
    }
    shown.join(", ")
}

/// What else there is to know about a step: lines of a heading and a text.
pub(super) fn details(step: &PlannedStep) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut expect = Vec::new();
    match &step.action {
        PlannedAction::Exec(exec) => {
            out.extend(script(exec).into_iter().map(|line| ("|", line)));
            let settings = settings(exec);
            if !settings.is_empty() {
                out.push(("with", settings.join(" · ")));
            }
            expect = outcome(exec, step.expect_fails);
            expect.extend(checks("stdout", &exec.stdout));
            expect.extend(checks("stderr", &exec.stderr));
        }
        PlannedAction::Read(read) => expect.extend(checks("content", &read.content)),
        PlannedAction::List(list) => expect.extend(checks("text", &list.text)),
        PlannedAction::Search(search) => {
            let settings = search_settings(search);
            if !settings.is_empty() {
                out.push(("with", settings.join(" · ")));
            }
            expect.extend(checks("text", &search.text));
        }
        PlannedAction::Diff(diff) => expect.extend(checks("text", &diff.text)),
        PlannedAction::Write(write) => {
            for (path, base) in &write.base {
                let what = match base {
                    Base::Absent => "not there".to_owned(),
                    Base::Digest(digest) => digest.short(),
                };
                expect.push(format!("{} is {what} before", name(path)));
            }
        }
        PlannedAction::Patch(patch) => {
            for (path, digest) in &patch.base {
                expect.push(format!("{} is {} before", name(path), digest.short()));
            }
        }
        PlannedAction::Sync(sync) => {
            if !sync.source.exclude.is_empty() {
                let patterns = escape(sync.source.exclude.join(", "));
                out.push(("with", format!("without {patterns}")));
            }
            let replaces = listed(&sync.replaces, sync.replaces_more, name);
            out.extend(replaces.map(|paths| ("note", format!("replaces {paths}"))));
            let left = |left: &LeftOut| format!("{} ({})", escape(&left.path.0), left.reason);
            let left = listed(&sync.source.left_out, sync.source.left_out_more, left);
            out.extend(left.map(|paths| ("note", format!("left out: {paths}"))));
        }
        PlannedAction::Pull(pull) => {
            if !pull.exclude.is_empty() {
                let patterns = escape(pull.exclude.join(", "));
                out.push(("with", format!("without {patterns}")));
            }
        }
        PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Export(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => {}
    }
    match &step.changed {
        None => {}
        Some(ChangedExpect::Nothing(true)) => expect.push("changes nothing".to_owned()),
        Some(ChangedExpect::Nothing(false)) => expect.push("changes something".to_owned()),
        Some(ChangedExpect::Only(patterns)) => {
            expect.push(format!("changes only {}", escape(patterns.join(", "))));
        }
    }
    if step.expect_fails {
        expect.insert(0, "is refused".to_owned());
    }
    if !expect.is_empty() {
        out.push(("expect", expect.join(" · ")));
    }
    for (_, golden) in super::golden::goldens(step) {
        if golden.usage == GoldenUse::Compare {
            continue;
        }
        let text = match &golden.expected {
            Some(_) => format!("{}   {HOST_WRITE}, replaced if it differs", golden.shown),
            None => format!("{}   {HOST_WRITE}, new", golden.shown),
        };
        out.push(("golden", escape(text)));
    }
    for capture in &step.captures {
        out.push((
            "value",
            format!(
                "{} = {} /{}/",
                capture.name,
                capture.source.as_str(),
                escape(&capture.regex)
            ),
        ));
    }
    if let Some(retry) = &step.retry {
        let text = format!("up to {} times, {} apart", retry.times, retry.every);
        out.push(("retry", text));
    }
    if step.always {
        out.push(("always", "runs after a failure too".to_owned()));
    }
    out.extend(step.notes.iter().map(|note| ("note", escape(note))));
    out
}

/// The frame in which a command is judged, and how far its outcome is known.
pub(super) fn tag(step: &PlannedStep) -> String {
    match (step.certainty, &step.action) {
        (_, PlannedAction::Refused(_)) => String::new(),
        // That its outcome is not known goes without saying.
        (_, PlannedAction::Exec(exec)) => match is_judged_by_exit_alone(exec) {
            true => format!("[exit 0, timeout {}]", exec.timeout),
            false => format!("[timeout {}]", exec.timeout),
        },
        (Certainty::Exact, _) => "[exact]".to_owned(),
        (Certainty::Predicted, _) => "[predicted]".to_owned(),
        (Certainty::Unknown, _) => "[known only when it runs]".to_owned(),
    }
}

/// The lines of a shell line that has several. Each is shown as one, or a comment could seem to hide the next.
fn script(exec: &PlannedExec) -> Vec<String> {
    let is_shell =
        matches!(exec.argv.as_slice(), [_, _, line] if *line.0 == *exec.shown.as_bytes());
    let lines = exec.shown.trim_end_matches('\n').split('\n');
    match is_shell && exec.shown.contains('\n') {
        true => lines.map(escape).collect(),
        false => Vec::new(),
    }
}

fn is_judged_by_exit_alone(exec: &PlannedExec) -> bool {
    exec.exit.as_deref() == Some(&[0])
        && exec.duration_under.is_none()
        && exec.timed_out.is_none()
        && exec.stdout.is_empty()
        && exec.stderr.is_empty()
}

fn settings(exec: &PlannedExec) -> Vec<String> {
    let mut out = Vec::new();
    if &*exec.cwd != b"/workspace" {
        out.push(format!("in {}", escape(&exec.cwd.0)));
    }
    if let Some(stdin) = &exec.stdin {
        out.push(format!("stdin {}", bytes(stdin.len() as u64)));
    }
    if exec.max_output != Size::from_bytes(1 << 20) {
        out.push(format!("keeps {} of each output", exec.max_output));
    }
    for (name, variable) in &exec.secrets {
        out.push(match name == variable {
            true => format!("the secret {name}"),
            false => format!("the secret {name} as {variable}"),
        });
    }
    for (key, value) in &exec.env {
        if !super::exec::is_default(key, value) {
            out.push(format!("{}={}", escape(&key.0), excerpt_plain(value)));
        }
    }
    out
}

fn search_settings(search: &PlannedSearch) -> Vec<String> {
    let mut out = Vec::new();
    if !search.include.is_empty() {
        out.push(format!("only {}", escape(search.include.join(", "))));
    }
    if !search.exclude.is_empty() {
        out.push(format!("without {}", escape(search.exclude.join(", "))));
    }
    if let Some(after) = &search.after {
        let line = search
            .after_line
            .map_or_else(String::new, |line| format!(", line {line}"));
        out.push(format!("after {}{line}", name(after)));
    }
    out.push(format!(
        "at most {}, {}",
        count(search.max_matches, "line", "lines"),
        search.max_bytes
    ));
    out
}

fn excerpt_plain(value: &[u8]) -> String {
    let quoted = excerpt(value, EXCERPT);
    quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .map(str::to_owned)
        .unwrap_or(quoted)
}

fn outcome(exec: &PlannedExec, fails: bool) -> Vec<String> {
    let mut out = Vec::new();
    if is_judged_by_exit_alone(exec) {
        return out;
    }
    match exec.exit.as_deref() {
        Some(codes) => {
            let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
            out.push(format!("exit {}", codes.join(" or ")));
        }
        None if exec.signal.is_none() && exec.timed_out.is_none() && !fails => {
            out.push("any exit".to_owned());
        }
        None => {}
    }
    out.extend(exec.signal.map(|signal| format!("ends by {}", signal.name)));
    out.extend(exec.timed_out.map(|timed_out| match timed_out {
        true => "runs into the timeout".to_owned(),
        false => "does not run into the timeout".to_owned(),
    }));
    out.extend(
        exec.duration_under
            .map(|time: Duration| format!("takes under {time}")),
    );
    out
}

fn checks(what: &str, checks: &PlannedText) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut previous = "";
    for (_, check) in checks {
        let (verb, text) = match check {
            TextCheck::Equals(bytes) => ("is", excerpt(bytes, EXCERPT)),
            TextCheck::Contains(bytes) => ("contains", excerpt(bytes, EXCERPT)),
            TextCheck::Matches(pattern) => ("matches", format!("/{}/", escape(pattern))),
            TextCheck::Lines(lines) => ("has", count(*lines, "line", "lines")),
            TextCheck::Golden(golden) => match &golden.expected {
                Some(_) => ("is", escape(&golden.shown)),
                None => ("is", format!("{} (not there)", escape(&golden.shown))),
            },
            TextCheck::Empty(true) => ("is", "empty".to_owned()),
            TextCheck::Empty(false) => ("is", "not empty".to_owned()),
        };
        match out.last_mut() {
            Some(last) if previous == verb && verb != "is" => last.push_str(&format!(", {text}")),
            Some(_) | None => out.push(format!("{what} {verb} {text}")),
        }
        previous = verb;
    }
    out
}
