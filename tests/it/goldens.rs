//! Goldens that are written, or not, by the real binary; and steps that are selected.

use crate::harness::{Ran, World};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

const TWO: &str = r#"
pyro = 1

[[step]]
id = "one"
exec = ["echo", "one"]
expect.stdout.golden = "golden/one"

[[step]]
id = "two"
always = true
exec = ["echo", "two"]
expect.stdout.golden = "golden/two"
"#;

fn golden(world: &World, name: &str) -> Option<String> {
    fs::read_to_string(world.work().join("golden").join(name)).ok()
}

#[test]
fn goldens_are_not_written_in_ci() {
    for (value, refused) in [
        ("true", true),
        ("1", true),
        ("woodpecker", true),
        ("false", false),
        ("", false),
    ] {
        let world = World::with(TWO);
        let args = ["apply", "request.pyro.toml", "--update-goldens"];
        let ran = world.command(args).env("CI", value).output();
        let ran = world.ran(ran.expect("pyro starts"));
        if refused {
            assert!(ran.stderr().contains("`CI` is set"), "{}", ran.text());
            assert_eq!(golden(&world, "one"), None);
        } else {
            assert_eq!(golden(&world, "one").as_deref(), Some("one\n"));
        }
        ran.ended(if refused { 2 } else { 0 });
    }
}

#[test]
fn a_review_needs_a_terminal() {
    let world = World::with(TWO);
    let ran = world
        .pyro(["apply", "request.pyro.toml", "--review"])
        .ended(2);
    assert!(
        ran.stderr().contains("asks on a terminal"),
        "{}",
        ran.text()
    );
    assert!(!world.work().join("golden").exists());
}

/// Runs with a terminal on which these answers are typed.
fn reviewed(world: &World, answers: &str) -> (Ran, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it opens");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let name = name.into_string().expect("its name is text");
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(Path::new(&name));
    let theirs = theirs.expect("the other end");
    let mut command = world.command(["apply", "request.pyro.toml", "--review"]);
    command.stdin(theirs.try_clone().expect("a descriptor"));
    command.stderr(Stdio::from(theirs));
    let child = command.spawn().expect("pyro starts");
    drop(command);
    let mut ours = File::from(ours);
    ours.write_all(answers.as_bytes()).expect("typed");
    let mut screen = Vec::new();
    let mut part = [0; 1024];
    // The terminal says EIO once nobody has its other end.
    while let Ok(length @ 1..) = ours.read(&mut part) {
        screen.extend_from_slice(&part[..length]);
    }
    let ran = world.ran(child.wait_with_output().expect("pyro ends"));
    (ran, String::from_utf8_lossy(&screen).into_owned())
}

#[test]
fn a_review_writes_what_is_accepted() {
    let world = World::with(TWO);
    world.write("golden/one", "eins\n");
    let (ran, screen) = reviewed(&world, "what?\ns\na\n");
    assert_eq!(ran.code, Some(4), "{}\n{screen}", ran.text());
    for shown in [
        "one: stdout differs from golden/one",
        "-eins",
        "+one",
        "two: stdout would make golden/two",
    ] {
        assert!(screen.contains(shown), "{shown}: {screen}");
    }
    assert_eq!(golden(&world, "one").as_deref(), Some("eins\n"));
    assert_eq!(golden(&world, "two").as_deref(), Some("two\n"));
    let (ran, screen) = reviewed(&world, "accept\n");
    assert_eq!(ran.code, Some(0), "{}\n{screen}", ran.text());
    assert_eq!(golden(&world, "one").as_deref(), Some("one\n"));
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
}

#[test]
fn a_plan_lists_the_goldens_that_would_be_written() {
    let world = World::with(TWO);
    world.write("golden/one", "eins\n");
    let plain = world.pyro(["plan", "request.pyro.toml"]).ended(0);
    assert!(!plain.stdout().contains("HOST WRITE"), "{}", plain.text());
    let ran = world
        .pyro(["plan", "request.pyro.toml", "--update-goldens"])
        .ended(0);
    for shown in [
        "golden/one   HOST WRITE, replaced if it differs",
        "golden/two   HOST WRITE, new",
        "host writes 2",
    ] {
        assert!(ran.stdout().contains(shown), "{shown}: {}", ran.text());
    }
    let data = world
        .pyro(["plan", "request.pyro.toml", "--update-goldens", "--json"])
        .ended(0)
        .json();
    assert_eq!(data["reach"]["host_writes"][1]["path"], "golden/two");
    assert_eq!(golden(&world, "two"), None, "a plan writes nothing");
}

