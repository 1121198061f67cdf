//! `pyro workspace sync push`.

use super::args::SyncPush;
use super::used::run_step;
use super::{Here, answer};
use crate::Exit;
use crate::request::{Request, Step, literal};

pub(super) fn push(args: &SyncPush, here: Here<'_>) -> Exit {
    let mut step = Step::sync(literal(&args.source)).to(&args.dest);
    for pattern in &args.exclude {
        step = step.exclude(pattern);
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run_step("pyro workspace sync push", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if args.answer.json {
        here.payload(&answer::sync_push(&used, &args.source, &args.dest));
        return Exit::Ok;
    }
    let entries = used.step().and_then(|step| step.sync.as_ref());
    let entries = entries.map_or(0, |sync| sync.entries);
    here.say(&format!(
        "laid {entries} entries of {} over {}",
        args.source, args.dest
    ));
    Exit::Ok
}
