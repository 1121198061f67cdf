//! `pyro workspace patch apply` and `pyro workspace diff`.

use super::args::{Diff, PatchApply};
use super::used::{run_step, text_or_file};
use super::{Here, answer};
use crate::Exit;
use crate::request::{Request, Step};

pub(super) fn apply(args: &PatchApply, here: Here<'_>) -> Exit {
    let json = args.answer.json;
    let bytes = match text_or_file(args.patch.as_ref(), args.patch_file.as_ref(), json, here) {
        Ok(bytes) => bytes,
        Err(exit) => return exit,
    };
    let mut step = Step::patch_content(&bytes);
    if args.exact {
        step = step.match_exact();
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace patch apply", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if json {
        let redaction = here.with(json, |workspaces| workspaces.redaction(&used.id));
        let redaction = match redaction {
            Ok(redaction) => redaction,
            Err(exit) => return exit,
        };
        here.payload(&answer::patch_apply(&used, &redaction.bytes(&bytes)));
        return Exit::Ok;
    }
    let Some(step) = used.step() else {
        return Exit::Machine;
    };
    for file in &step.files {
        let moved = file.hunks.iter().filter(|hunk| hunk.offset != 0).count();
        let moved = match moved {
            0 => String::new(),
            1 => " (1 hunk at another line than it said)".to_owned(),
            hunks => format!(" ({hunks} hunks at other lines than they said)"),
        };
        here.say(&format!(
            "{} {}{moved}",
            answer::patched(file),
            file.path.text
        ));
    }
    for note in &step.notes {
        here.terminal.note(note);
    }
    Exit::Ok
}

pub(super) fn diff(args: &Diff, here: Here<'_>) -> Exit {
    let mut step = Step::diff_against(&args.against);
    for pattern in &args.exclude {
        step = step.exclude(pattern);
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace diff", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let Some(step) = used.step() else {
        return Exit::Machine;
    };
    if args.answer.json {
        here.payload(&answer::diff(&used, step));
        return Exit::Ok;
    }
    let text = step
        .text
        .as_ref()
        .map(crate::receipt::Text::bytes)
        .unwrap_or_default();
    if !args.patch {
        here.say(&answer::diff_counts(step));
    }
    here.terminal.out(&text);
    if step.redacted {
        here.terminal
            .note("secrets were taken out: this patch is for reading, and cannot be applied");
    }
    Exit::Ok
}
