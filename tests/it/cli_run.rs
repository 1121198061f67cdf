//! `pyro run`, and what crosses between a running workspace and its host.

use crate::harness::{World, shown, snapshot, wait_for};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

/// A host folder that a workspace can show; the sandbox has a `/tmp` of its own.
fn exposed_folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("pyro-it-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in("/var/tmp")
        .expect("a temporary folder")
}

#[test]
fn run_passes_the_exit_code_and_the_output_on() {
    let world = World::new();
    let mut text = String::new();
    for (code, args) in [
        (0, &["run", "host", "--", "true"][..]),
        (
            3,
            &[
                "run",
                "host",
                "--",
                "sh",
                "-c",
                "echo out; echo err >&2; exit 3",
            ],
        ),
        (
            124,
            &["run", "host", "--timeout", "200ms", "--", "sleep", "60"],
        ),
        (125, &["run", "dir:nowhere", "--", "true"]),
        (125, &["run", "host", "--timeout", "soon", "--", "true"]),
        (126, &["run", "host", "--", "/etc"]),
        (127, &["run", "host", "--", "no-such-program"]),
        (137, &["run", "host", "--", "sh", "-c", "kill -KILL $$"]),
        (0, &["run", "host", "-q", "--", "echo", "quiet"]),
        (0, &["run", "host", "-v", "--", "echo", "verbose"]),
    ] {
        let ran = world.pyro(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.text());
        text.push_str(&shown(&world, args));
    }
    snapshot("run_exit_codes", &text);
    let bytes = world
        .pyro(["run", "host", "--", "printf", r"a\377\000b"])
        .ended(0);
    assert_eq!(bytes.stdout, b"a\xff\0b");
}

