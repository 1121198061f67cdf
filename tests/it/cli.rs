//! The command line: what appears on the screen, and how it exits.

use crate::harness::{World, is_root, shown, snapshot};
use std::os::unix::fs::PermissionsExt as _;

const HELLO: &str = r#"pyro = 1

[[step]]
exec = ["echo", "hi"]
expect.stdout.equals = "hi\n"
"#;

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
        &["receipt", "--help"],
        &["receipt", "show", "--help"],
        &["receipt", "list", "--help"],
        &["receipt", "diff", "--help"],
        &["explain", "--help"],
        &["init", "--help"],
        &["fmt", "--help"],
        &["du", "--help"],
        &["clean", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
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
    let unwritable = unwritable.ended(2);
    assert!(
        unwritable
            .stderr()
            .contains("could not write the receipt no/such/place")
    );
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
