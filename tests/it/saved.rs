//! Saved plans: what was approved runs, whole and exactly; what is not that any more is refused, each input by name.

use crate::harness::{World, snapshot};
use pyro::preflight::{ExposeFact, Facts, inputs};
use pyro::receipt::{Outcome, StepOutcome};
use pyro::saved::SavedError;
use pyro::{Error, Options, Request, SavedPlan, Step};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

const REQUEST: &str = r#"pyro = 1
vars.who = "nobody"

[workspace]
seed = "project"
environment = "host"

[[step]]
id = "say"
exec = ["echo", "hello ${vars.who}"]
expect.stdout.equals = "hello ann\n"

[[step]]
write."note.txt" = { from = "note.txt" }

[[step]]
export = "src/main.c"
to = "out/main.c"
overwrite = true
"#;

fn world() -> World {
    let world = World::with(REQUEST);
    world.write("project/src/main.c", "int main(void) { return 1; }\n");
    world.write("project/README", "read me\n");
    symlink("README", world.work().join("project/link")).expect("a link");
    world.write("note.txt", "a note\n");
    world.write("out/main.c", "the old one\n");
    world
}

fn save(world: &World) {
    world
        .pyro([
            "plan",
            "request.pyro.toml",
            "--var",
            "who=ann",
            "--out",
            "plan.json",
        ])
        .ended(0);
}

/// The names of what a refusal says has changed.
fn changed(world: &World) -> Vec<String> {
    let told = world
        .pyro(["apply", "--plan", "plan.json", "--json"])
        .ended(3)
        .json();
    assert_eq!(told["error"]["code"], "plan-stale");
    let changed = told["changed"].as_array().expect("a list");
    for change in changed {
        assert_ne!(change["was"], change["is"], "{change}");
    }
    changed
        .iter()
        .map(|change| {
            let name = change["name"].as_str().expect("a name");
            let name = name.rsplit_once("work/").map_or(name, |(_, name)| name);
            format!("{} {name}", change["kind"].as_str().expect("a kind"))
        })
        .collect()
}

#[test]
fn a_saved_plan_runs_from_anywhere_and_is_the_plan_that_was_shown() {
    let world = world();
    let shown = world
        .pyro([
            "plan",
            "request.pyro.toml",
            "--var",
            "who=ann",
            "--json",
            "--out",
            "plan.json",
        ])
        .ended(0)
        .json();
    let kept: Value =
        serde_json::from_slice(&fs::read(world.work().join("plan.json")).expect("it was written"))
            .expect("JSON");
    assert_eq!(kept["plan"], shown, "what is kept is what was shown");
    // The plan file may be moved; the request and what it names may not.
    fs::create_dir(world.base().join("elsewhere")).expect("a folder");
    fs::rename(
        world.work().join("plan.json"),
        world.base().join("elsewhere/approved.json"),
    )
    .expect("moves");
    let mut command = world.command(["apply", "--plan", "approved.json", "--json"]);
    command.current_dir(world.base().join("elsewhere"));
    let ran = world
        .ran(command.output().expect("pyro starts"))
        .ended(0)
        .json();
    assert_eq!(ran["plan_digest"], shown["digest"]);
    assert_eq!(ran["request"]["digest"], shown["request_digest"]);
    let exported = fs::read_to_string(world.work().join("out/main.c")).expect("exported");
    assert_eq!(exported, "int main(void) { return 1; }\n");
}