#[test]
fn run_takes_seed_env_patch_and_export() {
    let world = World::new();
    world.write("seed/a.txt", "one\ntwo\n");
    world.write(
        "fix.patch",
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n",
    );
    let exposed = exposed_folder();
    std::fs::write(exposed.path().join("data"), "exposed\n").expect("writes");
    let tools = exposed.path().to_string_lossy();
    let script = format!("cat a.txt {tools}/data; echo $X; pwd; echo new > made");
    let args = [
        "run",
        "host",
        "--seed",
        "seed",
        "--patch",
        "fix.patch",
        "--env",
        "X=a=b ${vars.no}",
        "--expose",
        &tools,
        "--export",
        "made=out/made",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let ran = world.pyro(args).ended(0);
    let expected = "one\nTWO\nexposed\na=b ${vars.no}\n/workspace\n";
    assert_eq!(ran.stdout(), expected, "{}", ran.text());
    let made = || std::fs::read_to_string(world.work().join("out/made")).expect("exported");
    assert_eq!(made(), "new\n");
    // It is there now: refused before anything runs.
    let again = world.pyro(args).ended(125);
    assert!(again.stderr().contains("export-exists"), "{}", again.text());
    assert_eq!(again.stdout(), "");
    let mut args = args.to_vec();
    args.insert(2, "--overwrite");
    world.pyro(args).ended(0);
    // The patch is applied to the copy only.
    let seed = std::fs::read_to_string(world.work().join("seed/a.txt")).expect("the seed");
    assert_eq!(seed, "one\ntwo\n");
}

#[test]
fn run_emits_the_request_it_stands_for() {
    let world = World::new();
    world.write("seed/a.txt", "one\n");
    let args = |format| {
        [
            "run",
            "host",
            "--seed",
            "seed",
            "--env",
            "X=${HOME} ${vars.x} $${y}",
            "--export",
            "b=out/b",
            "--emit",
            format,
            "--",
            "sh",
            "-c",
            "cat a.txt; echo \"$X\" | tee b; printf '\"\\t\"'",
        ]
    };
    let toml = world.pyro(args("toml")).ended(0);
    let json = world.pyro(args("json")).ended(0);
    snapshot("run_emits", &format!("{}{}", toml.stdout(), json.stdout()));
    for (name, emitted) in [("t.pyro.toml", &toml), ("j.pyro.json", &json)] {
        world.write(name, &emitted.stdout);
        world.pyro(["apply", name]).ended(0);
        let text = std::fs::read_to_string(world.work().join("out/b")).expect("exported");
        assert_eq!(text, "${HOME} ${vars.x} $${y}\n", "{name}");
        std::fs::remove_dir_all(world.work().join("out")).expect("removes");
        world
            .pyro_with_input(["apply", "-"], &emitted.stdout)
            .ended(0);
        std::fs::remove_dir_all(world.work().join("out")).expect("removes");
    }
}

#[test]
fn run_takes_limits_and_keeps_the_workspace() {
    let world = World::new();
    let args = |more: &[&str]| {
        let command = ["--", "sh", "-c", "echo out; echo made > made"];
        [
            "run", "host", "--cpus", "1", "--memory", "64MiB", "--keep", "always",
        ]
        .iter()
        .chain(more)
        .chain(&command)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
    };
    let emitted = world.pyro(args(&["--emit", "toml"])).ended(0).stdout();
    for line in ["cpus = 1", "memory = \"64MiB\"", "keep = \"always\""] {
        assert!(emitted.contains(line), "{line}: {emitted}");
    }
    let ran = world.pyro(args(&[])).ended(0);
    assert_eq!(ran.stdout(), "out\n");
    let told = ran.stderr();
    let path = told.split_whitespace().nth(1).expect("a path");
    let made = std::fs::read_to_string(std::path::Path::new(path).join("made"));
    assert_eq!(made.expect("kept"), "made\n", "{told}");
    let wrong = world.pyro(["run", "host", "--memory", "64MB", "--", "true"]);
    assert!(wrong.ended(125).stderr().contains("bad-size"));
}

#[test]
fn the_callers_input_is_never_read_by_the_guest() {
    let world = World::with("pyro = 1\n[[step]]\nexec = [\"cat\"]\nexpect.stdout.empty = true\n");
    world
        .pyro_with_input(["apply", "request.pyro.toml"], b"secret\n")
        .ended(0);
    let ran = world
        .pyro_with_input(["run", "host", "--", "cat"], b"secret\n")
        .ended(0);
    assert_eq!(ran.stdout(), "");
    // Nor does pyro wait for it: the other end stays open.
    let mut child = world
        .command(["run", "host", "--", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("pyro starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"secret\n").expect("writes");
    let mut output = String::new();
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut output).expect("reads");
    assert!(child.wait().expect("ends").success());
    assert_eq!(output, "");
    drop(input);
}

#[test]
fn an_export_target_that_appears_during_the_run_is_kept() {
    let world = World::new();
    let exposed = exposed_folder();
    let signal = exposed.path().to_string_lossy();
    world.write(
        "request.pyro.toml",
        format!(
            r#"pyro = 1
workspace.expose = ["{signal}"]
[[step]]
exec = "echo mine > a; until [ -e {signal}/go ]; do sleep 0.01; done"
[[step]]
export = "a"
to = "out/a"
"#
        ),
    );
    let child = world
        .command(["apply", "request.pyro.toml"])
        .spawn()
        .expect("pyro starts");
    wait_for("the run", || !world.runs().is_empty());
    world.write("out/a", "yours\n");
    std::fs::write(exposed.path().join("go"), "").expect("writes");
    let ran = world.ran(child.wait_with_output().expect("ends")).ended(4);
    snapshot(
        "export_target_appears",
        &ran.text().replace(&*signal, "$SIGNAL"),
    );
    let kept = std::fs::read_to_string(world.work().join("out/a")).expect("kept");
    assert_eq!(kept, "yours\n");
    let beside = std::fs::read_dir(world.work().join("out")).expect("a folder");
    assert_eq!(beside.count(), 1, "no temporary is left");
}
