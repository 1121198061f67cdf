//! `pyro check`: is this a request? Looks at the document alone.

use super::args::Check;
use super::load::{Findings, load};
use super::terminal::Terminal;
use crate::Exit;

pub(super) fn check(args: &Check, terminal: &Terminal) -> Exit {
    let loaded = match load(&args.source, Findings::json(args.json), terminal) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let steps = loaded.request.steps.len();
    if args.json {
        terminal.print(&format!(
            "{:#}\n",
            serde_json::json!({ "ok": true, "steps": steps })
        ));
    } else if !terminal.quiet {
        let many = if steps == 1 { "step" } else { "steps" };
        terminal.print(&format!(
            "{}: a request of {steps} {many}\n",
            loaded.document.name
        ));
    }
    Exit::Ok
}
