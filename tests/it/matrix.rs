//! Requests with a matrix: each combination its own run.

use crate::harness::World;
use pyro::batch::{Batch, RunEnd};
use pyro::machine::Spare;
use pyro::receipt::Outcome;
use pyro::{Cancel, Options, Request, Step};
use std::collections::BTreeSet;
use std::fs;

const REQUEST: &str = r#"
pyro = 1

[matrix]
os = ["deb", "rpm"]
python = ["3.9", "3.11"]

[[step]]
id = "say"
exec = ["echo", "${matrix.os}", "${matrix.python}"]
capture.first.stdout.regex = '\w+'

[[step]]
exec = ["test", "${step.say.first}-${matrix.python}", "!=", "rpm-3.9"]

[[step]]
always = true
write."made" = "by ${matrix.os}\n"
interpolate = true

[[step]]
always = true
export = "made"
to = "out/${matrix.python}-${matrix.os}"
"#;

// proves: M1 M2
#[test]
fn each_combination_is_a_run_of_its_own() {
    let world = World::with(REQUEST);
    let ran = world.pyro(["apply", "request.pyro.toml", "--receipt", "all.json"]);
    assert_eq!(ran.code, Some(4), "{}", ran.text());
    for shown in [
        "request.pyro.toml [os=deb,python=3.9]",
        "request.pyro.toml [os=rpm,python=3.11]",
        "3 of 4",
    ] {
        assert!(ran.stdout().contains(shown), "{shown}: {}", ran.text());
    }
    let all = fs::read(world.work().join("all.json")).expect("a document");
    let all: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
    crate::schema::are_receipts(&all, "all.json");
    let runs = all["runs"].as_array().expect("runs");
    let told = runs.iter().map(|run| {
        let matrix = &run["matrix"];
        assert_eq!(run["receipt"]["request"]["matrix"], *matrix);
        format!("{} {} {}", matrix["os"], matrix["python"], run["outcome"])
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            r#""deb" "3.9" "passed""#,
            r#""deb" "3.11" "passed""#,
            r#""rpm" "3.9" "failed""#,
            r#""rpm" "3.11" "passed""#,
        ]
    );
    for name in ["3.9-deb", "3.9-rpm", "3.11-deb", "3.11-rpm"] {
        let made = fs::read_to_string(world.work().join("out").join(name)).expect(name);
        assert_eq!(made, format!("by {}\n", &name[name.len() - 3..]));
    }
}

#[test]
fn several_at_once_do_not_mix_what_they_show() {
    let world = World::with(
        r#"
pyro = 1
matrix.n = ["1", "2", "3", "4", "5", "6"]

[[step]]
id = "first"
exec = "echo ${matrix.n}; sleep 0.${matrix.n}"

[[step]]
id = "second"
exec = "echo out-${matrix.n}; exit 9"
"#,
    );
    let ran = world.pyro(["apply", "request.pyro.toml", "--jobs", "3"]);
    assert_eq!(ran.code, Some(4), "{}", ran.text());
    // From each header to the next, everything is of that run.
    let text = ran.stdout();
    let mut parts: Vec<_> = text
        .split("request.pyro.toml [n=")
        .skip(1)
        .take(6)
        .collect();
    parts.sort_unstable();
    assert_eq!(parts.len(), 6, "{text}");
    for (index, part) in parts.iter().enumerate() {
        let own = index + 1;
        assert!(part.starts_with(&format!("{own}]")), "{part}");
        assert!(part.contains(&format!("| out-{own}\n")), "{part}");
        assert!(part.contains("second") && part.contains("FAILED"), "{part}");
        for other in (1..=6).filter(|other| *other != own) {
            assert!(!part.contains(&format!("| out-{other}\n")), "{part}");
        }
    }
    assert!(text.contains("0 of 6"), "{text}");
    let args = ["apply", "request.pyro.toml", "--jobs", "6", "--json"];
    let json = world.pyro(args).ended(4).json();
    let runs = json["runs"].as_array().expect("runs");
    let order: Vec<_> = runs.iter().map(|run| run["matrix"]["n"].clone()).collect();
    assert_eq!(order, ["1", "2", "3", "4", "5", "6"]);
}

