//! `pyro check`: is this a request? Looks at the document alone.

use super::args::{Check, Global};
use super::load::{Findings, Loaded, load};

use super::terminal::Terminal;
use crate::request::{Values, resolve};
use crate::{Error, Exit, References};

pub(super) fn check(args: &Check, global: &Global, terminal: &Terminal) -> Exit {
    let loaded = match check_references(args, global, terminal) {
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

/// The request, once its variables are known to be there.
fn check_references(args: &Check, global: &Global, terminal: &Terminal) -> Result<Loaded, Exit> {
    let show = Findings::json(args.json);
    let loaded = load(&args.source, global, show, terminal)?;
    // What the host's variables hold is no matter of the document.
    for matrix in loaded.request.combinations() {
        let values = Values {
            vars: loaded.options.vars.clone(),
            env: None,
            matrix,
        };
        if let Err(errors) = resolve(&loaded.request, &values) {
            let error = Error::References(References::from(errors));
            return Err(loaded.refuse(&error, show, terminal));
        }
    }
    Ok(loaded)
}
