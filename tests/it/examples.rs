//! Every example passes on this machine, and its twin in the other syntax means the same.

use crate::harness::{World, copy_tree, root};
use std::path::{Path, PathBuf};

/// Every request below a folder, with paths relative to it.
fn requests(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.to_string_lossy();
            if path.is_dir() {
                waiting.push(path);
            } else if name.ends_with(".pyro.toml") || name.ends_with(".pyro.json") {
                found.push(path.strip_prefix(folder).expect("below").to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_example_passes() {
    let examples = root().join("examples");
    let all = requests(&examples);
    assert!(!all.is_empty(), "there are examples");
    for request in all {
        let world = World::new();
        let fetches = request.with_file_name("fetch.sh");
        if examples.join(fetches).exists() {
            // Its input comes from elsewhere, so `.ci/run` fetches that and applies it; what it says is checked here.
            let text = std::fs::read(examples.join(&request)).expect("an example");
            world.write("fetches.pyro.toml", text);
            world.pyro(["check", "fetches.pyro.toml"]).ended(0);
            continue;
        }
        copy_tree(&examples, &world.work());
        let ran = world.pyro(["apply".as_ref(), request.as_os_str()]);
        assert_eq!(ran.code, Some(0), "{}: {}", request.display(), ran.text());
        assert_eq!(world.runs(), Vec::<PathBuf>::new(), "a run was left");
    }
}

#[test]
fn twins_mean_the_same() {
    let examples = root().join("examples");
    let all = requests(&examples);
    let mut twins = 0;
    for toml in all
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let json = toml.with_extension("json");
        if !all.contains(&json) {
            continue;
        }
        twins += 1;
        let world = World::new();
        copy_tree(&examples, &world.work());
        let digest = |request: &Path| {
            let args = ["plan".as_ref(), request.as_os_str(), "--json".as_ref()];
            let plan = world.pyro(args).ended(0).json();
            plan["digest"].as_str().expect("a digest").to_owned()
        };
        assert_eq!(digest(toml), digest(&json), "{}", toml.display());
    }
    assert!(twins > 0, "there is an example in both syntaxes");
}
