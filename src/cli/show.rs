//! `pyro show`: the request as pyro writes it, with or without its variables filled in.

use super::args::{Global, Show};
use super::load::{Findings, read_request, refused};
use super::terminal::Terminal;
use crate::Exit;
use crate::request::emit;

pub(super) fn show(args: &Show, global: &Global, terminal: &Terminal) -> Exit {
    let vars = args.vars.iter().cloned().collect();
    let loaded = match read_request(&args.request, vars, global) {
        Ok(loaded) => loaded,
        Err(refusal) => return refused(&[refusal], Findings::Drawn, terminal),
    };
    let resolved;
    let request = if args.resolved {
        resolved = match loaded.request.resolved(&loaded.options.vars) {
            Ok(resolved) => resolved,
            Err(error) => return loaded.refuse(&error, Findings::Drawn, terminal),
        };
        &resolved
    } else {
        &loaded.request
    };
    terminal.print(&emit(request, args.emit.syntax()));
    Exit::Ok
}
