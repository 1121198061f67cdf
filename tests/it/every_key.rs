//! Every value at every key: what passes the checks is a request, and what does not is answered.

use pyro::request::{ErrorCode, Syntax, emit, parse};
use serde_json::{Value, json};

#[test]
fn right_words_in_any_place_are_answered() {
    let words = [
        "host",
        "dir:x",
        "dir:${vars.a}",
        "${vars.a}",
        "${vars.b}",
        "auto",
        "a/b",
        "/etc",
        "..",
        "5m",
        "0s",
        "1GiB",
        "0755",
        "sha256:0",
        "SIGTERM",
        "baseline",
        "exact",
        "ignore",
        "on-failure",
        "1.5",
        "(",
        "[a-z]+",
        "",
        "\0",
        "id",
        "aGk=",
        ".",
    ];
    let mut values = words.map(Value::from).to_vec();
    values.extend([
        json!(null),
        json!(true),
        json!(-1),
        json!(7),
        json!(1_i64 << 40),
        json!(1.5),
        json!([]),
        json!({}),
    ]);
    for value in values.clone() {
        values.push(json!([value]));
        for key in [
            "a", "from", "base64", "text", "equals", "contains", "matches", "lines", "golden",
            "only", "none",
        ] {
            values.push(json!({ key: value }));
        }
    }
    for source in ["stdout", "stderr", "content", "text"] {
        values.push(json!({ "a": { source: { "regex": "${vars.a}(" } } }));
        values.push(json!({ "a": { source: { "regex": "(${vars.a})" } } }));
    }
    for times in [1, 2, 100, 101] {
        values.push(json!({ "times": times, "every": "2s" }));
        values.push(json!({ "times": times }));
    }
    let workspace = [
        "environment",
        "machine",
        "seed",
        "exclude",
        "respect_gitignore",
        "expose",
        "secrets",
        "cpus",
        "memory",
        "disk",
        "processes",
        "keep",
        "ttl",
    ];
    let verbs = [
        ("exec", json!("true")),
        ("write", json!({ "a": "x" })),
        ("patch", json!("x")),
        ("delete", json!(["a"])),
        ("move", json!("a")),
        ("read", json!("a")),
        ("list", json!(".")),
        ("search", json!("a")),
        ("diff", json!("baseline")),
        ("export", json!("a")),
        ("snapshot", json!("a")),
        ("reset", json!("baseline")),
        ("sync", json!("a")),
    ];
    let siblings = [
        "id",
        "always",
        "interpolate",
        "expect",
        "cwd",
        "env",
        "secrets",
        "stdin",
        "timeout",
        "max_output",
        "match",
        "base",
        "missing",
        "max_bytes",
        "offset",
        "recursive",
        "exclude",
        "to",
        "in",
        "include",
        "max_matches",
        "after",
        "after_line",
        "overwrite",
        "capture",
        "retry",
    ];
    let expect = [
        "exit",
        "stdout",
        "stderr",
        "content",
        "text",
        "timed_out",
        "signal",
        "duration_under",
        "changed",
        "fails",
    ];
    // Tables are tried where tables are right; that they are wrong elsewhere has its fixtures.
    let tables = [
        "after", "base", "capture", "changed", "content", "env", "patch", "retry", "secrets",
        "stdin", "stdout", "text", "write",
    ];
    let mut read = 0;
    let mut answered = |workspace: Value, step: Value| {
        let vars = json!({ "a": "host", "b": "dir:x" });
        let document =
            json!({ "pyro": 1, "vars": vars, "workspace": workspace, "step": [step] }).to_string();
        if let Ok((request, _)) = parse("words", document.as_bytes(), Syntax::Json) {
            read += 1;
            let text = emit(&request, Syntax::Toml);
            let again = parse("again", text.as_bytes(), Syntax::Toml).map(|(request, _)| request);
            assert_eq!(again.expect(&text), request, "{document}");
        }
    };
    for value in values.iter().filter(|value| !value.is_object()) {
        for key in workspace {
            answered(json!({ key: value }), json!({ "exec": "true" }));
        }
    }
    for (verb, right) in &verbs {
        let with = |key: &str, value: Value| {
            let mut step = json!({ *verb: right });
            if matches!(*verb, "export" | "move") {
                step["to"] = json!("b");
            }
            step[key] = value;
            step
        };
        let known = |step: &Value| {
            let document = json!({ "pyro": 1, "step": [step] }).to_string();
            match parse("known", document.as_bytes(), Syntax::Json) {
                Ok(_) => true,
                Err(errors) => errors
                    .iter()
                    .all(|error| error.code != ErrorCode::UnknownKey),
            }
        };
        let siblings = siblings
            .into_iter()
            .filter(|key| known(&with(key, json!(null))));
        let siblings = siblings.collect::<Vec<_>>();
        let expect = expect
            .into_iter()
            .filter(|key| known(&with("expect", json!({ *key: null }))));
        let expect = expect.collect::<Vec<_>>();
        for value in &values {
            let suits = |key: &&&str| !value.is_object() || tables.contains(*key);
            for key in std::iter::once(verb).chain(&siblings).filter(suits) {
                answered(json!({}), with(key, value.clone()));
            }
            for key in expect.iter().filter(suits) {
                answered(json!({}), with("expect", json!({ *key: value })));
            }
        }
    }
    assert!(read > 1000, "most keys took some value: {read}");
}
