//! `exec`: a command with every default filled in.

use super::draft::Draft;
use super::planner::Planner;
use super::tree::{Lead, Node};
use super::{Certainty, PlannedAction, PlannedExec, Problem, ProblemCode, expect, secrets, text};
use crate::request::{Command, Duration, Exec, Expect, GuestPath, Size};
use pyro_protocol::Bytes;
use std::collections::BTreeMap;

const TIMEOUT: Duration = Duration::from_millis(10 * 60 * 1000);
const MAX_OUTPUT: Size = Size::from_bytes(1 << 20);
/// What every command finds, unless the step says otherwise.
pub(crate) const ENV: [(&str, &str); 8] = [
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("LOGNAME", "root"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("SHELL", "/bin/sh"),
    ("TERM", "dumb"),
    ("TZ", "UTC"),
    ("USER", "root"),
];

pub(super) fn plan(
    planner: &mut Planner<'_>,
    exec: &Exec,
    wanted: &Expect,
    draft: &mut Draft,
) -> PlannedAction {
    let Exec {
        command,
        cwd,
        env,
        secrets: _,
        stdin,
        timeout,
        max_output,
    } = exec;
    draft.certainty = Certainty::Unknown;
    let place = draft.pointer.clone();
    let (argv, shown) = argv(command, draft);
    let cwd = match cwd {
        // Looked for when it is known.
        Some(cwd) if draft.is_late(&place.at("cwd")) => Bytes::from(&**cwd),
        Some(_) | None => directory(planner, cwd.as_deref(), draft),
    };
    let env = environment(env, draft);
    let secrets = secrets::mapped(&planner.secrets, exec, draft);
    let stdin = stdin
        .as_ref()
        .and_then(|stdin| draft.content(stdin, &planner.facts.from, &place.at("stdin")));
    if *timeout == Some(Duration::from_millis(0)) {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                place.at("timeout"),
                "with a timeout of nothing no command can finish",
            )
            .help(format!("leave it out for {TIMEOUT}, or give more")),
        );
    }
    let exit = match &wanted.exit {
        Some(codes) => Some(codes.clone()),
        None if wanted.timed_out.is_some() || wanted.signal.is_some() || wanted.fails => None,
        None => Some(vec![0]),
    };
    let place = place.at("expect");
    PlannedAction::Exec(PlannedExec {
        argv,
        shown,
        cwd,
        env,
        secrets,
        stdin,
        timeout: timeout.unwrap_or(TIMEOUT),
        max_output: max_output.unwrap_or(MAX_OUTPUT),
        exit,
        signal: wanted.signal,
        timed_out: wanted.timed_out,
        duration_under: wanted.duration_under,
        stdout: expect::text(planner, wanted.stdout.as_ref(), &place.at("stdout"), draft),
        stderr: expect::text(planner, wanted.stderr.as_ref(), &place.at("stderr"), draft),
    })
}

fn argv(command: &Command, draft: &mut Draft) -> (Vec<Bytes>, String) {
    let place = draft.pointer.at("exec");
    let mut refuse = |message: &str, help: &str| {
        draft.input(Problem::new(ProblemCode::ExecInvalid, place.clone(), message).help(help));
    };
    let (argv, shown) = match command {
        Command::Shell(line) => {
            if line.trim().is_empty() {
                refuse("the command is empty", "write a line for the shell");
            }
            let argv = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
            (argv, line.clone())
        }
        Command::Argv(argv) => {
            if argv.first().is_none_or(String::is_empty) {
                refuse(
                    "there is no program to run",
                    "write the program's name first, then its arguments",
                );
            }
            (argv.clone(), text::command_line(argv))
        }
    };
    if argv.iter().any(|word| word.contains('\0')) {
        refuse(
            "an argument has a NUL byte, which no program can be given",
            "pass such bytes by `stdin` or a file",
        );
    }
    (argv.into_iter().map(Bytes::from).collect(), shown)
}

/// Where the command starts: absolute, as it sees it.
fn directory(planner: &Planner<'_>, cwd: Option<&str>, draft: &mut Draft) -> Bytes {
    let place = draft.pointer.at("cwd");
    let path = match GuestPath::parse(cwd.unwrap_or(".")) {
        Ok(path) => path,
        // Anywhere else in the sandbox is fine, as long as it is said absolutely.
        Err(_) if cwd.is_some_and(|cwd| cwd.starts_with('/') && !cwd.contains('\0')) => {
            return Bytes::from(cwd.unwrap_or("/"));
        }
        Err(error) => {
            draft.input(
                Problem::new(
                    ProblemCode::ExecInvalid,
                    place,
                    format!("the directory to run in {error}"),
                )
                .help("write a path relative to /workspace, or an absolute one"),
            );
            return Bytes::from("/workspace");
        }
    };
    let help = "name a directory that is there, or create it in an earlier step";
    let refuse = |code, message: String| Problem::new(code, place.clone(), message).help(help);
    let shown = text::escape(path.as_bytes());
    match planner.tree.follow(&path) {
        Lead::To(real) => match planner.tree.lookup(&real) {
            Node::File(_) => draft.tree(refuse(
                ProblemCode::PathKind,
                format!("`{shown}` is a file, not a directory to run in"),
            )),
            Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => {}
        },
        Lead::Nowhere | Lead::FileParent(_) | Lead::Loop => draft.tree(refuse(
            ProblemCode::PathMissing,
            format!("there is no directory `{shown}` to run in"),
        )),
        // Out of the workspace may well be a directory of the sandbox.
        Lead::Out(_) | Lead::Unknown => {}
    }
    path.absolute().into()
}

fn environment(given: &BTreeMap<String, String>, draft: &mut Draft) -> Vec<(Bytes, Bytes)> {
    let mut env: BTreeMap<&str, &str> = ENV.into_iter().collect();
    for (name, value) in given {
        let why = if name.is_empty() {
            Some("a variable has no name")
        } else if name.contains(['=', '\0']) {
            Some("the name of a variable has a `=` or NUL in it")
        } else if value.contains('\0') {
            Some("the value of a variable has a NUL byte")
        } else {
            None
        };
        if let Some(why) = why {
            draft.input(
                Problem::new(
                    ProblemCode::ExecInvalid,
                    draft.pointer.at("env").at(name),
                    why,
                )
                .help("no program can be given that; change it or take it out"),
            );
        }
        env.insert(name, value);
    }
    env.into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Whether a variable is as every command finds it.
pub(super) fn is_default(name: &[u8], value: &[u8]) -> bool {
    ENV.iter()
        .any(|(known, text)| known.as_bytes() == name && text.as_bytes() == value)
}
