//! The tree as TOML 1.0: sections for the workspace and each step, dotted keys below, long texts over many lines.

use super::raise::SCHEMA;
use super::read_toml;
use super::tree::{Entry, Node, Value};

/// A whole document.
pub(crate) fn document(tree: &Node) -> String {
    let mut out = String::new();
    let mut sections = Vec::new();
    for entry in tree.entries() {
        match &entry.node.value {
            // As editors of TOML look for it.
            Value::Text(text) if entry.key == SCHEMA && read_toml::schema_comment(text) => {
                out = format!("{}{text}\n{out}", read_toml::SCHEMA_COMMENT);
            }
            // A section pays from the second key on.
            Value::Table(entries) if entries.len() > 1 => sections.push(entry),
            Value::List(items)
                if items
                    .iter()
                    .all(|item| matches!(item.value, Value::Table(_))) =>
            {
                sections.push(entry);
            }
            Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::Text(_)
            | Value::Table(_)
            | Value::List(_) => line(&mut vec![entry.key.as_str()], &entry.node, &mut out),
        }
    }
    for Entry { key, node, .. } in sections {
        let key = quoted_key(key);
        match &node.value {
            Value::List(items) => {
                for item in items {
                    section(&format!("[[{key}]]"), item, &mut out);
                }
            }
            Value::Table(_) => section(&format!("[{key}]"), node, &mut out),
            Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::Text(_) => {}
        }
    }
    out
}

fn section(header: &str, node: &Node, out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
    for entry in node.entries() {
        line(&mut vec![entry.key.as_str()], &entry.node, out);
    }
}

/// `a.b.c = value`, one line for each value below.
fn line<'a>(path: &mut Vec<&'a str>, node: &'a Node, out: &mut String) {
    if let Value::Table(entries) = &node.value
        && !inline(entries)
    {
        for entry in entries {
            path.push(&entry.key);
            line(path, &entry.node, out);
            path.pop();
        }
        return;
    }
    let keys = path.iter().map(|key| quoted_key(key)).collect::<Vec<_>>();
    out.push_str(&keys.join("."));
    out.push_str(" = ");
    value(node, out);
    out.push('\n');
}

/// Whether a table reads best in braces: one that only says which bytes are meant.
fn inline(entries: &[Entry]) -> bool {
    let names_bytes = |entry: &Entry| matches!(entry.key.as_str(), "from" | "base64" | "text");
    let short = |entry: &Entry| {
        entry
            .node
            .as_text()
            .is_some_and(|text| text.len() <= 60 && !text.contains('\n'))
    };
    entries.is_empty() || (entries.iter().any(names_bytes) && entries.iter().all(short))
}

fn value(node: &Node, out: &mut String) {
    match &node.value {
        Value::Flag(flag) => out.push_str(&flag.to_string()),
        Value::Integer(integer) => out.push_str(&integer.to_string()),
        Value::Float(text) | Value::Date(text) | Value::Text(text) => string(text, out),
        // There is no null in TOML, and none in a request.
        Value::Null => out.push_str("\"\""),
        Value::List(items) => list(items, out),
        Value::Table(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Table(entries) => {
            out.push_str("{ ");
            for (index, Entry { key, node, .. }) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quoted_key(key));
                out.push_str(" = ");
                value(node, out);
            }
            out.push_str(" }");
        }
    }
}

fn list(items: &[Node], out: &mut String) {
    const WIDE: usize = 100;
    let items = items.iter().map(|item| {
        let mut out = String::new();
        value(item, &mut out);
        out
    });
    let items = items.collect::<Vec<_>>();
    let width = items.iter().map(|item| item.len() + 2).sum::<usize>();
    if width <= WIDE && !items.iter().any(|item| item.contains('\n')) {
        out.push('[');
        out.push_str(&items.join(", "));
        out.push(']');
        return;
    }
    out.push_str("[\n");
    for item in items {
        out.push_str("  ");
        out.push_str(&item);
        out.push_str(",\n");
    }
    out.push(']');
}

fn quoted_key(key: &str) -> String {
    let bare = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(bare) {
        return key.to_owned();
    }
    let mut out = String::from("\"");
    escape(key, &mut out);
    out.push('"');
    out
}

fn string(text: &str, out: &mut String) {
    // What a literal string cannot hold.
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    let literal = text.contains(['\\', '"']) && !text.contains('\'') && !text.contains(control);
    let lines = text.trim_end_matches('\n').contains('\n');
    if lines {
        let quotes = if literal { "'''" } else { "\"\"\"" };
        out.push_str(quotes);
        // The first line break is not part of the text.
        out.push('\n');
        if literal {
            out.push_str(text);
        } else {
            for (index, line) in text.split('\n').enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                escape_line(line, out);
            }
        }
        out.push_str(quotes);
    } else if literal && !text.contains('\n') {
        out.push('\'');
        out.push_str(text);
        out.push('\'');
    } else {
        out.push('"');
        escape(text, out);
        out.push('"');
    }
}

/// A line between `"""`: single quotation marks may stand as they are, unless they would end the text.
fn escape_line(line: &str, out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('"') {
        escape(&rest[..at], out);
        rest = &rest[at + 1..];
        let alone = !rest.is_empty() && !rest.starts_with('"') && !out.ends_with('"');
        out.push_str(if alone { "\"" } else { "\\\"" });
    }
    escape(rest, out);
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
}
