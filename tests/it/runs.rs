//! Requests that are run: what appears on the screen, what the receipt keeps, and what the host has afterwards.
//!
//! A case is a folder: a request, the files it speaks of, optionally `args` (one more argument a line) and `setup`
//! (a shell script for what a checkout cannot hold). `expected.snap` is the text a reader would see.

use crate::harness::{World, assert_beside, copy_tree, normal, root};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an attempt took is another each time.
const MEASURED: [&str; 4] = ["duration_ms", "duration_us", "cpu_us", "max_rss_kib"];
/// Longer texts of a receipt are cut in the snapshot.
const LONG: usize = 300;

#[test]
fn requests_run_and_pass() {
    all("fixtures/run", 0);
}

#[test]
fn requests_run_and_fail() {
    all("fixtures/run_failed", 4);
}

/// Runs every case of a folder; all that differ are told at once.
fn all(folder: &str, code: i32) {
    let mut cases: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .expect("the fixtures are there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    let only = std::env::var("PYRO_TEST_CASE").unwrap_or_default();
    let failed: Vec<&PathBuf> = cases
        .iter()
        .filter(|case| case.to_string_lossy().ends_with(&*only))
        .filter(|path| catch_unwind(AssertUnwindSafe(|| case(path, code))).is_err())
        .collect();
    assert!(failed.is_empty(), "these cases differ: {failed:#?}");
}

fn case(case: &Path, code: i32) {
    let world = World::new();
    copy_tree(case, &world.work());
    let setup = world.work().join("setup");
    if setup.exists() {
        let status = Command::new("sh")
            .args(["-eu", "setup"])
            .current_dir(world.work())
            .status();
        assert!(status.expect("sh starts").success(), "{}", setup.display());
    }
    let extra = fs::read_to_string(case.join("args")).unwrap_or_default();
    let args = ["apply", "request.pyro.toml"]
        .into_iter()
        .chain(extra.lines());
    let before = tree(&world.work());
    let ran = world.pyro(args);
    let mut text = ran.text();
    text.push_str("\nreceipt\n");
    text.push_str(&normal(&receipt(world.receipt()), world.base()));
    let after = tree(&world.work());
    text.push_str("\nhost\n");
    for (path, line) in &after {
        if before.get(path) != Some(line) {
            text.push_str(&normal(&format!("  {line}\n"), world.base()));
        }
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        text.push_str(&format!("  {} is gone\n", path.display()));
    }
    assert_beside(case, &text);
    assert_eq!(ran.code, Some(code), "{}", case.display());
    assert_eq!(world.runs(), Vec::<PathBuf>::new(), "a run was left");
}

/// What a receipt says, without what the screen says as well or what differs from run to run.
fn receipt(receipt: Value) -> String {
    let mut text = format!("  outcome {}\n", receipt["outcome"]);
    for step in receipt["steps"].as_array().expect("steps") {
        let Value::Object(mut step) = step.clone() else {
            panic!("a step is an object");
        };
        let number = step.remove("number").expect("a number");
        // How much there is besides the work tree differs from user to user.
        for key in ["duration_ms", "pointer", "summary", "id", "notes", "counts"] {
            step.remove(key);
        }
        if let Some(Value::Object(exec)) = step.get_mut("exec") {
            for key in ["duration_us", "cpu_us", "max_rss_kib"] {
                exec.remove(key);
            }
        }
        text.push_str(&format!("  {number} {}\n", compact(Value::Object(step))));
    }
    for change in receipt["changes"].as_array().expect("changes") {
        let path = change["path"]["text"].as_str().expect("a path");
        if path.starts_with(".git/") {
            // Every git has its own idea of these.
            continue;
        }
        text.push_str(&format!("  changed {}\n", compact(change.clone())));
    }
    for file in receipt["host_files"].as_array().expect("host files") {
        text.push_str(&format!("  wrote {}\n", compact(file.clone())));
    }
    text
}

fn compact(value: Value) -> String {
    serde_json::to_string(&trimmed(value)).expect("JSON")
}

/// Without nulls, empty outputs, and most of long texts.
fn trimmed(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let entries = object.into_iter().filter(|(key, value)| {
                !(value.is_null()
                    || *value == Value::Bool(false)
                    || (key == "dropped" || key == "left_running") && *value == 0
                    || MEASURED.contains(&&**key)
                    || (key == "stdout" || key == "stderr") && value["bytes"] == 0
                    || key == "mode" && value == "0644")
            });
            let entries: Map<_, _> = entries
                .map(|(key, value)| {
                    let value = match (&*key, value.as_str()) {
                        // The absolute path is another each time.
                        ("path_base64", Some(_)) => "…".into(),
                        ("sha256", Some(digest)) => digest.replace("sha256:", "")[..12].into(),
                        _ => trimmed(value),
                    };
                    (key, value)
                })
                .collect();
            if entries.len() == 1 && entries.contains_key("text") {
                return entries["text"].clone();
            }
            Value::Object(entries)
        }
        Value::Array(values) => Value::Array(values.into_iter().map(trimmed).collect()),
        Value::String(text) if text.len() > LONG => {
            let start: String = text.chars().take(40).collect();
            Value::String(format!("{start}... ({} bytes)", text.len()))
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Everything below a folder, one line each.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("metadata");
            let name = path.strip_prefix(folder).expect("below");
            let shown = name.as_os_str().as_bytes().escape_ascii();
            let mode = metadata.permissions().mode() & 0o7777;
            let line = if metadata.is_dir() {
                waiting.push(path.clone());
                format!("{mode:04o} {shown}/")
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                format!("     {shown} -> {}", target.display())
            } else if metadata.is_file() {
                let content = fs::read(&path).expect("readable");
                let start = content[..content.len().min(60)].escape_ascii();
                let links = if metadata.nlink() > 1 { " linked" } else { "" };
                let size = metadata.size();
                format!("{mode:04o} {shown} {size} bytes{links} \"{start}\"")
            } else {
                format!("{mode:04o} {shown} is special")
            };
            found.insert(name.to_owned(), line);
        }
    }
    found
}
