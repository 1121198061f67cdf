//! `fixtures/patch`: every case through the engine, and some of each category through the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pyro::patch::{self, Match, Refusal};

use crate::harness::{World, root};
use crate::patch_cases::{self, Case, Expect, Node, Nodes};

/// Cases that do not end as they should, each with the reason why that is better.
const DEVIATIONS: &[(&str, &str)] = &[];

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The expected result.
    Applied,
    /// A refusal that was expected, or is accepted.
    Refused,
    /// Something was applied that is no accepted result.
    Unsafe,
    /// Refused, and it has one clear meaning; or a refusal that does not name the file.
    Deviates,
}

#[test]
fn every_case_ends_as_it_should() {
    let mut table: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    let (mut wrong, mut stale) = (Vec::new(), DEVIATIONS.to_vec());
    let cases = patch_cases::all(&root());
    assert!(cases.len() >= 959, "only {} cases were read", cases.len());
    for case in &cases {
        let ended = applied(case);
        let verdict = verdict(case, &ended);
        let row = table.entry(case.category.clone()).or_default();
        row[0] += 1;
        row[match verdict {
            Verdict::Applied => 1,
            Verdict::Refused => 2,
            Verdict::Unsafe => 3,
            Verdict::Deviates => 4,
        }] += 1;
        let listed = stale.iter().position(|(id, _)| *id == case.id);
        if let Some(at) = listed.filter(|_| verdict == Verdict::Deviates) {
            stale.remove(at);
        } else if matches!(verdict, Verdict::Unsafe | Verdict::Deviates) {
            let told = ended.map(|_| "something else was applied".to_owned());
            let told = told.unwrap_or_else(|refusals| format!("{refusals:#?}"));
            let Case { id, why, .. } = case;
            wrong.push(format!("{id} ({why}): {verdict:?}: {told}"));
        }
    }
    print(&table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(stale.is_empty(), "these deviate no longer: {stale:#?}");
}

#[expect(
    clippy::print_stdout,
    reason = "a table to look at; `--nocapture` shows it"
)]
fn print(table: &BTreeMap<String, [usize; 5]>) {
    println!(
        "{:32} {:>6} {:>8} {:>8} {:>7} {:>9}",
        "category", "cases", "applied", "refused", "unsafe", "deviating"
    );
    let mut all = [0; 5];
    for (category, row) in table {
        let [cases, applied, refused, harmful, deviating] = row;
        println!("{category:32} {cases:6} {applied:8} {refused:8} {harmful:7} {deviating:9}");
        for (sum, number) in all.iter_mut().zip(row) {
            *sum += number;
        }
    }
    let [cases, applied, refused, harmful, deviating] = all;
    println!(
        "{:32} {cases:6} {applied:8} {refused:8} {harmful:7} {deviating:9}",
        "all"
    );
}

/// The tree that the engine makes of a case.
fn applied(case: &Case) -> Result<Nodes, Vec<Refusal>> {
    let patch = patch::parse(&case.patch)?;
    let applied = patch::apply(&patch, Match::Unique, &case.before)?;
    let mut tree = case.before.clone();
    for change in applied.files {
        match change.after {
            Some((bytes, mode)) => tree.0.insert(change.path, Node::File(bytes, mode)),
            None => tree.0.remove(&change.path),
        };
    }
    Ok(tree)
}

fn verdict(case: &Case, ended: &Result<Nodes, Vec<Refusal>>) -> Verdict {
    match ended {
        Ok(tree) if case.expect != Expect::Refuse && case.after.contains(tree) => Verdict::Applied,
        Ok(_) => Verdict::Unsafe,
        Err(_) if case.expect == Expect::Apply => Verdict::Deviates,
        Err(refusals) => {
            let said = |name: &String| {
                let mut told = refusals.iter().map(Refusal::to_string);
                told.any(|told| told.contains(name.as_str()))
            };
            let named = case.mention.as_ref().is_none_or(said);
            if refusals.is_empty() || !named {
                Verdict::Deviates
            } else {
                Verdict::Refused
            }
        }
    }
}

