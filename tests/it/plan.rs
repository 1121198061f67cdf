//! Requests that can be planned and the text a reviewer sees; requests that cannot, and every reason why.
//!
//! A case is a directory with a request and the files it speaks of. Facts are gathered from there; what differs
//! from host to host is replaced, and a `facts.json` replaces what no checkout can hold.

use pyro::plan::{Plan, ProblemCode, Problems, Style, describe, plan, to_json};
use pyro::preflight::{Facts, HostFacts, Surroundings, gather};
use pyro::render::{self, Finding};
use pyro::request::{Document, Request, Syntax, Values, parse, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn request(path: &Path) -> (Request, Document) {
    let bytes = std::fs::read(path).expect("the fixture is readable");
    let variables = path.with_file_name("variables.json");
    let variables = std::fs::read(variables).map_or_else(
        |_| BTreeMap::new(),
        |text| serde_json::from_slice(&text).expect("`variables.json` holds host variables"),
    );
    match parse("request.pyro.toml", &bytes, Syntax::Toml) {
        Ok((request, document)) => {
            let values = Values {
                env: Some(variables),
                ..Values::default()
            };
            let request = resolve(&request, &values).expect("its references lead somewhere");
            (request, document)
        }
        Err(errors) => {
            let told = Vec::<Finding>::from(&errors);
            let told = render::findings(errors.document(), &told, render::Style::Plain);
            panic!("{} must parse:\n{told}", path.display());
        }
    }
}

fn facts(request: &Request, case: &Path) -> Facts {
    let around = Surroundings {
        base_dir: case.to_owned(),
        state_dir: "/nonexistent/state".into(),
        home: None,
    };
    let mut facts = gather(request, &around);
    facts.host = HostFacts {
        euid: 1000,
        home: Some("/home/someone".into()),
        cores: 4,
        memory: 8 << 30,
        disk_free: Some(100 << 30),
        groups: pyro::preflight::GroupFacts::default(),
    };
    let Ok(text) = std::fs::read_to_string(case.join("facts.json")) else {
        return facts;
    };
    let given: serde_json::Value = serde_json::from_str(&text).expect("`facts.json` is JSON");
    let mut all = serde_json::to_value(&facts).expect("facts are data");
    for (key, value) in given.as_object().expect("`facts.json` is an object") {
        all[key] = value.clone();
    }
    serde_json::from_value(all).expect("`facts.json` holds facts")
}

/// Plans a copy of the case: whoever runs the tests may write there, and absolute paths differ every time.
fn outcome(path: &Path) -> (Result<Plan, Problems>, Document) {
    let copy = tempfile::tempdir().expect("a directory");
    copy_reversed(path.parent().expect("a case is a directory"), copy.path());
    let (request, document) = request(path);
    let facts = facts(&request, copy.path());
    (plan(&request, &facts, "request.pyro.toml"), document)
}

fn assert_beside(path: &Path, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().expect("a case is a directory"));
    settings.set_snapshot_suffix("");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_input_file("");
    settings.bind(|| insta::assert_snapshot!("expected", text));
}

#[test]
fn plans_are_described() {
    insta::glob!("../../fixtures/plan", "*/request.pyro.toml", |path| {
        let (outcome, document) = outcome(path);
        let plan = match outcome {
            Ok(plan) => plan,
            Err(problems) => {
                let told: Vec<_> = problems.as_slice().iter().map(Finding::from).collect();
                let told = render::findings(&document, &told, render::Style::Plain);
                panic!("{} must plan:\n{told}", path.display());
            }
        };
        crate::schema::is_plan(&to_json(&plan), &path.display().to_string());
        let text = describe(&plan, Style::Plain);
        let raw = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(raw), "a raw control character in {text:?}");
        assert_beside(path, &text);
    });
}

// proves: N2
#[test]
fn plans_are_the_same_bytes_every_time() {
    insta::glob!("../../fixtures/plan", "*/request.pyro.toml", |path| {
        let once = outcome(path).0.expect("it plans");
        // Another checkout: other absolute paths, and names that a directory lists in another order.
        let copy = tempfile::tempdir().expect("a directory");
        copy_reversed(path.parent().expect("a case is a directory"), copy.path());
        let again = outcome(&copy.path().join("request.pyro.toml"));
        let again = again.0.expect("it plans there too");
        assert_eq!(to_json(&once).to_string(), to_json(&again).to_string());
        for style in [Style::Plain, Style::Colour] {
            assert_eq!(describe(&once, style), describe(&again, style));
        }
    });
}

/// Copies a tree, the last names first.
fn copy_reversed(from: &Path, to: &Path) {
    let entries = std::fs::read_dir(from).expect("a directory");
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            std::fs::create_dir(&new).expect("a new directory");
            copy_reversed(&old, &new);
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&old).expect("a link");
            std::os::unix::fs::symlink(target, new).expect("a new link");
        } else {
            std::fs::copy(&old, &new).expect("a new file");
            // A checkout's modes depend on the umask of whoever made it; a plan shows modes.
            let executable = std::fs::metadata(&old)
                .expect("a file")
                .permissions()
                .mode()
                & 0o100;
            let mode = if executable == 0 { 0o644 } else { 0o755 };
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&new, permissions).expect("a mode");
        }
    }
}

#[test]
fn problems_are_told_all_at_once() {
    let mut seen = BTreeSet::new();
    insta::glob!("../../fixtures/plan_error", "*/request.pyro.toml", |path| {
        let (outcome, document) = outcome(path);
        let problems = match outcome {
            Ok(plan) => panic!(
                "{} must not plan:\n{}",
                path.display(),
                describe(&plan, Style::Plain)
            ),
            Err(problems) => problems,
        };
        seen.extend(problems.as_slice().iter().map(|p| p.code.as_str()));
        for problem in &problems {
            assert!(problem.help.is_some() || matches!(problem.code, ProblemCode::Patch(_)));
        }
        let told: Vec<_> = problems.as_slice().iter().map(Finding::from).collect();
        let told = render::findings(&document, &told, render::Style::Plain);
        assert_beside(path, &told);
    });
    // The parser finds these first; the planner's own tests build requests without it.
    let unseen: Vec<_> = (ProblemCode::ALL.iter())
        .map(|code| code.as_str())
        .filter(|code| !seen.contains(code))
        .collect();
    assert_eq!(
        unseen,
        ["id-twice", "delete-root"],
        "no fixture shows these"
    );
}
