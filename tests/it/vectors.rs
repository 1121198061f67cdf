//! Conformance: each case of `specs/vectors` says the same in TOML and in JSON, and comes to the same through the
//! command line and through the library. `expected.json` has what any implementation must come to.

use crate::harness::{World, copy_tree, root};
use pyro::plan::{Style, describe};
use pyro::receipt::{Outcome, Receipt};
use pyro::request::{Request, Syntax, parse};
use pyro::{Error, Options};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SYNTAXES: [(Syntax, &str); 2] = [
    (Syntax::Toml, "request.pyro.toml"),
    (Syntax::Json, "request.pyro.json"),
];

/// What a way came to: mistakes, reasons against a plan, or a receipt; and the plan's text, where there is one.
#[derive(Debug, PartialEq)]
struct Came {
    exit: i32,
    to: Value,
    plan: Option<String>,
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(root().join("specs/vectors"))
        .expect("the vectors")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// Lays the case out anew, without what is expected of it; always at one place, for a plan names the paths of the host.
fn lay_out(world: &World, case: &Path) {
    fs::remove_dir_all(world.work()).expect("what was there can be removed");
    copy_tree(case, &world.work());
    fs::remove_file(world.work().join("expected.json")).ok();
}

/// Code and place of each finding, sorted: the order is the document's, and that of two syntaxes may differ.
fn findings<'a>(found: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let found: BTreeSet<_> = found
        .map(|(code, pointer)| format!("{code} {pointer}"))
        .collect();
    json!(found)
}

fn library(world: &World, case: &Path, syntax: Syntax, name: &str) -> Came {
    lay_out(world, case);
    let bytes = fs::read(world.work().join(name)).expect("a request");
    let request = match parse("request", &bytes, syntax) {
        Ok((request, _)) => request,
        Err(errors) => {
            let found = errors.iter().map(|e| (e.code.as_str(), &*e.pointer.0));
            return Came {
                exit: 2,
                to: json!({ "mistakes": findings(found) }),
                plan: None,
            };
        }
    };
    let options = Options {
        base_dir: world.work(),
        state_dir: Some(world.state()),
        ..Options::default()
    };
    match request.plan(&options) {
        Ok(plan) => {
            let text = describe(&plan, Style::Plain);
            let ran = plan.apply(&options, &mut |_| {}).expect("it runs");
            Came {
                exit: match ran.receipt.outcome {
                    Outcome::Passed => 0,
                    Outcome::Failed => 4,
                    Outcome::Cancelled => 130,
                    Outcome::Lost => 5,
                },
                to: json!({ "receipt": timeless(world, &ran.receipt) }),
                plan: Some(text),
            }
        }
        Err(Error::Plan(problems)) => {
            let found = problems.as_slice().iter();
            let found = found.map(|p| (p.code.as_str(), &*p.pointer.0));
            Came {
                exit: 3,
                to: json!({ "refused": findings(found) }),
                plan: None,
            }
        }
        Err(error) => panic!("{}: {error}", case.display()),
    }
}

fn command_line(world: &World, case: &Path, name: &str) -> Came {
    lay_out(world, case);
    let text = fs::read(world.work().join(name)).expect("a request");
    let planned = world.pyro_with_input(["plan", "-"], &text);
    let ran = world.pyro(["apply", "--json", name]);
    let told = ran.json();
    let found = |key: &str| {
        let found = told["findings"].as_array().expect("findings");
        let found = found.iter().map(|finding| {
            let text = |key: &str| finding[key].as_str().expect("text");
            (text("code"), text("pointer"))
        });
        json!({ key: findings(found) })
    };
    let to = match ran.code {
        Some(2) => found("mistakes"),
        Some(3) => found("refused"),
        _ => {
            let receipt = serde_json::from_value(told.clone()).expect("a receipt");
            json!({ "receipt": timeless(world, &receipt) })
        }
    };
    let plan = (planned.code == Some(0)).then(|| {
        let text = planned.stdout();
        text.replacen("plan       -  ", "plan       request  ", 1)
    });
    let exit = ran.code.expect("an exit code");
    Came { exit, to, plan }
}

