//! Every rule of `specs/request.md` is proven by something that a test plays, and nothing proves a rule that is not there.
//!
//! A fixture says what it proves in a comment of its own, `# proves: S6 S7`, in `request.pyro.toml`, or in a file
//! `proves` beside it where the request cannot hold one (JSON, or text that is no TOML). A rule that no request can
//! show has a comment `// proves: N2` above its test.

use crate::harness::root;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The ids of the rules, in their order.
fn rules() -> Vec<String> {
    let text = fs::read_to_string(root().join("specs/request.md")).expect("the rules");
    let mut found = Vec::new();
    for line in text.lines() {
        let id = line
            .strip_prefix("- **")
            .and_then(|rest| rest.split_once("** "));
        if let Some((id, _)) = id {
            assert!(is_id(id), "`{id}` is no id of a rule");
            assert!(
                !found.iter().any(|known| known == id),
                "two rules have the id {id}"
            );
            found.push(id.to_owned());
        }
    }
    found
}

/// Capital letters and a number.
fn is_id(id: &str) -> bool {
    let number = id.trim_start_matches(|c: char| c.is_ascii_uppercase());
    number.len() < id.len()
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Which files prove which id.
fn proofs() -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut folders: Vec<_> = ["fixtures", "specs/vectors", "tests/it", "src"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        // The vectors may have nothing yet.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
                continue;
            }
            let Some(mark) = mark(&path) else { continue };
            let bytes = fs::read(&path).expect("readable");
            for line in String::from_utf8_lossy(&bytes).lines() {
                let ids = line.trim().strip_prefix(mark).unwrap_or_default();
                for id in ids.split_whitespace() {
                    found.entry(id.to_owned()).or_default().push(path.clone());
                }
            }
        }
    }
    found
}

/// How a file says what it proves, if it may.
fn mark(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    match name {
        "request.pyro.toml" | "proves" => Some("# proves: "),
        _ if name.ends_with(".rs") => Some("// proves: "),
        _ => None,
    }
}

#[test]
fn every_rule_is_proven() {
    let (rules, proofs) = (rules(), proofs());
    let unproven: Vec<_> = rules
        .iter()
        .filter(|id| !proofs.contains_key(*id))
        .collect();
    let unknown: BTreeMap<_, _> = proofs
        .iter()
        .filter(|(id, _)| !rules.contains(id))
        .collect();
    assert!(
        unproven.is_empty(),
        "nothing proves {unproven:?} of specs/request.md. Write the line `# proves: ID` into a fixture that shows the \
         rule (first in a request.pyro.toml of fixtures/run, run_failed, plan, plan_error or parse_error, or in a file \
         `proves` beside a request.pyro.json), or `// proves: ID` above the test that holds it"
    );
    assert!(
        unknown.is_empty(),
        "these name rules that specs/request.md does not have; add the rule there as `- **ID** ...`, or mend the \
         name: {unknown:#?}"
    );
}