#[test]
fn each_input_that_changed_is_named() {
    type Case = (&'static str, fn(&World), &'static [&'static str]);
    let cases: [Case; 13] = [
        (
            "contents of the same size",
            |w| w.write("project/README", "READ ME\n"),
            &["seed README"],
        ),
        (
            "a mode",
            |w| {
                let readme = w.work().join("project/README");
                fs::set_permissions(readme, fs::Permissions::from_mode(0o755)).expect("a mode");
            },
            &["seed README"],
        ),
        ("a new file", |w| w.write("project/new", ""), &["seed new"]),
        (
            "a file that is gone",
            |w| fs::remove_file(w.work().join("project/src/main.c")).expect("removes"),
            &["seed src/main.c"],
        ),
        (
            "a link",
            |w| {
                fs::remove_file(w.work().join("project/link")).expect("removes");
                symlink("src/main.c", w.work().join("project/link")).expect("a link");
            },
            &["seed link"],
        ),
        (
            "the whole seed",
            |w| fs::remove_dir_all(w.work().join("project")).expect("removes"),
            &[
                "seed .",
                "seed README",
                "seed link",
                "seed src",
                "seed src/main.c",
            ],
        ),
        (
            "another directory of the same name",
            |w| {
                fs::rename(w.work().join("project"), w.work().join("real")).expect("moves");
                symlink("real", w.work().join("project")).expect("a link");
            },
            &["seed ."],
        ),
        (
            "a file that bytes are taken from",
            |w| w.write("note.txt", "a NOTE\n"),
            &["from note.txt"],
        ),
        (
            "the request, if only by a comment",
            |w| w.write("request.pyro.toml", format!("{REQUEST}# more\n")),
            &["request request.pyro.toml"],
        ),
        (
            "the request is gone",
            |w| fs::remove_file(w.work().join("request.pyro.toml")).expect("removes"),
            &["request request.pyro.toml"],
        ),
        (
            "what an export would replace",
            |w| w.write("out/main.c", "another one\n"),
            &["export out/main.c"],
        ),
        (
            "an export target that is gone",
            |w| fs::remove_file(w.work().join("out/main.c")).expect("removes"),
            &["export out/main.c"],
        ),
        (
            "several at once, sorted",
            |w| {
                w.write("out/main.c", "x");
                w.write("note.txt", "x");
                w.write("project/README", "x");
            },
            &["seed README", "from note.txt", "export out/main.c"],
        ),
    ];
    for (what, change, wanted) in cases {
        let world = world();
        save(&world);
        change(&world);
        assert_eq!(changed(&world), wanted, "{what}");
        assert_eq!(world.runs(), Vec::<std::path::PathBuf>::new());
        assert!(
            !world.state().join("receipts").exists(),
            "{what}: nothing was run"
        );
    }
}

#[test]
fn times_alone_are_no_change() {
    let world = world();
    save(&world);
    let readme = fs::File::options()
        .append(true)
        .open(world.work().join("project/README"))
        .expect("opens");
    readme
        .set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH))
        .expect("sets the time");
    world.pyro(["apply", "--plan", "plan.json"]).ended(0);
}

#[test]
fn what_is_shown_inside_counts_too() {
    let world = World::with("pyro = 1\nworkspace.environment = \"dir:rootfs\"\n");
    world.write("rootfs/bin/sh", "1");
    world
        .pyro(["plan", "request.pyro.toml", "--out", "plan.json"])
        .ended(0);
    world.write("rootfs/bin/new", "");
    assert_eq!(changed(&world), ["environment dir"]);
}

#[test]
fn a_host_variable_counts_by_its_value() {
    let world = World::with(
        "pyro = 1\nenv = [\"STAGE\"]\n[[step]]\nexec = [\"echo\", \"${env.STAGE}\"]\nexpect.stdout.equals = \"test\\n\"\n",
    );
    let run = |value: &str, args: &[&str]| {
        let mut command = world.command(args);
        command.env("STAGE", value);
        world.ran(command.output().expect("pyro starts"))
    };
    run("test", &["plan", "request.pyro.toml", "--out", "plan.json"]).ended(0);
    let refused = run("live", &["apply", "--plan", "plan.json", "--json"]).ended(3);
    assert_eq!(refused.json()["changed"][0]["kind"], "variable");
    assert_eq!(refused.json()["changed"][0]["name"], "STAGE");
    run("test", &["apply", "--plan", "plan.json"]).ended(0);
}

