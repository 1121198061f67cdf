//! `pyro explain`, completions and manual pages.

use crate::harness::{World, root, shown, snapshot};
use std::fs;
use std::process::Command;

#[test]
fn codes_are_explained() {
    let world = World::new();
    let mut text = String::new();
    for args in [
        &["explain", "bad-duration"][..],
        &["explain", "error[bad-reference]"],
        &["explain", "export-exists"],
        &["explain", "patch-ambiguous"],
        &["explain", "4"],
        &["explain", "too-large", "--json"],
        &["explain", "unknwon-key"],
        &["explain", "xyzzy"],
        &["explain", "xyzzy", "--json"],
    ] {
        text.push_str(&shown(&world, args));
    }
    snapshot("explain", &text);
    // All of them, each in words.
    let list = world.pyro(["explain"]).ended(0).stdout();
    let all = world.pyro(["explain", "--json"]).ended(0).json();
    for one in all["codes"].as_array().expect("a list") {
        let code = one["code"].as_str().expect("a code");
        assert!(list.contains(&format!("  {code} ")), "{code}");
        let drawn = world.pyro(["explain", code]).ended(0).stdout();
        assert!(drawn.lines().count() > 1, "{drawn}");
    }
    world.pyro(["explain", "xyzzy"]).ended(2);
}

#[test]
fn completions_complete_in_a_real_shell() {
    let world = World::new();
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let ran = world.pyro(["completions", shell]).ended(0);
        assert!(ran.stdout().contains("receipt"), "{shell}");
    }
    world.pyro(["completions", "csh"]).ended(2);
    let script = world.pyro(["completions", "bash"]).ended(0);
    world.write("pyro.bash", &script.stdout);
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let current = words.split(' ').next_back().unwrap_or_default();
        let before = words.split(' ').rev().nth(1).unwrap_or_default();
        let script = format!(
            ". ./pyro.bash; COMP_WORDS=({words}{}); COMP_CWORD={count}; _pyro pyro '{current}' '{before}'; \
             echo \"${{COMPREPLY[*]}}\"",
            if current.is_empty() { " ''" } else { "" }
        );
        let ran = Command::new("bash")
            .args(["--norc", "-c", &script])
            .current_dir(world.work())
            .output()
            .expect("bash starts");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    assert_eq!(complete("pyro rec"), "receipt");
    assert_eq!(complete("pyro receipt di"), "diff");
    assert_eq!(complete("pyro apply --rep"), "--report");
    assert_eq!(complete("pyro completions z"), "zsh");
}

#[test]
fn manual_pages_are_written() {
    let world = World::new();
    let page = world.pyro(["man"]).ended(0).stdout();
    assert!(page.contains(".TH pyro 1"), "{page}");
    world.pyro(["man", "--out", "man/man1"]).ended(0);
    let mut names: Vec<_> = fs::read_dir(world.work().join("man/man1"))
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    for wanted in [
        "pyro.1",
        "pyro-apply.1",
        "pyro-receipt.1",
        "pyro-receipt-diff.1",
    ] {
        assert!(
            names.iter().any(|name| name == wanted),
            "{wanted}: {names:?}"
        );
    }
    let written = fs::read_to_string(world.work().join("man/man1/pyro.1")).expect("a page");
    assert_eq!(written, page);
    let apply = fs::read_to_string(world.work().join("man/man1/pyro-apply.1")).expect("a page");
    assert!(
        apply.contains("pyro\\-apply") && apply.contains("events"),
        "{apply}"
    );
    let refused = world.pyro(["man", "--out", "man/man1/pyro.1"]).ended(2);
    assert!(
        refused.stderr().contains("could not write"),
        "{}",
        refused.text()
    );
    assert!(root().join("docs/reference/cli.md").exists());
}
