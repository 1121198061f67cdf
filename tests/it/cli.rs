//! The command line: what appears on the screen, and how it exits.

use crate::harness::{World, is_root, snapshot, wait_for};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

const HELLO: &str = r#"pyro = 1

[[step]]
exec = ["echo", "hi"]
expect.stdout.equals = "hi\n"
"#;

/// A host folder that a workspace can show; the sandbox has a `/tmp` of its own.
fn exposed_folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("pyro-it-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in("/var/tmp")
        .expect("a temporary folder")
}

/// One command and everything that appeared.
fn shown(world: &World, args: &[&str]) -> String {
    format!("$ pyro {}\n{}", args.join(" "), world.pyro(args).text())
}

#[test]
fn help_and_version() {
    let world = World::new();
    let mut text = String::new();
    for args in [
        &["--help"][..],
        &["apply", "--help"],
        &["plan", "--help"],
        &["check", "--help"],
        &["run", "--help"],
        &["doctor", "--help"],
    ] {
        text.push_str(&shown(&world, args));
    }
    snapshot("help", &text);
    let version = world.pyro(["--version"]).ended(0);
    let expected = concat!("pyro ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version.stdout(), expected);
    assert!(!world.state().exists(), "help makes nothing");
}

#[test]
fn wrong_usage_exits_with_2() {
    let world = World::with(HELLO);
    world.write("bad.pyro.toml", "pyro = 1\n[[step]]\nexecute = \"ls\"\n");
    let mut text = String::new();
    for args in [
        &[][..],
        &["appply"],
        &["apply"],
        &["apply", "nothing.pyro.toml"],
        &["apply", "."],
        &["apply", "bad.pyro.toml"],
        &["check", "bad.pyro.toml", "--json"],
        &["check", "request.pyro.toml", "--var", "x"],
        &["check", "request.pyro.toml", "--var", "x=1"],
        &["apply", "-q", "-v", "request.pyro.toml"],
        &["run", "host"],
        &["run", "host", "--env", "X", "--", "true"],
        &["run", "host", "--timeout", "soon", "--", "true"],
        &["run", "host", "--emit", "yaml", "--", "true"],
    ] {
        let ran = world.pyro(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.text());
        text.push_str(&shown(&world, args));
    }
    snapshot("wrong_usage", &text);
    assert!(!world.state().exists(), "nothing was made");
}

#[test]
fn a_request_is_checked_planned_and_applied() {
    let world = World::with(HELLO);
    let mut text = String::new();
    for args in [
        &["check", "request.pyro.toml"][..],
        &["check", "request.pyro.toml", "-q"],
        &["check", "request.pyro.toml", "--json"],
        &["apply", "request.pyro.toml"],
        &["apply", "request.pyro.toml", "-v"],
        &["apply", "request.pyro.toml", "-q"],
    ] {
        text.push_str(&shown(&world, args));
    }
    snapshot("check_and_apply", &text);
}

#[test]
fn plans_are_the_same_bytes_twice_and_start_nothing() {
    let world = World::with(HELLO);
    for args in [
        &["plan", "request.pyro.toml"][..],
        &["plan", "request.pyro.toml", "--json"],
    ] {
        let once = world.pyro(args).ended(0);
        assert_eq!(once.stdout, world.pyro(args).ended(0).stdout);
        assert_eq!(once.stderr, b"");
    }
    let data = world.pyro(["plan", "request.pyro.toml", "--json"]).json();
    assert_eq!(data["format_version"], 1);
    assert!(!world.state().exists(), "a plan makes nothing");
    let refused = World::with("pyro = 1\n[[step]]\nread = \"nothing\"\n");
    refused.pyro(["plan", "request.pyro.toml"]).ended(3);
    refused.pyro(["apply", "request.pyro.toml"]).ended(3);
    let json = refused
        .pyro(["apply", "request.pyro.toml", "--json"])
        .ended(3)
        .json();
    assert_eq!(json["ok"], false);
    assert_eq!(json["findings"][0]["pointer"], "/step/0/read");
    assert!(!refused.state().exists(), "a refused plan makes nothing");
}

#[test]
fn a_request_comes_from_standard_input() {
    let world = World::new();
    let ran = world
        .pyro_with_input(["apply", "-"], HELLO.as_bytes())
        .ended(0);
    assert!(
        ran.stdout().starts_with("-  host on namespace\n"),
        "{}",
        ran.text()
    );
    let json = r#"{"pyro": 1, "step": [{"exec": ["cat"], "expect": {"stdout": {"empty": true}}}]}"#;
    world
        .pyro_with_input(["apply", "-"], json.as_bytes())
        .ended(0);
}

#[test]
fn receipts_are_sorted_indented_json_wherever_they_go() {
    let world = World::with(HELLO);
    let ran = world
        .pyro([
            "apply",
            "request.pyro.toml",
            "--json",
            "--receipt",
            "mine.json",
        ])
        .ended(0);
    assert_eq!(ran.stderr, b"");
    let receipt = ran.json();
    let mut again = serde_json::to_string_pretty(&receipt).expect("JSON");
    again.push('\n');
    assert_eq!(ran.stdout(), again, "two spaces, sorted keys");
    assert_eq!(receipt["outcome"], "passed");
    assert_eq!(receipt, world.receipt());
    let mine = std::fs::read(world.work().join("mine.json")).expect("a receipt");
    assert_eq!(mine, ran.stdout);
    let unwritable = world.pyro(["apply", "request.pyro.toml", "--receipt", "no/such/place"]);
    let unwritable = unwritable.ended(5);
    assert!(
        unwritable
            .stderr()
            .contains("could not write the receipt no/such/place")
    );
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
fn state_goes_where_the_user_says() {
    let world = World::with(HELLO);
    world
        .pyro(["apply", "request.pyro.toml", "--state-dir", "my state"])
        .ended(0);
    assert!(world.work().join("my state/receipts").is_dir());
    assert!(!world.state().exists());
    let mode = |path| {
        let metadata = std::fs::metadata(world.work().join(path)).expect("metadata");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("my state"), 0o700, "nobody else looks into it");
    world.write("file", "");
    let ran = world
        .pyro(["apply", "request.pyro.toml", "--state-dir", "file"])
        .ended(5);
    snapshot("state_is_a_file", &ran.text());
    let home = world.work().join("home");
    let run = world
        .command(["run", "host", "--", "true"])
        .env_remove("PYRO_STATE_DIR")
        .env("XDG_STATE_HOME", &home)
        .env("HOME", "/nowhere")
        .output()
        .expect("pyro starts");
    assert!(run.status.success());
    assert_eq!(home.join("pyro").is_dir(), !is_root());
}

#[test]
fn another_users_state_directory_is_refused() {
    let world = World::with(HELLO);
    // An ordinary user cannot give a folder away; root's own will do.
    let (folder, owner) = if is_root() {
        let folder = world.base().join("theirs");
        std::fs::create_dir(&folder).expect("a new folder");
        std::os::unix::fs::chown(&folder, Some(12345), None).expect("root gives it away");
        (folder, 12345)
    } else {
        ("/usr".into(), 0)
    };
    let ran = world
        .command(["apply", "request.pyro.toml", "--state-dir"])
        .arg(&folder)
        .output()
        .expect("pyro starts");
    let ran = world.ran(ran).ended(5);
    let why = format!("it belongs to user {owner}\n");
    assert!(ran.stderr().contains(&why), "{}", ran.text());
    let left = std::fs::read_dir(folder.join("runs"));
    assert!(left.is_err(), "nothing was made in it");
}

#[test]
fn no_colour_and_no_moving_line_without_a_terminal() {
    let world = World::with(HELLO);
    for args in [
        &["apply", "request.pyro.toml"][..],
        &["plan", "request.pyro.toml"],
        &["apply", "nothing"],
        &["doctor"],
    ] {
        let ran = world.pyro(args);
        assert!(!ran.stdout.contains(&0x1b), "{}", ran.text());
        assert!(!ran.stderr.contains(&0x1b), "{}", ran.text());
    }
}

#[test]
fn the_log_goes_to_standard_error_when_asked_for() {
    let world = World::with(HELLO);
    let quiet = world.pyro(["apply", "request.pyro.toml"]).ended(0);
    assert_eq!(quiet.stderr(), "");
    let logged = world
        .command(["apply", "request.pyro.toml"])
        .env("PYRO_LOG", "debug")
        .output()
        .expect("pyro starts");
    let logged = world.ran(logged).ended(0);
    assert!(logged.stderr().contains("DEBUG pyro"), "{}", logged.text());
    assert!(!logged.stdout().contains("DEBUG"));
    let verbose = world.pyro(["apply", "request.pyro.toml", "-vv"]).ended(0);
    assert!(verbose.stderr().contains("DEBUG"), "{}", verbose.text());
}

#[test]
fn the_doctor_finds_nothing_here() {
    let world = World::new();
    let ran = world.pyro(["doctor"]).ended(0);
    assert!(
        ran.stdout().contains("\npyro works here: "),
        "{}",
        ran.text()
    );
    let data = world.pyro(["doctor", "--json"]).ended(0).json();
    assert_eq!(data["ok"], true, "{data:#}");
    assert!(world.runs().is_empty());
    let ran = world.pyro(["doctor", "--state-dir", "/proc/nowhere"]);
    assert_eq!(ran.code, Some(5), "{}", ran.text());
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
