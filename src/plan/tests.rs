//! What the fixtures cannot show, because the parser finds it first or the text does not hold it.

use super::{PlannedAction, Problem, describe, plan, to_json};
use crate::patch::RefusalCode;
use crate::plan::{ProblemCode, Style};
use crate::preflight::{ExportFact, Facts, ParentFact, TargetFact};
use crate::request::{
    Action, Command, Content, Delete, Duration, Exec, Expect, Export, GuestPath, Missing,
    Overwrite, Read, Request, Step, StepId, TextExpect, Write, WriteFile,
};
use std::collections::BTreeSet;

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text).expect("a test writes good paths")
}

fn step(action: Action) -> Step {
    Step {
        id: None,
        action,
        expect: Expect::default(),
        always: false,
        interpolate: false,
        capture: [].into(),
        retry: None,
        late: [].into(),
    }
}

fn exec(command: Command) -> Exec {
    Exec {
        command,
        cwd: None,
        env: [].into(),
        secrets: [].into(),
        stdin: None,
        timeout: None,
        max_output: None,
    }
}

fn shell(line: &str) -> Step {
    step(Action::Exec(exec(Command::Shell(line.into()))))
}

fn write(at: &str, text: &str) -> Step {
    let file = WriteFile {
        content: Content::Text(text.into()),
        append: false,
        mode: None,
    };
    step(Action::Write(Write {
        files: [(path(at), file)].into(),
        base: Default::default(),
    }))
}

fn request(steps: impl IntoIterator<Item = Step>) -> Request {
    Request {
        steps: steps.into_iter().collect(),
        ..Request::default()
    }
}

fn problems(steps: impl IntoIterator<Item = Step>) -> Vec<Problem> {
    match plan(&request(steps), &Facts::default(), "request") {
        Ok(plan) => panic!("it must not plan:\n{}", describe(&plan, Style::Plain)),
        Err(problems) => problems.into_iter().collect(),
    }
}

fn told(problems: &[Problem]) -> Vec<(&'static str, &str)> {
    (problems.iter())
        .map(|problem| (problem.code.as_str(), problem.pointer.0.as_str()))
        .collect()
}

#[test]
fn commands_find_the_environment_that_the_rules_promise() {
    let mut step = exec(Command::Shell("make".into()));
    step.env.insert("PATH".into(), "/opt/bin".into());
    step.env.insert("A".into(), "1".into());
    let request = request([self::step(Action::Exec(step))]);
    let plan = plan(&request, &Facts::default(), "request").expect("it plans");
    let PlannedAction::Exec(exec) = &plan.steps[0].action else {
        panic!("a command stays one")
    };
    let env: Vec<_> = (exec.env.iter())
        .map(|(name, value)| format!("{}={}", name.lossy(), value.lossy()))
        .collect();
    assert_eq!(
        env,
        [
            "A=1",
            "HOME=/root",
            "LANG=C.UTF-8",
            "LOGNAME=root",
            "PATH=/opt/bin",
            "SHELL=/bin/sh",
            "TERM=dumb",
            "TZ=UTC",
            "USER=root",
        ]
    );
    let argv: Vec<_> = exec.argv.iter().map(|word| word.lossy()).collect();
    assert_eq!(argv, ["/bin/sh", "-c", "make"]);
    assert_eq!(&*exec.cwd, b"/workspace");
    assert_eq!(exec.timeout, Duration::from_millis(600_000));
    assert_eq!(exec.exit, Some(vec![0]));
}

#[test]
fn requests_that_no_parser_saw_are_checked_too() {
    let mut bad_cwd = exec(Command::Argv(vec!["a\0b".into()]));
    bad_cwd.cwd = Some("../up".into());
    bad_cwd.env.insert("A=B".into(), "x".into());
    bad_cwd.timeout = Some(Duration::from_millis(0));
    let mut write = write("a", "a");
    write.expect.exit = Some(vec![0]);
    let mut codes = shell("true");
    codes.expect.exit = Some(vec![0, 256]);
    codes.expect.stdout = Some(TextExpect {
        matches: vec!["(".into()],
        ..TextExpect::default()
    });
    let id = StepId::parse("twice");
    let [mut first, mut second] = [shell("true"), shell("true")];
    first.id.clone_from(&id);
    second.id = id;
    let found = problems([
        step(Action::Exec(exec(Command::Argv(Vec::new())))),
        step(Action::Exec(bad_cwd)),
        step(Action::Delete(Delete {
            paths: vec![GuestPath::root()],
            missing: Missing::Error,
        })),
        write,
        codes,
        first,
        second,
    ]);
    assert_eq!(
        told(&found),
        [
            ("exec-invalid", "/step/0/exec"),
            ("exec-invalid", "/step/1/exec"),
            ("exec-invalid", "/step/1/cwd"),
            ("exec-invalid", "/step/1/env/A=B"),
            ("out-of-range", "/step/1/timeout"),
            ("delete-root", "/step/2/delete/0"),
            ("expect-conflict", "/step/3/expect/exit"),
            ("pattern-invalid", "/step/4/expect/stdout/matches"),
            ("expect-conflict", "/step/4/expect/exit"),
            ("id-twice", "/step/6/id"),
        ]
    );
    assert!(found.iter().all(|problem| problem.help.is_some()));
}