// proves: A1 A2 A4 A6 A7 A10
/// Through a request file: the plan tells the end, and the step, which cannot know it beforehand here, comes to it.
/// With `PYRO_TEST_PATCHES=all` every case goes that way.
#[test]
fn cases_of_each_category_go_through_the_binary() {
    let every = std::env::var_os("PYRO_TEST_PATCHES").is_some();
    let only = std::env::var("PYRO_TEST_CASE").unwrap_or_default();
    let mut seen = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for case in patch_cases::all(&root()) {
        let times = seen.entry(case.category.clone()).or_default();
        *times += 1;
        if (every || *times == 1) && case.id.ends_with(&only) {
            wrong.extend(
                through_binary(&case)
                    .err()
                    .map(|why| format!("{}: {why}", case.id)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn through_binary(case: &Case) -> Result<(), String> {
    let expected = applied(case);
    let world = World::new();
    fs::create_dir(world.work().join("seed")).expect("a new folder");
    write(&world.work().join("seed"), &case.before);
    world.write("fix.patch", &case.patch);
    let head = "pyro = 1\nworkspace = { environment = \"host\", seed = \"seed\" }\n";
    let step = "[[step]]\nid = \"fix\"\npatch = { from = \"fix.patch\" }\n";
    world.write("plan.pyro.toml", format!("{head}{step}"));
    let ran = world.pyro(["plan", "plan.pyro.toml", "--json"]);
    let codes = |refusals: &[Refusal]| -> Vec<String> {
        refusals
            .iter()
            .map(|refusal| refusal.code.to_string())
            .collect()
    };
    let said: serde_json::Value = serde_json::from_slice(&ran.stdout)
        .map_err(|error| format!("plan: {error}: {}", ran.text()))?;
    match &expected {
        Ok(_) if ran.code != Some(0) => return Err(format!("plan: {}", ran.text())),
        Ok(_) => {}
        Err(refusals) => {
            let found: Vec<&str> = said["findings"]
                .as_array()
                .map(|all| all.iter().filter_map(|one| one["code"].as_str()).collect())
                .unwrap_or_default();
            if ran.code != Some(3) || found != codes(refusals) {
                return Err(format!("plan: {:?}\n{}", codes(refusals), ran.text()));
            }
        }
    }

    // A command goes before it, so that nothing is sure and the step itself must judge.
    let wait = "[[step]]\nexec = [\"true\"]\n";
    let take = "[[step]]\nalways = true\nexport = \".\"\nto = \"out\"\n";
    world.write("apply.pyro.toml", format!("{head}{wait}{step}{take}"));
    let ran = world.pyro(["apply", "apply.pyro.toml"]);
    // What the plan says as data is what the receipt will keep.
    let reasons: Vec<serde_json::Value> = said["findings"]
        .as_array()
        .map(|all| all.iter().map(|one| one["patch"].clone()).collect())
        .unwrap_or_default();
    let parses = patch::parse(&case.patch).is_ok();
    match &expected {
        Ok(_) if ran.code != Some(0) => return Err(format!("apply: {}", ran.text())),
        Ok(_) => {}
        // What is no patch is refused whatever a command may do.
        Err(_) if !parses && ran.code == Some(3) => return Ok(()),
        Err(refusals) => {
            let receipt = world.receipt();
            let code = receipt["steps"][1]["refusal"]["code"].as_str();
            if ran.code != Some(4) || code != Some(refusals[0].code.as_str()) {
                return Err(format!("apply: {code:?}\n{}", ran.text()));
            }
            let kept = &receipt["steps"][1]["refusal"]["reasons"];
            if *kept != serde_json::Value::from(reasons.clone()) {
                return Err(format!("plan and receipt differ: {reasons:#?} {kept:#?}"));
            }
        }
    }
    let wanted = expected.unwrap_or_else(|_| case.before.clone());
    let found = read(&world.work().join("out"));
    if found != wanted {
        return Err(format!("the tree is {found:#?}"));
    }
    Ok(())
}

fn path(below: &Path, name: &[u8]) -> std::path::PathBuf {
    below.join(std::ffi::OsStr::from_bytes(name))
}

fn write(folder: &Path, nodes: &Nodes) {
    for (name, node) in &nodes.0 {
        let path = path(folder, name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a new folder");
        match node {
            Node::File(bytes, mode) => {
                fs::write(&path, bytes).expect("writes");
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("a mode");
            }
            Node::Link(target) => {
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path)
                    .expect("links");
            }
        }
    }
}

fn read(folder: &Path) -> Nodes {
    let mut nodes = Nodes::default();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .as_os_str()
                .as_bytes()
                .to_vec();
            let stat = fs::symlink_metadata(&path).expect("is there");
            if stat.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                nodes
                    .0
                    .insert(name, Node::Link(target.as_os_str().as_bytes().to_vec()));
            } else if stat.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file");
                nodes
                    .0
                    .insert(name, Node::File(bytes, stat.permissions().mode() & 0o777));
            }
        }
    }
    nodes
}