#[test]
fn an_exposed_directory_is_known_by_all_that_is_in_it() {
    let world = World::new();
    world.write("tools/deep/tool", "1");
    world.write("tools/other", "1");
    let look = || {
        let mut facts = Facts::default();
        let found = ExposeFact::Found {
            path: world.work().join("tools"),
            touches_state: false,
        };
        facts.expose.insert("tools".to_owned(), found);
        let mut found = inputs(&facts);
        found.pop().expect("one input").digest.expect("a digest")
    };
    let mut seen = vec![look()];
    assert_eq!(look(), seen[0], "the same as long as nothing changes");
    let tool = world.work().join("tools/deep/tool");
    let changes: [&dyn Fn(); 4] = [
        &|| world.write("tools/deep/tool", "23"),
        &|| fs::set_permissions(&tool, fs::Permissions::from_mode(0o600)).expect("a mode"),
        &|| fs::rename(&tool, tool.with_file_name("renamed")).expect("moves"),
        &|| symlink("other", world.work().join("tools/link")).expect("a link"),
    ];
    for change in changes {
        change();
        let now = look();
        assert!(!seen.contains(&now));
        seen.push(now);
    }
}

#[test]
fn a_plan_file_is_not_edited_and_not_made_up() {
    let world = world();
    save(&world);
    let path = world.work().join("plan.json");
    let whole = fs::read_to_string(&path).expect("it was written");
    let plan = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&whole).expect("JSON");
        change(&mut value);
        format!("{value:#}\n")
    };
    let changed: Vec<(&str, String)> = vec![
        ("cut off", whole[..whole.len() / 2].to_owned()),
        ("empty", String::new()),
        ("no JSON", "pyro = 1\n".to_owned()),
        ("something else", "{}".to_owned()),
        (
            "another command",
            plan(&|v| {
                v["request"]["text"] = v["request"]["text"]
                    .as_str()
                    .expect("text")
                    .replace("echo", "evil")
                    .into()
            }),
        ),
        (
            "another variable",
            plan(&|v| v["vars"]["who"] = "eve".into()),
        ),
        ("another place", plan(&|v| v["base_dir"] = "/".into())),
        (
            "another picture",
            plan(&|v| v["plan"]["steps"] = Value::Array(Vec::new())),
        ),
        (
            "an input less",
            plan(&|v| v["inputs"] = Value::Array(Vec::new())),
        ),
        ("a field more", plan(&|v| v["request"]["more"] = 1.into())),
        ("another version", plan(&|v| v["format_version"] = 2.into())),
    ];
    for (what, text) in changed {
        fs::write(&path, text).expect("writes");
        let told = world
            .pyro(["apply", "--plan", "plan.json", "--json"])
            .ended(2)
            .json();
        assert_eq!(told["error"]["code"], "plan-damaged", "{what}");
        assert!(!world.state().join("receipts").exists(), "{what}");
    }
    // Even one whose digest was made anew: what is shown must be what would run.
    let mut forged: Value = serde_json::from_str(&whole).expect("JSON");
    forged["plan"]["steps"][0]["argv"][1] = "harmless".into();
    forged.as_object_mut().expect("a table").remove("digest");
    let digest = pyro::request::Digest::of(forged.to_string().as_bytes());
    forged["digest"] = digest.to_string().into();
    fs::write(&path, forged.to_string()).expect("writes");
    world.pyro(["apply", "--plan", "plan.json"]).ended(3);
    assert!(!world.state().join("receipts").exists());
}

#[test]
fn a_plan_is_not_saved_over_other_files_or_into_what_it_rests_on() {
    let world = world();
    let out = |file: &str| {
        let ran = world.pyro(["plan", "request.pyro.toml", "--json", "--out", file]);
        ran.ended(2).json()["error"]["code"].clone()
    };
    for file in [
        "note.txt",
        "request.pyro.toml",
        "project",
        "project/plan.json",
        "project/src/plan.json",
        "nowhere/plan.json",
    ] {
        assert_eq!(out(file), "plan-unwritable", "{file}");
    }
    assert_eq!(
        fs::read_to_string(world.work().join("note.txt")).expect("kept"),
        "a note\n"
    );
    save(&world);
    save(&world);
}