#[test]
fn a_golden_is_not_written_through_a_link_that_a_step_made() {
    let world = World::with(
        r#"
pyro = 1

[[step]]
exec = "mkdir d; ln -s /etc d/link"

[[step]]
export = "d"
to = "golden"

[[step]]
exec = ["echo", "x"]
expect.stdout.golden = "golden/link/passwd-"
"#,
    );
    let ran = world.pyro(["apply", "request.pyro.toml", "--update-goldens"]);
    assert!(
        ran.stderr().contains("in the way of the export"),
        "{}",
        ran.text()
    );
    ran.ended(3);
}

const THREE: &str = r#"
pyro = 1

[[step]]
id = "make"
exec = "echo v7"
capture.version.stdout.regex = '\d+'

[[step]]
id = "check"
exec = ["test", "${step.make.version}", "=", "7"]

[[step]]
exec = ["true"]
"#;

// proves: F1
#[test]
fn selected_steps_run_and_the_receipt_says_which_did_not() {
    let world = World::with(THREE);
    for (args, run, left_out) in [
        (&["--until", "check"][..], &[1, 2][..], &[3][..]),
        (&["--only", "make", "--only", "#3"], &[1, 3], &[2]),
        (&["--from", "#3"], &[3], &[1, 2]),
        (&["--from", "make", "--until", "make"], &[1], &[2, 3]),
    ] {
        let args = ["apply", "request.pyro.toml"].iter().chain(args);
        world.pyro(args).ended(0);
        let receipt = world.receipt();
        let numbers = |key: &str| {
            let steps = receipt[key].as_array().expect("a list");
            let number = |step: &serde_json::Value| step["number"].as_i64().expect("a number");
            steps.iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(numbers("steps"), run);
        assert_eq!(numbers("left_out"), left_out);
    }
    let plan = world
        .pyro(["plan", "request.pyro.toml", "--only", "make"])
        .ended(0);
    assert!(
        plan.stdout().contains("not selected: check, #3"),
        "{}",
        plan.text()
    );
}

#[test]
fn what_cannot_be_selected_is_told() {
    let world = World::with(THREE);
    world.write("other.pyro.toml", THREE);
    for (args, code, told) in [
        (&["--from", "chekc"][..], 2, "did you mean `check`?"),
        (&["--only", "#4"], 2, "the request has no step `#4`"),
        (
            &["--from", "#3", "--until", "make"],
            2,
            "no step is selected",
        ),
        (&["--from", "check"], 2, "step `make` is not selected"),
        (
            &["--only", "make", "--from", "check"],
            2,
            "cannot be used with",
        ),
        (
            &["other.pyro.toml", "--only", "make"],
            2,
            "name steps of one request",
        ),
    ] {
        let args = ["apply", "request.pyro.toml"].iter().chain(args);
        let ran = world.pyro(args);
        assert!(ran.text().contains(told), "{told}: {}", ran.text());
        ran.ended(code);
    }
    assert!(!world.state().join("receipts").exists(), "nothing ran");
}

#[test]
fn an_interrupt_ends_the_wait_between_two_attempts() {
    let world = World::with(
        r#"
pyro = 1

[[step]]
exec = ["false"]
retry = { times = 3, every = "10m" }

[[step]]
always = true
exec = ["true"]
"#,
    );
    let events = world.work().join("events");
    let args = ["apply", "request.pyro.toml", "--events", "events"];
    let child = world.command(args).spawn().expect("pyro starts");
    // The first attempt has failed, and the wait has begun or is about to.
    while !fs::read_to_string(&events).is_ok_and(|text| text.contains("\"step_retried\"")) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("pyro is there");
    let ran = world.ran(child.wait_with_output().expect("pyro ends"));
    assert_eq!(ran.code, Some(130), "{}", ran.text());
    let receipt = world.receipt();
    let steps = receipt["steps"].as_array().expect("steps");
    assert_eq!(steps[0]["outcome"], "cancelled");
    assert_eq!(steps[0]["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(steps[1]["outcome"], "not_run");
    assert!(world.runs().is_empty(), "a run was left");
}