#[test]
fn after_a_command_nothing_is_surely_missing() {
    let read = step(Action::Read(Read {
        paths: vec![path("a")],
        offset: None,
        max_bytes: None,
    }));
    assert_eq!(
        told(&problems([read.clone()])),
        [("path-missing", "/step/0/read")]
    );
    let plan = plan(
        &request([shell("make"), read]),
        &Facts::default(),
        "request",
    );
    assert!(plan.is_ok());
}

#[test]
fn what_a_failing_step_would_have_written_is_not_there() {
    let mut refused = write("a/b", "b");
    refused.expect.fails = true;
    let read = step(Action::Read(Read {
        paths: vec![path("a/b")],
        offset: None,
        max_bytes: None,
    }));
    let found = problems([write("a", "a"), refused, read]);
    assert_eq!(told(&found), [("path-missing", "/step/2/read")]);
}

#[test]
fn a_step_that_cannot_be_formed_is_a_problem_even_where_it_may_fail() {
    let mut step = write("a", "a");
    step.expect.fails = true;
    if let Action::Write(write) = &mut step.action {
        for file in write.files.values_mut() {
            file.content = Content::From("nowhere".into());
        }
    }
    assert_eq!(
        told(&problems([step])),
        [("from-missing", "/step/0/write/a/from")]
    );
}

#[test]
fn the_plan_does_not_depend_on_where_the_checkout_is() {
    let export = step(Action::Export(Export {
        path: path("a"),
        to: "out".into(),
        overwrite: Overwrite::Refuse,
    }));
    let request = request([write("a", "a"), export]);
    let planned = |at: &str, source: &str| {
        let fact = ExportFact {
            path: at.into(),
            target: TargetFact::Missing,
            parent: ParentFact::Directory {
                exists: true,
                writable: true,
            },
            linked_parent: None,
        };
        let facts = Facts {
            exports: [("out".to_owned(), fact)].into(),
            ..Facts::default()
        };
        plan(&request, &facts, source).expect("it plans")
    };
    let (here, there) = (
        planned("/here/out", "x.toml"),
        planned("/there/out", "y/x.toml"),
    );
    assert_eq!(here.digest, there.digest);
    assert_eq!(here.request_digest, there.request_digest);
    let json = to_json(&here);
    assert_eq!(json["format_version"], 1);
    assert_eq!(json["digest"], here.digest.to_string());
    assert!(!json.to_string().contains("/here"));
}

#[test]
fn bytes_that_are_no_text_are_kept_in_the_data() {
    let file = WriteFile {
        content: Content::Bytes(vec![0xff, b'\n']),
        append: false,
        mode: None,
    };
    let write = step(Action::Write(Write {
        files: [(path("a"), file)].into(),
        base: Default::default(),
    }));
    let plan = plan(&request([write]), &Facts::default(), "request").expect("it plans");
    let json = to_json(&plan);
    assert_eq!(json["steps"][0]["files"][0]["content"], "\u{fffd}\n");
    assert_eq!(json["steps"][0]["files"][0]["content_base64"], "/wo=");
}

#[test]
fn colours_add_nothing_but_colours() {
    let request = request([write("a", "one\ntwo\n"), shell("make")]);
    let plan = plan(&request, &Facts::default(), "request").expect("it plans");
    let coloured = describe(&plan, Style::Colour);
    let mut plain = String::new();
    for (index, part) in coloured.split("\x1b[").enumerate() {
        let rest = part.split_once('m').map_or(part, |(_, rest)| rest);
        plain.push_str(if index == 0 { part } else { rest });
    }
    assert_eq!(plain, describe(&plan, Style::Plain));
    assert!(coloured.contains("\x1b[32m+one"));
}

#[test]
fn every_code_is_spelled_once() {
    let own = ProblemCode::ALL.iter().map(|code| code.as_str());
    let patches = RefusalCode::ALL.iter().map(|code| code.as_str());
    let all: Vec<_> = own.chain(patches).collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
    assert!(all.iter().all(|code| code.chars().all(kebab)));
}