// proves: M3
#[test]
fn what_is_wrong_with_several_combinations_is_told_once() {
    let world = World::with(
        r#"
pyro = 1
matrix.dir = ["there", "gone", "lost"]
workspace.seed = "${matrix.dir}"

[[step]]
exec = ["true"]
env.A = "${matrix.dir}"

[[step]]
export = "a"
to = "/dev/null/x"
"#,
    );
    fs::create_dir(world.work().join("there")).expect("a folder");
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(3);
    let told = ran.stderr();
    for shown in ["with dir=gone", "with dir=lost"] {
        assert_eq!(told.matches(shown).count(), 2, "{shown}: {}", ran.text());
    }
    assert!(!world.state().join("receipts").exists(), "nothing ran");
    world.pyro(["check", "request.pyro.toml"]).ended(0);
    world.write(
        "always.pyro.toml",
        r#"
pyro = 1
matrix.n = ["1", "2", "3"]

[[step]]
export = "a"
to = "/dev/null/x"
"#,
    );
    let ran = world.pyro(["apply", "always.pyro.toml"]).ended(3);
    assert_eq!(
        ran.stderr().matches("error[export-parent]").count(),
        1,
        "{}",
        ran.text()
    );
    assert!(!ran.stderr().contains("with n="), "{}", ran.text());
}

#[test]
fn a_plan_shows_every_combination_and_is_saved_of_none() {
    let world = World::with(REQUEST);
    let ran = world.pyro(["plan", "request.pyro.toml"]).ended(0);
    for shown in [
        "[os=deb,python=3.9]",
        "[os=rpm,python=3.11]",
        "echo rpm 3.11",
    ] {
        assert!(ran.stdout().contains(shown), "{shown}: {}", ran.text());
    }
    let data = world
        .pyro(["plan", "request.pyro.toml", "--json"])
        .ended(0)
        .json();
    let plans = data["plans"].as_array().expect("plans");
    assert_eq!(plans[3]["matrix"]["python"], "3.11");
    let digests: BTreeSet<_> = plans
        .iter()
        .map(|plan| plan["digest"].to_string())
        .collect();
    assert_eq!(digests.len(), 4);
    let ran = world
        .pyro(["plan", "request.pyro.toml", "--out", "saved"])
        .ended(2);
    assert!(ran.stderr().contains("has a matrix"), "{}", ran.text());
}

#[test]
fn combinations_run_from_rust_as_well() {
    let state = tempfile::tempdir().expect("a folder");
    let request = Request::new("host")
        .matrix("n", ["1", "2", "3"])
        .step(Step::exec(["test", "${matrix.n}", "-lt", "3"]))
        .build()
        .expect("a request");
    let options = Options {
        state_dir: Some(state.path().join("state")),
        ..Options::default()
    };
    let batch = Batch::of(&request, &options).expect("plans");
    let cancel = Cancel::new().expect("a pipe");
    let mut events = 0;
    let end = batch.apply(Spare::begin(), 2, &cancel, &mut |_| events += 1);
    assert_eq!(end.report.outcome, Outcome::Failed);
    let passed =
        |end: &RunEnd| matches!(end, RunEnd::Ran(ran) if ran.receipt.outcome == Outcome::Passed);
    assert_eq!(
        end.ends.iter().map(passed).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert!(
        events >= 12,
        "each run tells of its start, step and end: {events}"
    );
    assert!(
        request.plan(&options).is_err(),
        "one of three is not chosen"
    );
    let cancelled = Cancel::new().expect("a pipe");
    cancelled.cancel();
    let end = batch.apply(Spare::begin(), 2, &cancelled, &mut |_| {});
    assert!(end.ends.iter().all(|end| matches!(end, RunEnd::NotRun)));
}