/// A receipt without what differs from run to run: its name, times, what a program took, and where it happened.
fn timeless(world: &World, receipt: &Receipt) -> Value {
    const FLEETING: [&str; 9] = [
        "run",
        "started_at",
        "ended_at",
        "duration_ms",
        "duration_us",
        "cpu_us",
        "max_rss_kib",
        "source",
        "isolation",
    ];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !FLEETING.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let text = receipt.to_json();
    let text = text.replace(&*world.base().to_string_lossy(), "$DIR");
    let mut value = serde_json::from_str(&text).expect("JSON");
    strip(&mut value);
    value
}

/// What any implementation must come to.
fn essentials(came: &Came) -> Value {
    let Some(receipt) = came.to.get("receipt") else {
        let mut told = came.to.clone();
        told["exit"] = came.exit.into();
        return told;
    };
    let steps = receipt["steps"].as_array().expect("steps").iter();
    let steps = steps.map(|step| {
        let mut out = Map::new();
        for key in ["verb", "outcome"] {
            out.insert(key.to_owned(), step[key].clone());
        }
        if let Some(exec) = step.get("exec") {
            out.insert("exit_code".to_owned(), exec["exit_code"].clone());
            let started = exec.get("not_started").is_none();
            out.insert("started".to_owned(), started.into());
        }
        if let Some(refusal) = step.get("refusal") {
            out.insert("refusal".to_owned(), refusal["code"].clone());
        }
        for key in ["stdout", "stderr"] {
            if let Some(output) = step.get(key).filter(|output| output["bytes"] != 0) {
                out.insert(key.to_owned(), output["head"].clone());
            }
        }
        if let Some(failures) = step.get("failures").and_then(Value::as_array) {
            let places: Vec<_> = failures.iter().map(|f| f["pointer"].clone()).collect();
            out.insert("failures".to_owned(), places.into());
        }
        Value::Object(out)
    });
    let steps: Vec<_> = steps.collect();
    let changes = receipt["changes"].as_array().expect("changes").iter();
    let changes: Vec<_> = changes
        .map(|change| {
            let side = |side: &str| {
                let version = change.get(side)?;
                Some(version.get("sha256").unwrap_or(&version["kind"]).clone())
            };
            json!({ "path": change["path"], "before": side("before"), "after": side("after") })
        })
        .collect();
    let host = receipt["host_files"].as_array().expect("host files").iter();
    let host: Vec<_> = host
        .map(|file| {
            let path = file["path"].as_str().expect("a path");
            json!({ "path": path.replace("$DIR/work/", ""), "sha256": file["sha256"] })
        })
        .collect();
    json!({ "exit": came.exit, "outcome": receipt["outcome"], "steps": steps, "changes": changes, "host_files": host })
}

#[test]
fn each_case_comes_to_the_same_whichever_way_it_goes() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let request = |(syntax, file): (Syntax, &str)| -> Option<Request> {
            let bytes = fs::read(case.join(file)).expect("each case is in both syntaxes");
            parse("request", &bytes, syntax)
                .ok()
                .map(|(request, _)| request)
        };
        let [toml, json] = SYNTAXES.map(request);
        assert_eq!(toml, json, "{name}: the same request in both syntaxes");
        let world = World::new();
        let first = library(&world, &case, SYNTAXES[0].0, SYNTAXES[0].1);
        for (_, file) in SYNTAXES {
            let came = command_line(&world, &case, file);
            assert_eq!(first.plan, came.plan, "{name}: library against {file}");
            assert_eq!(first.to, came.to, "{name}: library against {file}");
            assert_eq!(first.exit, came.exit, "{name}: library against {file}");
        }
        let now = format!("{:#}\n", essentials(&first));
        let path = case.join("expected.json");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &now).expect("it can be written");
        }
        if fs::read_to_string(&path).unwrap_or_default() != now {
            wrong.push(format!("{name} comes to {now}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "these cases come to something else than their expected.json (UPDATE_DOCS=1 writes it anew; look at the \
         difference): {}",
        wrong.join("\n")
    );
}
