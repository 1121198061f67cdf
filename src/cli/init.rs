//! `pyro init`: writes a first request, and says what to do with it.

use super::args::Init;
use super::load::{Findings, fail};
use super::terminal::{Terminal, visible};
use crate::Exit;
use crate::init::first_request;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

pub(super) fn init(args: &Init, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let parent = args.file.parent();
    let folder = parent.filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Its name is part of the request.
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let first = first_request(&real, home.as_deref());
    let shown = args.file.display();
    if let Err(error) = write(&args.file, &first.text, args.force) {
        let message = if error.kind() == io::ErrorKind::AlreadyExists {
            format!("{shown} is there already; `--force` replaces it, or name another file")
        } else {
            format!("could not write {shown}: {error}")
        };
        fail(show, terminal, "init-unwritten", &message);
        return Exit::Input;
    }
    if args.json {
        let value = serde_json::json!({
            "ok": true,
            "file": args.file.display().to_string(),
            "found": first.found,
        });
        terminal.print(&format!("{value:#}\n"));
    } else if !terminal.quiet {
        let found = first.found.as_deref();
        let found = found.unwrap_or("no build files that pyro knows; it lists what is there");
        let shown = visible(&shown.to_string());
        let word = word(&shown);
        terminal.print(&format!(
            "wrote {shown} ({found})\n\nNext:\n  pyro plan {word}    shows what will happen, and does nothing\n  \
             pyro apply {word}   does it, and writes a receipt\n"
        ));
    }
    Exit::Ok
}

/// A path as a shell takes it.
fn word(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '_' | '-' | '+' | '@');
    if path.chars().all(plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', "'\\''"))
}

/// A new file, or in place of what is there only where that is wanted.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if force {
        return crate::workspace::replace_file(path, text.as_bytes());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}
