//! `pyro workspace file search`.

use super::Here;
use super::args::FileSearch;
use super::used::run_step;
use crate::Exit;
use crate::receipt::{SearchReport, Text};
use crate::report::workspace::FileSearchPayload;
use crate::request::{Request, Step, literal};
use std::os::unix::ffi::OsStrExt as _;

pub(super) fn search(args: &FileSearch, here: Here<'_>) -> Exit {
    let mut step = Step::search(literal(&args.regex))
        .max_matches(args.max_matches)
        .max_bytes(format!("{}B", args.max_bytes));
    for path in &args.paths {
        step = step.search_in(path);
    }
    for pattern in &args.include {
        step = step.include(pattern);
    }
    for pattern in &args.exclude {
        step = step.exclude(pattern);
    }
    if let Some(after) = &args.after {
        step = step.after(after.as_bytes());
    }
    if let Some(line) = args.after_line {
        step = step.after_line(line);
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file search", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let step = used.step();
    let Some(found) = step.and_then(|step| step.search.as_ref()) else {
        return Exit::Machine;
    };
    if args.answer.json {
        let mode = &used.ran.receipt.execution_mode;
        here.payload(&FileSearchPayload::new(&used.id, mode, &args.regex, found));
        return Exit::Ok;
    }
    let text = step.and_then(|step| step.text.as_ref());
    let bytes = text.map(Text::bytes).unwrap_or_default();
    if here.terminal.is_live() {
        // What a stranger's file says must not move the cursor.
        let shown = String::from_utf8_lossy(&bytes);
        here.terminal.print(&crate::cli::terminal::visible(&shown));
    } else {
        here.terminal.out(&bytes);
    }
    for note in step.into_iter().flat_map(|step| &step.notes) {
        here.terminal.note(note);
    }
    tell(found, here);
    Exit::Ok
}

/// What the lines do not say.
fn tell(found: &SearchReport, here: Here<'_>) {
    if found.matches.is_empty() && !found.truncated {
        let files = match found.files {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        };
        here.terminal.note(&format!("nothing matches in {files}"));
    }
    if let Some(after) = &found.next_after {
        let line = found.next_after_line;
        let line = line.map_or_else(String::new, |line| format!(" --after-line {line}"));
        here.terminal
            .note(&format!("the rest: `--after '{}'{line}`", after.text));
    }
}
