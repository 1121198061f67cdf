//! Workspaces that outlive their run: where they lie, what is in them, and that they go again.

use crate::harness::World;
use std::fs;
use std::path::PathBuf;

fn request(keep: &str, exit: u8) -> String {
    format!(
        "pyro = 1\nworkspace.seed = \"seed\"\nworkspace.keep = \"{keep}\"\nworkspace.ttl = \"2h\"\n\n\
         [[step]]\nexec = \"echo made > made; mkfifo pipe; chmod 4755 made; exit {exit}\"\n"
    )
}

fn world(keep: &str, exit: u8) -> World {
    let world = World::with(&request(keep, exit));
    world.write("seed/seeded", "from the host\n");
    world
}

// proves: W8
#[test]
fn a_failed_run_leaves_its_workspace_where_it_was_asked_to() {
    let world = world("on-failure", 3);
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(4);
    let receipt = world.receipt();
    let kept = &receipt["kept"];
    let tree = PathBuf::from(kept["path"].as_str().expect("a path"));
    assert!(tree.starts_with(world.state().join("kept")), "{tree:?}");
    assert_eq!(
        fs::read_to_string(tree.join("made")).expect("kept"),
        "made\n"
    );
    assert_eq!(
        fs::read_to_string(tree.join("seeded")).expect("kept"),
        "from the host\n"
    );
    assert!(!tree.join("pipe").exists(), "a FIFO is not kept");
    // Whoever runs pyro can work with it.
    fs::write(tree.join("made"), "changed").expect("it is the caller's own");
    let shown = format!(
        "kept  {}  until {}",
        tree.display(),
        kept["until"].as_str().expect("a time")
    );
    assert!(ran.stdout().contains(&shown), "{}", ran.text());
    assert!(world.runs().is_empty(), "the rest of the run is gone");
    // The next command leaves it alone, a much later one does not.
    world.pyro(["apply", "request.pyro.toml"]).ended(4);
    assert!(tree.exists());
    let note = tree.with_file_name("kept.json");
    let text = fs::read_to_string(&note).expect("a note");
    let mut text: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    text["until_ms"] = 1.into();
    fs::write(&note, text.to_string()).expect("writes");
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(4);
    assert!(!tree.exists());
    assert!(
        ran.stderr()
            .contains("removed 1 kept workspace whose time was over"),
        "{}",
        ran.text()
    );
}

#[test]
fn nothing_is_kept_of_a_run_that_passed_unless_always() {
    let passed = world("on-failure", 0);
    passed.pyro(["apply", "request.pyro.toml"]).ended(0);
    assert!(passed.receipt().get("kept").is_none());
    assert!(!passed.state().join("kept").exists());
    let always = world("always", 0);
    always.pyro(["apply", "request.pyro.toml"]).ended(0);
    assert!(always.receipt()["kept"]["path"].is_string());
    let never = world("never", 1);
    never.pyro(["apply", "request.pyro.toml"]).ended(4);
    assert!(never.receipt().get("kept").is_none());
}
