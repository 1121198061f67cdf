//! A request as text, as a person would write it: nothing that holds anyway, in the order of the reference.

use super::model::Request;
use super::raise::{SCHEMA, raise};
use super::tree::{Entry, Node, Value};
use super::{Syntax, emit_toml};

/// The request as a document.
pub fn emit(request: &Request, syntax: Syntax) -> String {
    match syntax {
        Syntax::Toml => emit_toml::document(&raise(request)),
        Syntax::Json => json_text(&raise(request)),
    }
}

/// A tree as JSON, its keys in their order.
pub(super) fn json_text(node: &Node) -> String {
    let mut out = String::new();
    json(node, 0, &mut out);
    out.push('\n');
    out
}

/// The request as JSON with sorted keys and no blanks: equal requests, equal bytes, whatever they were written in.
/// The digest of a request is the digest of this.
pub fn canonical_json(request: &Request) -> String {
    let mut data = data(&raise(request));
    if let Some(fields) = data.as_object_mut() {
        // It tells an editor something, and pyro nothing.
        fields.remove(SCHEMA);
    }
    data.to_string()
}

/// The tree as data; `serde_json` keeps the keys of a table sorted.
fn data(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Flag(flag) => (*flag).into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Float(text) | Value::Date(text) | Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(data).collect(),
        Value::Table(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), data(&entry.node)))
            .collect(),
    }
}

/// What is short and holds no table stays in one line.
fn fits(node: &Node) -> bool {
    const WIDE: usize = 80;
    let flat = |node: &Node| !matches!(node.value, Value::Table(_) | Value::List(_));
    match &node.value {
        Value::List(items) => items.iter().all(flat) && data(node).to_string().len() <= WIDE,
        Value::Table(entries) => {
            entries.iter().all(|entry| flat(&entry.node))
                && data(node).to_string().len() <= WIDE * 3 / 4
        }
        Value::Null
        | Value::Flag(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Date(_)
        | Value::Text(_) => true,
    }
}

fn json(node: &Node, depth: usize, out: &mut String) {
    let broken = depth == 0 || !fits(node);
    let separate = |first: bool, close: bool, out: &mut String| {
        if !first && !close {
            out.push(',');
        }
        match (broken, close) {
            (true, close) => {
                out.push('\n');
                out.push_str(&"  ".repeat(if close { depth } else { depth + 1 }));
            }
            (false, true) => {}
            (false, false) if first => {}
            (false, false) => out.push(' '),
        }
    };
    match &node.value {
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index == 0, false, out);
                json(item, depth + 1, out);
            }
            separate(items.is_empty(), true, out);
            out.push(']');
        }
        Value::Table(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Table(entries) => {
            let blank = if broken { "" } else { " " };
            out.push('{');
            out.push_str(blank);
            for (index, Entry { key, node, .. }) in entries.iter().enumerate() {
                separate(index == 0, false, out);
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push_str(": ");
                json(node, depth + 1, out);
            }
            separate(false, true, out);
            out.push_str(blank);
            out.push('}');
        }
        Value::Null
        | Value::Flag(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Date(_)
        | Value::Text(_) => out.push_str(&data(node).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical_json, emit};
    use crate::request::{Request, RequestBuilder, Step, Syntax};

    fn request() -> RequestBuilder {
        Request::new("dir:rootfs")
            .name("parser-empty-line")
            .seed("repo")
            .step(
                Step::exec(["python3", "-m", "unittest", "-v"])
                    .id("reproduce")
                    .timeout("60s")
                    .env("A.B", "\"x\"")
                    .expect_exit(1)
                    .expect_stderr_contains("IndexError")
                    .expect_stdout_matches("(\\d+) passed"),
            )
            .step(Step::write_files([
                ("hello.txt", "hi\n"),
                ("say.py", "def f():\n    return 'x\\n'\n"),
                ("two.txt", "\"one\"\ntwo\n"),
            ]))
            .step(Step::patch_from("fix.patch").base("say.py", format!("sha256:{:064}", 0)))
    }

    #[test]
    fn a_request_is_written_as_a_person_would() {
        let request = request().build().expect("a request");
        assert_eq!(
            emit(&request, Syntax::Toml),
            r#"pyro = 1
name = "parser-empty-line"

[workspace]
environment = "dir:rootfs"
seed = "repo"

[[step]]
id = "reproduce"
exec = ["python3", "-m", "unittest", "-v"]
env."A.B" = '"x"'
timeout = "1m"
expect.exit = 1
expect.stdout.matches = '(\d+) passed'
expect.stderr.contains = "IndexError"

[[step]]
write."hello.txt" = "hi\n"
write."say.py" = """
def f():
    return 'x\\n'
"""
write."two.txt" = '''
"one"
two
'''

[[step]]
patch = { from = "fix.patch" }
base."say.py" = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
"#
        );
        let json = emit(&request, Syntax::Json);
        let (first, _) = json
            .split_once("    {\n      \"write\"")
            .expect("a second step");
        assert_eq!(
            first,
            r#"{
  "pyro": 1,
  "name": "parser-empty-line",
  "workspace": { "environment": "dir:rootfs", "seed": "repo" },
  "step": [
    {
      "id": "reproduce",
      "exec": ["python3", "-m", "unittest", "-v"],
      "env": { "A.B": "\"x\"" },
      "timeout": "1m",
      "expect": {
        "exit": 1,
        "stdout": { "matches": "(\\d+) passed" },
        "stderr": { "contains": "IndexError" }
      }
    },
"#
        );
    }

    #[test]
    fn canonical_json_is_sorted_and_tight() {
        let request = Request::new("host")
            .name("x")
            .step(Step::read("a").id("b"))
            .build();
        assert_eq!(
            canonical_json(&request.expect("a request")),
            r#"{"name":"x","pyro":1,"step":[{"id":"b","read":"a"}]}"#
        );
    }
}
