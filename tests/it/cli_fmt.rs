//! `pyro fmt`: blanks and line breaks, nothing else.

use crate::harness::{World, root, shown, snapshot};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const MESSY: &str = "pyro=1\n\n\n# about\n[[step]]\n   exec = [\"echo\",\"a  b\"]   # hi\n";
const NEAT: &str = "pyro = 1\n\n# about\n[[step]]\nexec = [\"echo\", \"a  b\"] # hi\n";

#[test]
fn requests_are_laid_out() {
    let world = World::new();
    let read = |name: &str| fs::read_to_string(world.work().join(name)).expect("a request");
    world.write("a.pyro.toml", MESSY);
    world.write("b/neat.pyro.toml", NEAT);
    world.write("b/j.pyro.json", "{\"step\":[{\"list\":\".\"}],\"pyro\":1}");
    world.write("other.toml", MESSY);
    fs::set_permissions(
        world.work().join("a.pyro.toml"),
        fs::Permissions::from_mode(0o640),
    )
    .expect("a mode");
    std::os::unix::fs::symlink("../a.pyro.toml", world.work().join("b/link.pyro.toml"))
        .expect("links");
    let mut text = shown(&world, &["fmt", "--check"]);
    assert_eq!(read("a.pyro.toml"), MESSY);
    text.push_str(&shown(&world, &["fmt", "--check", "--json"]));
    text.push_str(&shown(&world, &["fmt"]));
    text.push_str(&shown(&world, &["fmt"]));
    text.push_str(&shown(&world, &["fmt", "--check"]));
    text.push_str(&read("b/j.pyro.json"));
    assert_eq!(read("a.pyro.toml"), NEAT);
    assert_eq!(read("other.toml"), MESSY);
    let metadata = fs::symlink_metadata(world.work().join("a.pyro.toml")).expect("metadata");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    let link = fs::symlink_metadata(world.work().join("b/link.pyro.toml")).expect("metadata");
    assert!(link.is_symlink());
    // What is no request is told, and the others are laid out.
    world.write("bad.pyro.toml", "pyro = 1\n[[step]]\nexce   = 1\n");
    world.write("a.pyro.toml", MESSY);
    text.push_str(&shown(&world, &["fmt"]));
    assert_eq!(read("a.pyro.toml"), NEAT);
    assert!(read("bad.pyro.toml").contains("exce   = 1"));
    snapshot("fmt", &text);
}

#[test]
fn standard_input_goes_to_standard_output() {
    let world = World::new();
    let ran = world
        .pyro_with_input(["fmt", "-"], MESSY.as_bytes())
        .ended(0);
    assert_eq!(ran.stdout(), NEAT);
    world
        .pyro_with_input(["fmt", "--check", "-"], MESSY.as_bytes())
        .ended(1);
    world
        .pyro_with_input(["fmt", "--check", "-"], NEAT.as_bytes())
        .ended(0);
    let bom = ["\u{feff}", MESSY].concat();
    let ran = world.pyro_with_input(["fmt", "-"], bom.as_bytes()).ended(0);
    assert_eq!(ran.stdout(), NEAT);
}

/// Every request of ours keeps its meaning, its comments and its order, and is laid out once for all.
#[test]
fn our_own_requests_survive() {
    let mut seen = 0;
    for folder in [
        "examples",
        "fixtures/plan",
        "fixtures/run",
        "fixtures/run_failed",
    ] {
        let found = pyro::batch::select(&[root().join(folder)], None).expect("requests");
        for path in found {
            let bytes = fs::read(&path).expect("readable");
            let name = path.display().to_string();
            let syntax = pyro::request::Syntax::of(&name).expect("a known ending");
            let (request, document) =
                pyro::request::parse(&name, &bytes, syntax).expect("a request");
            let neat = pyro::request::format(&document);
            let (again, document) =
                pyro::request::parse(&name, neat.as_bytes(), syntax).expect("still a request");
            assert_eq!(again, request, "{name}");
            assert_eq!(pyro::request::format(&document), neat, "{name}");
            let bare = |text: &str| {
                text.chars()
                    .filter(|c| !c.is_whitespace())
                    .collect::<String>()
            };
            if syntax == pyro::request::Syntax::Toml {
                let text = String::from_utf8(bytes).expect("text");
                assert_eq!(
                    bare(&neat),
                    bare(text.trim_start_matches('\u{feff}')),
                    "{name}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