// proves: W11
#[test]
fn an_archive_is_compared_whole_and_again_when_it_is_unpacked() {
    let world = world();
    let first = include_bytes!("../../fixtures/run/seed_archive/seed.tar.gz");
    let other = include_bytes!("../../fixtures/plan/seed_archive/seed.tar.gz");
    world.write("a.tar.gz", first);
    let request = Request::new("host")
        .seed("a.tar.gz")
        .step(Step::exec(["true"]))
        .build()
        .expect("a request");
    let options = Options {
        base_dir: world.work(),
        state_dir: Some(world.state()),
        ..Options::default()
    };
    let (saved, _) = SavedPlan::of_request(&request, &options).expect("it plans");
    let checked = saved.check(&options).expect("nothing changed");
    let ran = checked.apply(&options, &mut |_| {}).expect("it runs");
    assert_eq!(ran.receipt.outcome, Outcome::Passed);
    let unsaved = request.plan(&options).expect("it plans");
    world.write("a.tar.gz", other);
    for plan in [checked, unsaved] {
        let ran = plan.apply(&options, &mut |_| {}).expect("a receipt");
        assert_eq!(ran.receipt.outcome, Outcome::Lost);
        let lost = ran.receipt.lost.expect("a reason");
        assert!(lost.contains("not the one that was planned"), "{lost}");
    }
    match saved.check(&options) {
        Err(Error::Saved(SavedError::Stale(stale))) => {
            assert_eq!(stale.as_slice()[0].input(), ("seed", ".".to_owned()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_seed_that_changes_after_it_was_compared_does_not_run() {
    let world = world();
    let request = Request::new("host")
        .seed("project")
        .step(Step::exec(["cat", "README"]))
        .build()
        .expect("a request");
    let options = Options {
        base_dir: world.work(),
        state_dir: Some(world.state()),
        ..Options::default()
    };
    let (saved, planned) = SavedPlan::of_request(&request, &options).expect("it plans");
    let path = world.base().join("plan.json");
    saved.save(&path).expect("it is written");
    let loaded = SavedPlan::load(&path).expect("it is whole");
    assert_eq!(loaded, saved);
    let checked = loaded.check(&options).expect("nothing changed");
    assert_eq!(checked.digest, planned.digest);

    let ran = checked.apply(&options, &mut |_| {}).expect("it runs");
    assert_eq!(ran.receipt.outcome, Outcome::Passed, "a copy is the same");
    world.write("project/README", "evil!!!\n");
    let ran = checked.apply(&options, &mut |_| {}).expect("a receipt");
    assert_eq!(ran.receipt.outcome, Outcome::Lost);
    assert!(
        ran.receipt
            .lost
            .expect("a reason")
            .contains("the seed is not the one that was planned")
    );
    assert_eq!(ran.receipt.steps[0].outcome, StepOutcome::NotRun);

    match loaded.check(&options) {
        Err(Error::Saved(SavedError::Stale(stale))) => {
            assert_eq!(stale.as_slice()[0].input(), ("seed", "README".to_owned()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_of_what_changes_meanwhile_is_not_saved() {
    let world = World::with(
        "pyro = 1\nworkspace.seed = \"seed\"\n[[step]]\n\
         patch = \"--- a/f\\n+++ b/f\\n@@ -1 +1 @@\\n-one\\n+two\\n\"\n",
    );
    // Much to read, so that there is a while.
    for number in 0..200 {
        world.write(&format!("seed/many/{number}"), "the same\n");
    }
    world.write("seed/f", "one\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                world.write("next", format!("one\nround {round}\n"));
                fs::rename(world.work().join("next"), world.work().join("seed/f"))
                    .expect("renames");
            }
        });
        let _stop = Stop(&stop);
        let told = wait_for_some("the plan to meet a change", || {
            let ran = world.pyro(["plan", "request.pyro.toml", "--out", "plan.json", "--json"]);
            fs::remove_file(world.work().join("plan.json")).ok();
            (ran.code != Some(0)).then(|| ran.ended(2).json())
        });
        assert_eq!(told["error"]["code"], "plan-unsteady", "{told:#}");
        let message = told["error"]["message"].to_string();
        assert!(message.contains("f changed while it was read"), "{message}");
    });
    assert!(!world.work().join("plan.json").exists());
}

/// Stops a thread, also where an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What comes of something that works out in time.
fn wait_for_some<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    crate::harness::wait_for(what, || {
        found = attempt();
        found.is_some()
    });
    found.expect("it was waited for")
}

#[test]
fn detailed_exit_codes_tell_whether_anything_would_change() {
    let world = World::new();
    world.write("seed/a.txt", "a\n");
    world.write("seed/b.sh", "b\n");
    let code = |steps: &str| {
        world.write(
            "request.pyro.toml",
            format!("pyro = 1\nworkspace.seed = \"seed\"\n{steps}"),
        );
        let plain = world.pyro(["plan", "request.pyro.toml"]);
        let detailed = world.pyro(["plan", "request.pyro.toml", "--detailed-exit-code"]);
        assert_eq!(plain.stdout, detailed.stdout);
        (plain.code, detailed.code)
    };
    let (nothing, something) = ((Some(0), Some(0)), (Some(0), Some(10)));
    for (steps, wanted) in [
        ("", nothing),
        (
            "[[step]]\nread = \"a.txt\"\n[[step]]\nlist = \".\"\n[[step]]\ndiff = \"baseline\"\n",
            nothing,
        ),
        ("[[step]]\nwrite.\"a.txt\" = \"a\\n\"\n", nothing),
        ("[[step]]\nwrite.\"a.txt\" = \"b\\n\"\n", something),
        (
            "[[step]]\nwrite.\"a.txt\" = \"b\\n\"\n[[step]]\nwrite.\"a.txt\" = \"b\\n\"\n",
            something,
        ),
        (
            "[[step]]\nwrite.\"a.txt\" = { text = \"a\\n\", mode = \"0600\" }\n",
            something,
        ),
        ("[[step]]\nwrite.\"new\" = \"\"\n", something),
        (
            "[[step]]\ndelete = [\"none\"]\nmissing = \"ignore\"\n",
            nothing,
        ),
        ("[[step]]\ndelete = [\"a.txt\"]\n", something),
        ("[[step]]\nread = \"none\"\nexpect.fails = true\n", nothing),
        (
            "[[step]]\nwrite.\"a.txt/x\" = \"\"\nexpect.fails = true\n",
            nothing,
        ),
        ("[[step]]\nexec = [\"true\"]\n", something),
        (
            "[[step]]\nexport = \"a.txt\"\nto = \"out.txt\"\n",
            something,
        ),
    ] {
        assert_eq!(code(steps), wanted, "{steps}");
    }
    assert_eq!(code("[[step]]\nread = \"none\"\n").1, Some(3), "refused");
    assert_eq!(code("nonsense").1, Some(2), "no request");
}

#[test]
fn what_a_reader_sees() {
    let world = world();
    let mut page = String::new();
    let mut show = |args: &[&str]| page.push_str(&crate::harness::shown(&world, args));
    show(&["apply", "--plan", "nowhere.json"]);
    show(&["apply"]);
    save(&world);
    world.write("note.txt", "another note\n");
    show(&["apply", "--plan", "plan.json"]);
    world.write("project/README", "another text\n");
    world.write("project/new.c", "");
    show(&["apply", "--plan", "plan.json"]);
    world.write("plan.json", "{ \"kind\": ");
    show(&["apply", "--plan", "plan.json"]);
    snapshot("saved", &page);
}

// proves: S33
#[test]
fn what_a_sync_takes_is_compared_path_by_path() {
    let world = World::with("pyro = 1\n\n[[step]]\nsync = \"project\"\nexclude = [\"*.o\"]\n");
    world.write("project/src/main.c", "int main(void) { return 1; }\n");
    world.write("project/README", "read me\n");
    let plan = ["plan", "request.pyro.toml", "--out", "plan.json"];
    world.pyro(plan).ended(0);
    // The plan names what is left out.
    world.write("project/src/main.o", "o");
    assert_eq!(changed(&world), ["sync project/src/main.o"]);
    fs::remove_file(world.work().join("project/src/main.o")).expect("removed");
    world.pyro(["apply", "--plan", "plan.json"]).ended(0);
    world.write("project/src/main.c", "int main(void) { return 0; }\n");
    world.write("project/new", "");
    fs::remove_file(world.work().join("project/README")).expect("removed");
    assert_eq!(
        changed(&world),
        [
            "sync project/README",
            "sync project/new",
            "sync project/src/main.c"
        ]
    );
    // Nor is a plan saved into what it rests on.
    let into = ["plan", "request.pyro.toml", "--out", "project/plan.json"];
    world.pyro(into).ended(2);
}
