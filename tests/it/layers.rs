//! Imports point down: text becomes a request, a request and facts become a plan, and nothing looks back up.

use std::collections::BTreeSet;
use std::path::Path;

/// What each folder may use of ours, besides itself.
const MAY_USE: [(&str, &[&str]); 5] = [
    ("request", &[]),
    ("patch", &[]),
    // The patch engine only to learn which files a patch may name: docs/decisions has the reason.
    ("secret", &[]),
    // Secrets only to say whether there is one that can be used.
    (
        "preflight",
        &["archive", "exclude", "patch", "request", "secret"],
    ),
    ("plan", &["exclude", "patch", "preflight", "request"]),
];

fn sources(dir: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(std::fs::read_to_string(path).expect("source is text"));
        }
    }
}

fn used(source: &str) -> impl Iterator<Item = &str> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_lowercase() && c != '_')
                .next()
        })
        .filter(|name| !name.is_empty())
}

#[test]
fn imports_point_down() {
    for (folder, may_use) in MAY_USE {
        let root = crate::harness::root().join("src").join(folder);
        let mut texts = Vec::new();
        sources(&root, &mut texts);
        let used: BTreeSet<_> = texts.iter().flat_map(|text| used(text)).collect();
        let wrong: Vec<_> = used
            .into_iter()
            .filter(|name| *name != folder && !may_use.contains(name))
            .collect();
        assert!(wrong.is_empty(), "`{folder}` must not use {wrong:?}");
    }
}
