//! `pyro init`: a first request for what is there, which passes `check` and `plan`, and runs where nothing is missing.

use crate::harness::{World, snapshot};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// Files of a project, and what is recognised.
const PROJECTS: [(&str, &[(&str, &str)]); 12] = [
    ("rust", &[("Cargo.toml", "[package]\nname = \"x\"\n")]),
    ("go", &[("go.mod", "module x\n")]),
    (
        "node",
        &[("package.json", "{\"scripts\": {\"test\": \"true\"}}")],
    ),
    (
        "node-build",
        &[("package.json", "{\"scripts\": {\"build\": \"true\"}}")],
    ),
    ("python", &[("setup.py", "")]),
    (
        "python-tests",
        &[("setup.py", ""), ("tests/test_a.py", "import unittest\n")],
    ),
    (
        "pytest",
        &[("pyproject.toml", "[tool.pytest.ini_options]\n")],
    ),
    ("maven", &[("pom.xml", "<project/>")]),
    ("cmake", &[("CMakeLists.txt", ""), ("Makefile", "test:\n")]),
    ("configure", &[("configure", "#!/bin/sh\n")]),
    (
        "make",
        &[("Makefile", "TEST := 1\nall:\n\ttrue\ncheck: all\n\ttrue\n")],
    ),
    ("nothing \"known\" ${vars.x}", &[("README", "hello\n")]),
];

#[test]
fn first_requests_are_requests() {
    let world = World::new();
    let mut text = String::new();
    for (name, files) in PROJECTS {
        for (file, contents) in files {
            world.write(&format!("{name}/{file}"), contents);
        }
        let path = format!("{name}/test.pyro.toml");
        let ran = world
            .command(["init", &path])
            // Tools of whoever runs the tests are not in the snapshot.
            .env("HOME", "/nowhere")
            .output()
            .expect("pyro starts");
        let ran = world.ran(ran).ended(0);
        world.pyro(["check", &path]).ended(0);
        world.pyro(["plan", &path]).ended(0);
        world.pyro(["fmt", "--check", &path]).ended(0);
        let written = fs::read_to_string(world.work().join(&path)).expect("a request");
        text.push_str(&format!("== {name}\n{}{written}\n", ran.text()));
    }
    snapshot("init", &text);
    let make = world
        .pyro(["apply", "nothing \"known\" ${vars.x}/test.pyro.toml"])
        .ended(0);
    assert!(make.stdout().contains("README"), "{}", make.text());
}

#[test]
fn what_is_there_is_kept_unless_told() {
    let world = World::new();
    world.write("test.pyro.toml", "mine\n");
    let mine = || fs::read_to_string(world.work().join("test.pyro.toml")).expect("a file");
    let refused = world.pyro(["init"]).ended(2);
    assert!(refused.stderr().contains("`--force`"), "{}", refused.text());
    assert_eq!(mine(), "mine\n");
    let json = world.pyro(["init", "--json"]).ended(2).json();
    assert_eq!(json["error"]["code"], "init-unwritten");
    let json = world.pyro(["init", "--force", "--json"]).ended(0).json();
    assert_eq!(
        (&json["ok"], &json["file"]),
        (&true.into(), &"test.pyro.toml".into())
    );
    assert!(mine().contains("\npyro = 1\n"));
    world.pyro(["apply", "test.pyro.toml"]).ended(0);
    std::os::unix::fs::symlink("nowhere", world.work().join("link.pyro.toml")).expect("links");
    world.pyro(["init", "link.pyro.toml"]).ended(2);
    world.pyro(["init", "no/such/a.pyro.toml"]).ended(2);
}

#[test]
fn home_directories_are_shown_only_where_they_are_needed() {
    let world = World::new();
    world.write("project/Cargo.toml", "");
    // The sandbox has a `/tmp` of its own, so nothing in there is ever shown.
    let home = tempfile::Builder::new()
        .prefix("pyro-it-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/var/tmp")
        .expect("a temporary folder");
    for folder in [".cargo/bin", ".cargo/registry", ".rustup"] {
        fs::create_dir_all(home.path().join(folder)).expect("a new folder");
    }
    let pyro = |args: [&str; 2]| {
        let ran = world.command(args).env("HOME", home.path()).output();
        world.ran(ran.expect("pyro starts")).ended(0)
    };
    pyro(["init", "project/test.pyro.toml"]);
    let text = fs::read_to_string(world.work().join("project/test.pyro.toml")).expect("a request");
    // A token may lie beside them.
    assert!(
        text.contains("expose = [\"~/.cargo/bin\", \"~/.cargo/registry\", \"~/.rustup\"]"),
        "{text}"
    );
    pyro(["plan", "project/test.pyro.toml"]);
}
