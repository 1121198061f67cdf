//! `pyro workspace exec`: one program in a workspace. Its output is the command's output, its code the command's code.

use super::args::Exec;
use super::used::{End, run, text_or_file};
use super::{Here, answer};
use crate::Exit;
use crate::cli::load::Findings;
use crate::execute::{Event, Stream};
use crate::receipt::Outcome;
use crate::request::{Request, Step, literal};
use std::collections::BTreeSet;

const NAME: &str = "pyro workspace exec";
/// pyro itself failed, before or after the program.
const PYRO_FAILED: u8 = 125;

pub(super) fn exec(args: &Exec, here: Here<'_>) -> u8 {
    let timeout = match args.timeout_seconds {
        Some(seconds) => format!("{seconds}s"),
        None => args.timeout.clone(),
    };
    let mut step = Step::exec(args.command.iter().map(|word| literal(word))).timeout(&timeout);
    for (name, value) in &args.env {
        step = step.env(name, literal(value));
    }
    let mut names = BTreeSet::new();
    for (name, variable) in &args.secret_env {
        if !names.insert(name) {
            let message = format!("`--secret-env {name}` is given twice");
            let show = Findings::json(args.answer.json);
            crate::cli::load::fail(show, here.terminal, "usage", &message);
            return PYRO_FAILED;
        }
        step = step.secret_env(name, variable);
    }
    if let Some(cwd) = &args.cwd {
        step = step.cwd(literal(cwd));
    }
    if args.stdin.is_some() {
        match text_or_file(None, args.stdin.as_ref(), args.answer.json, here) {
            Ok(bytes) => step = step.stdin_content(&bytes),
            Err(_) => return PYRO_FAILED,
        }
    }
    let json = args.answer.json;
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = run(NAME, request, &args.answer, here, &mut |event| {
        if let Event::Output { stream, bytes, .. } = event
            && !json
        {
            match stream {
                Stream::Stdout => here.terminal.out(bytes),
                Stream::Stderr => here.terminal.err(bytes),
            }
        }
    });
    let used = match used {
        Ok(used) => used,
        Err(End::Emitted) => return Exit::Ok.code(),
        Err(End::Refused(_)) => return PYRO_FAILED,
    };
    let receipt = &used.ran.receipt;
    let ran = used.step().and_then(|step| step.exec.as_ref());
    match (receipt.outcome, ran) {
        (Outcome::Cancelled, _) => return Exit::Interrupted.code(),
        (Outcome::Lost, _) | (_, None) => {
            let refusal = used.step().and_then(|step| step.refusal.as_ref());
            let message = match (refusal, &receipt.lost) {
                (Some(refusal), _) => refusal.message.clone(),
                (None, Some(lost)) => lost.clone(),
                (None, None) => "the program was not run".to_owned(),
            };
            let code = refusal.map_or("lost", |refusal| &refusal.code);
            crate::cli::load::fail(Findings::json(json), here.terminal, code, &message);
            return PYRO_FAILED;
        }
        (Outcome::Passed | Outcome::Failed, Some(_)) => {}
    }
    if json {
        here.payload(&answer::exec(&used));
    } else if let Some(exec) = ran {
        if exec.timed_out {
            here.terminal.note(&format!(
                "its time of {timeout} was over; it and all it started were ended"
            ));
        } else if let Some(why) = &exec.not_started {
            here.terminal.error(&format!("could not start it: {why}"));
        }
        if exec.left_running > 0 {
            here.terminal
                .note(&format!("{} processes run on", exec.left_running));
        }
    }
    ran.map_or(PYRO_FAILED, |exec| {
        u8::try_from(exec.exit_code).unwrap_or(u8::MAX)
    })
}
