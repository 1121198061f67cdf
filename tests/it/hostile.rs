//! Documents that no checkout should hold, and the same mistakes in both syntaxes.

use crate::harness::{World, binary};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pyro::request::{ParseErrors, Syntax, canonical_json, emit, parse};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// More than any request, and more than anybody wants in memory.
const HUGE: u64 = 100 << 20;
/// What `pyro` may have of addresses here, in KiB: its programs and libraries, 16 MiB of a document, and some more.
const MEMORY: u64 = 256 << 10;

/// Runs `pyro check` with bounded memory.
fn check(world: &World, argument: &str, input: Stdio) -> String {
    let script = format!("ulimit -v {MEMORY} && exec \"$@\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script, "sh"])
        .arg(binary())
        .args(["check", argument])
        .current_dir(world.work());
    let output = shell.stdin(input).output().expect("sh starts");
    world.ran(output).ended(2).text()
}

#[test]
fn documents_without_an_end_are_refused_at_once() {
    let told = |name: &str| {
        format!(
            "--- stderr\nerror[too-large]: the document has more than 16 MiB, the most for a request\n\
             --> {name}\n = help: put large files into the seed, or name them with `{{ from = \"FILE\" }}`\n--- exit 2\n"
        )
    };
    let world = World::new();
    for name in ["huge.pyro.toml", "huge.pyro.json", "huge"] {
        // A hole, which takes no disk.
        let file = File::create(world.work().join(name)).expect("a new file");
        file.set_len(HUGE).expect("it grows");
        assert_eq!(check(&world, name, Stdio::null()), told(name));
    }
    assert_eq!(check(&world, "/dev/zero", Stdio::null()), told("/dev/zero"));
    let zero = File::open("/dev/zero").expect("it is there");
    assert_eq!(check(&world, "-", zero.into()), told("-"));
    // As large as it may be, and not a request.
    let mut file = File::create(world.work().join("large.pyro.toml")).expect("a new file");
    file.write_all(&vec![b'#'; 16 << 20])
        .expect("it is written");
    let told = check(&world, "large.pyro.toml", Stdio::null());
    assert!(told.contains("error[missing-key]"), "{told}");
}

/// What is wrong, without where it stands in the text.
fn findings(errors: &ParseErrors) -> BTreeSet<String> {
    let told = errors.iter().map(|error| {
        let valid = error.valid_here.join(" ");
        let help = error.help.as_deref().unwrap_or_default();
        format!(
            "{} {}: {} | {help} | {valid}",
            error.pointer, error.code, error.message
        )
    });
    told.collect()
}

/// A change that makes a right document wrong, as a rule.
#[derive(Debug, Clone)]
enum Change {
    /// A key gets another name.
    Rename(Index, &'static str),
    /// A value becomes another.
    Replace(Index, Value),
    /// A table gets one more key.
    Add(Index, &'static str, Value),
    /// A key goes.
    Drop(Index),
}

fn value() -> impl Strategy<Value = Value> {
    select(vec![
        json!(true),
        json!(-1),
        json!(7),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("../up"),
        json!("/etc/passwd"),
        json!("a\0b"),
        json!("${vars.missing}"),
        json!("${step.later.x}"),
        json!("10 minutes"),
        json!("0s"),
        json!("1GB"),
        json!("0999"),
        json!("("),
        json!("sha256:12"),
        json!([]),
        json!([1]),
        json!(["a", "b"]),
        json!({}),
        json!({ "from": "a" }),
        json!({ "from": "a", "base64": "b" }),
        json!({ "base64": "?" }),
        json!({ "equals": 1, "contain": "x" }),
    ])
}

fn change() -> impl Strategy<Value = Change> {
    let key = select(vec![
        "exec",
        "write",
        "patch",
        "read",
        "exce",
        "id",
        "to",
        "expect",
        "stdout",
        "contains",
        "seed",
        "timeout",
        "interpolate",
        "A",
        "pyro",
        "step",
        "workspace",
        "",
    ]);
    let index = any::<Index>;
    prop_oneof![
        3 => (index(), key.clone()).prop_map(|(at, key)| Change::Rename(at, key)),
        4 => (index(), value()).prop_map(|(at, value)| Change::Replace(at, value)),
        3 => (index(), key, value()).prop_map(|(at, key, value)| Change::Add(at, key, value)),
        1 => index().prop_map(Change::Drop),
    ]
}

/// Calls `act` with the table that is number `at` of all, the outermost first.
fn table(value: &mut Value, at: &mut usize, act: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            if *at == 0 {
                act(object);
            }
            *at = at.wrapping_sub(1);
            object.values_mut().for_each(|value| table(value, at, act));
        }
        Value::Array(array) => array.iter_mut().for_each(|value| table(value, at, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn tables(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(tables).sum::<usize>(),
        Value::Array(array) => array.iter().map(tables).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

impl Change {
    fn make(&self, document: &mut Value) {
        let (Self::Rename(index, _)
        | Self::Replace(index, _)
        | Self::Add(index, _, _)
        | Self::Drop(index)) = self;
        let mut at = index.index(tables(document));
        table(document, &mut at, &mut |table| {
            let keys: Vec<String> = table.keys().cloned().collect();
            let key = || (!keys.is_empty()).then(|| index.get(&keys).clone());
            match self {
                Self::Rename(_, name) => {
                    if let Some(value) = key().and_then(|key| table.remove(&key)) {
                        table.insert((*name).to_owned(), value);
                    }
                }
                Self::Replace(_, value) => {
                    if let Some(key) = key() {
                        table.insert(key, value.clone());
                    }
                }
                Self::Add(_, name, value) => {
                    table.insert((*name).to_owned(), value.clone());
                }
                Self::Drop(_) => {
                    if let Some(key) = key() {
                        table.remove(&key);
                    }
                }
            }
        });
    }
}

/// The document in TOML, its keys in the same order. JSON's texts are TOML's as well, but for one character.
fn inline(value: &Value) -> String {
    let entry = |(key, value): (&String, &Value)| {
        format!("{} = {}", inline(&key.clone().into()), inline(value))
    };
    match value {
        Value::Object(object) => {
            let entries: Vec<_> = object.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(array) => {
            let values: Vec<_> = array.iter().map(inline).collect();
            format!("[{}]", values.join(", "))
        }
        Value::String(_) => value.to_string().replace('\u{7f}', "\\u007f"),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is wrong with a document does not depend on how it is written.
    #[test]
    fn both_syntaxes_tell_the_same(
        request in crate::round_trip::request(),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let text = canonical_json(&request);
        let mut document: Value = serde_json::from_str(&text).expect("canonical JSON");
        changes.iter().for_each(|change| change.make(&mut document));
        let json = document.to_string();
        let lines = document.as_object().expect("a table").iter();
        let lines = lines.map(|(key, value)| format!("{} = {}\n", json!(key), inline(value)));
        let toml = lines.collect::<String>();
        match (parse("a", json.as_bytes(), Syntax::Json), parse("a", toml.as_bytes(), Syntax::Toml)) {
            (Ok((one, _)), Ok((other, _))) => {
                prop_assert_eq!(&one, &other, "{}\n{}", json, toml);
                prop_assert_eq!(emit(&one, Syntax::Toml), emit(&other, Syntax::Toml));
            }
            (Err(one), Err(other)) => {
                prop_assert_eq!(findings(&one), findings(&other), "{}\n{}", json, toml);
            }
            (one, other) => prop_assert!(
                false,
                "JSON: {:?}\nTOML: {:?}\n{json}\n{toml}",
                one.map(|_| ()).map_err(|errors| errors.to_string()),
                other.map(|_| ()).map_err(|errors| errors.to_string()),
            ),
        }
    }
}
