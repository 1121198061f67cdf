//! `pyro workspace file`: list, read, write, move and delete.

use super::args::{FileDelete, FileList, FileMove, FileRead, FileWrite};
use super::used::{run_step, text_or_file};
use super::{Here, answer};
use crate::Exit;
use crate::cli::table::{cell, table};
use crate::report::workspace::FileMovePayload;
use crate::request::{Base, Request, Step};
use std::os::unix::ffi::OsStrExt as _;

pub(super) fn list(args: &FileList, here: Here<'_>) -> Exit {
    let mut step = Step::list(&args.path).max_entries(args.max_entries);
    if args.recursive {
        step = step.recursive();
    }
    if let Some(after) = &args.after {
        step = step.after(after.as_bytes());
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file list", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if args.answer.json {
        here.payload(&answer::file_list(&used, &args.path, args.recursive));
        return Exit::Ok;
    }
    let entries = used
        .step()
        .map(|step| &step.entries[..])
        .unwrap_or_default();
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let kind = answer::kind(entry.now.kind);
            let target = entry.now.target.as_ref();
            let target = target.map_or_else(String::new, |target| format!(" -> {}", target.text));
            vec![
                cell(&entry.now.mode),
                cell(kind),
                cell(entry.now.size.to_string()).right(),
                cell(format!("{}{target}", entry.path.text)),
            ]
        })
        .collect();
    here.terminal.print(&table(&rows, here.terminal));
    if let Some(rest) = used.step().and_then(|step| step.rest.as_ref()) {
        here.terminal.note(&format!(
            "{} more: `--after '{}'`",
            rest.entries, rest.next_after.text
        ));
    }
    Exit::Ok
}

pub(super) fn read(args: &FileRead, here: Here<'_>) -> Exit {
    let step = Step::read(&args.path)
        .offset(args.offset)
        .max_bytes(format!("{}B", args.max_bytes));
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file read", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let Some(file) = used.step().and_then(|step| step.files.first()) else {
        return Exit::Machine;
    };
    if args.answer.json {
        here.payload(&answer::file_read(&used, file, args.offset, args.max_bytes));
        return Exit::Ok;
    }
    let bytes = file
        .content
        .as_ref()
        .map(crate::receipt::Text::bytes)
        .unwrap_or_default();
    here.terminal.out(&bytes);
    if file.redacted {
        let name = &file.path.text;
        here.terminal.note(&format!(
            "secrets were taken out: this is not what {name} holds, so do not write it back"
        ));
    }
    if !args.content_only {
        if !bytes.ends_with(b"\n") && !bytes.is_empty() {
            here.terminal.out(b"\n");
        }
        if file.truncated {
            let size = file.after.as_ref().map_or(0, |after| after.size);
            let shown = match file.redacted {
                true => args.max_bytes.into(),
                false => bytes.len() as u64,
            };
            let next = u64::from(args.offset) + shown;
            here.terminal.note(&format!(
                "there is more, {size} bytes in all: `--offset {next}`"
            ));
        }
    }
    Exit::Ok
}

pub(super) fn write(args: &FileWrite, here: Here<'_>) -> Exit {
    let json = args.answer.json;
    let bytes = match text_or_file(args.text.as_ref(), args.text_file.as_ref(), json, here) {
        Ok(bytes) => bytes,
        Err(exit) => return exit,
    };
    let mut step = match args.append {
        true => Step::append_content(&args.path, &bytes),
        false => Step::write_content(&args.path, &bytes),
    };
    if let Some(digest) = &args.if_sha256 {
        step = step.base(&args.path, digest);
    }
    if args.if_absent {
        step = step.base(&args.path, Base::ABSENT);
    }
    if let Some(mode) = &args.mode {
        step = step.mode(&args.path, mode);
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file write", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let Some(file) = used.step().and_then(|step| step.files.first()) else {
        return Exit::Machine;
    };
    if json {
        here.payload(&answer::file_write(&used, file));
    } else {
        let size = file.after.as_ref().map_or(0, |after| after.size);
        let done = match &file.before {
            Some(_) if args.append => "added to",
            Some(_) => "replaced",
            None => "wrote",
        };
        here.say(&format!("{done} {} ({size} bytes)", file.path.text));
    }
    Exit::Ok
}

pub(super) fn delete(args: &FileDelete, here: Here<'_>) -> Exit {
    let mut step = Step::delete(args.paths.iter());
    if args.ignore_missing {
        step = step.ignore_missing();
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file delete", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if args.answer.json {
        here.payload(&answer::file_delete(&used));
    } else {
        let files = used.step().map_or(0, |step| step.files.len());
        here.say(&format!(
            "deleted {files} of {} named paths",
            args.paths.len()
        ));
    }
    Exit::Ok
}

pub(super) fn move_path(args: &FileMove, here: Here<'_>) -> Exit {
    let step = Step::move_path(&args.from, &args.to);
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace file move", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let Some(moved) = used.step().and_then(|step| step.moved.as_ref()) else {
        return Exit::Machine;
    };
    if args.answer.json {
        let mode = &used.ran.receipt.execution_mode;
        here.payload(&FileMovePayload::new(&used.id, mode, moved));
    } else {
        here.say(&format!("moved {} to {}", moved.from.text, moved.to.text));
    }
    Exit::Ok
}
