//! `pyro fmt`: lays out requests. What is no request is told and left as it is.

use super::args::{Fmt, Global};
use super::load::{Findings, Loaded, Refusal, fail, read_request, refused};
use super::terminal::{Terminal, visible};
use crate::Exit;
use crate::batch::select;
use crate::execute::chain;
use crate::request::{format, parse};
use crate::workspace::{StateDir, replace_file};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

pub(super) fn fmt(args: &Fmt, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let state = StateDir::place(global.state_dir.as_deref()).ok();
    let paths = match select(&args.requests, state.as_deref()) {
        Ok(paths) => paths,
        Err(error) => {
            fail(show, terminal, "nothing-selected", &chain(&error));
            return Exit::Input;
        }
    };
    let mut refusals = Vec::new();
    let mut changed = Vec::new();
    let total = paths.len();
    for path in paths {
        let loaded = match read_request(&path, BTreeMap::new(), global) {
            Ok(loaded) => loaded,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        };
        let text = format(&loaded.document);
        let stdin = path.as_os_str() == "-";
        if stdin && !args.check && !args.json {
            terminal.print(&text);
            continue;
        }
        let same = if stdin {
            text == loaded.document.text
        } else {
            fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes())
        };
        if same {
            continue;
        }
        if !args.check && !stdin {
            if !means_the_same(&loaded, &text) {
                refusals.push(failure("bug", format!("{} would mean something else when laid out: a bug in pyro, please report it", path.display()), Exit::Bug));
                continue;
            }
            if let Err(error) = write(&path, &text) {
                refusals.push(failure(
                    "request-unwritable",
                    format!("could not write {}: {error}", path.display()),
                    Exit::Input,
                ));
                continue;
            }
        }
        changed.push(path.display().to_string());
    }
    let found = if args.check && !changed.is_empty() {
        Exit::Refused
    } else {
        Exit::Ok
    };
    if !refusals.is_empty() {
        return refused(&refusals, show, terminal).worse(found);
    }
    if args.json {
        let value =
            serde_json::json!({ "ok": found == Exit::Ok, "changed": changed, "requests": total });
        terminal.print(&format!("{value:#}\n"));
    } else if !terminal.quiet || args.check {
        let word = if args.check {
            "not laid out"
        } else {
            "laid out"
        };
        for path in &changed {
            terminal.print(&format!("{word}  {}\n", visible(path)));
        }
    }
    found
}

fn failure(code: &'static str, message: String, exit: Exit) -> Refusal {
    Refusal::Failure {
        code,
        message,
        exit,
    }
}

/// Never trusts the formatter with somebody's file.
fn means_the_same(loaded: &Loaded, text: &str) -> bool {
    let document = &loaded.document;
    parse(&document.name, text.as_bytes(), document.syntax)
        .is_ok_and(|(request, _)| request == loaded.request)
}

/// Replaces the file that a path leads to, whole, and leaves its mode.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mode = path.metadata()?.permissions();
    // To ask the file itself, not its folder.
    drop(fs::OpenOptions::new().write(true).open(&path)?);
    replace_file(&path, text.as_bytes())?;
    fs::set_permissions(&path, mode)
}
