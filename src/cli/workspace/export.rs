//! `pyro workspace export`.

use super::args::Export;
use super::used::run_step;
use super::{Here, answer};
use crate::Exit;
use crate::request::{Request, Step, literal};

pub(super) fn export(args: &Export, here: Here<'_>) -> Exit {
    let mut step = Step::export(&args.path, literal(&args.output));
    if args.overwrite {
        step = step.overwrite();
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace export", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if args.answer.json {
        here.payload(&answer::export(&used, &args.path, &args.output));
        return Exit::Ok;
    }
    let files = used.step().map_or(0, |step| step.host_files.len());
    let files = match files {
        1 => "1 path".to_owned(),
        files => format!("{files} paths"),
    };
    here.say(&format!(
        "exported {} to {} ({files})",
        args.path, args.output
    ));
    Exit::Ok
}
