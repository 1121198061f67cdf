//! TOML text into the tree.

use super::raise::SCHEMA;
use super::tree::{Entry, Node, Span, Value};
use super::{ErrorCode, ParseError, ParseErrors, Pointer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The tree, unless the text has no usable one, and what was wrong.
pub(crate) fn read(text: &str) -> (Option<Node>, Vec<ParseError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut entries = entries(table.get_ref(), text);
    if !entries.iter().any(|entry| entry.key == SCHEMA) {
        entries.extend(schema(text));
    }
    let tree = Node {
        value: Value::Table(entries),
        span: 0..0,
    };
    let mut usable = true;
    let mut found = Vec::new();
    let mut last_line = None;
    for error in errors.into_iter().take(ParseErrors::GATHERED) {
        let span = error.span().unwrap_or(0..0);
        let key = text.get(span.clone()).unwrap_or_default();
        if error.message().starts_with("duplicate key") {
            let (error, header) = duplicate(&tree, text, key, &span);
            found.push(error);
            // What the parser makes of a table with two headers is not what was meant.
            usable &= !header;
            continue;
        }
        usable = false;
        let code = if error.message().contains("recurs") {
            ErrorCode::TooDeep
        } else {
            ErrorCode::Syntax
        };
        // The parser recovers and goes on; what it finds behind a mistake in the same line is noise.
        let line = text[..span.start.min(text.len())].matches('\n').count();
        if last_line.replace(line) != Some(line) {
            found.push(ParseError::new(
                code,
                &Pointer::default(),
                &span,
                format!("this is not TOML: {}", error.message()),
            ));
        }
    }
    (usable.then_some(tree), found)
}

/// How a comment names the schema, for editors of TOML; it stands before the first key.
pub(crate) const SCHEMA_COMMENT: &str = "#:schema ";

/// Whether the name of a schema reads back from such a comment.
pub(crate) fn schema_comment(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(|c: char| c.is_control())
}

/// The schema that a comment names, as the key that JSON has for it.
fn schema(text: &str) -> Option<Entry> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let blank = line.trim_start();
        if !blank.is_empty() && !blank.starts_with('#') {
            return None;
        }
        if let Some(name) = blank.strip_prefix(SCHEMA_COMMENT).map(str::trim)
            && schema_comment(name)
        {
            let start = at + line.find(name)?;
            let span = start..start + name.len();
            return Some(Entry {
                key: SCHEMA.to_owned(),
                key_span: span.clone(),
                node: Node {
                    value: Value::Text(name.to_owned()),
                    span,
                },
            });
        }
        at += line.len();
    }
    None
}

fn entries(table: &DeTable<'_>, text: &str) -> Vec<Entry> {
    table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: node(value, text),
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, text: &str) -> Node {
    let span = value.span();
    let raw = || text.get(span.clone()).unwrap_or_default().to_owned();
    let value = match value.get_ref() {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Float(raw()),
        },
        DeValue::Float(_) => Value::Float(raw()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Date(raw()),
        DeValue::Array(array) => {
            Value::List(array.iter().map(|element| node(element, text)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, text)),
    };
    Node { value, span }
}

/// A key that was set before, and whether it is one of a header. The parser tells only where the second one stands.
fn duplicate(tree: &Node, text: &str, key: &str, span: &Span) -> (ParseError, bool) {
    let line_start = text[..span.start]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let line = text[line_start..span.end].trim_start();
    let header = line.starts_with('[');
    // `expect.stdout.contains`: the path as this line spells it, else the key alone.
    let path = path_of(line.trim_start_matches('['))
        .or_else(|| path_of(key))
        .unwrap_or_default();
    let mut best = None;
    first_before(tree, &Pointer::default(), &path, span.start, &mut best);
    let (pointer, first_line) = match best {
        Some((pointer, first)) => (pointer, Some(text[..first].matches('\n').count() + 1)),
        None => (
            path.iter().fold(Pointer::default(), |at, key| at.at(key)),
            None,
        ),
    };
    let key = path.last().map_or(key, String::as_str);
    (duplicate_key(key, &pointer, span, first_line), header)
}

/// The same words for both syntaxes.
pub(crate) fn duplicate_key(
    key: &str,
    pointer: &Pointer,
    span: &Span,
    first_line: Option<usize>,
) -> ParseError {
    let label = match first_line {
        Some(line) => format!("first given on line {line}"),
        None => "given before".to_owned(),
    };
    ParseError::new(
        ErrorCode::DuplicateKey,
        pointer,
        span,
        format!("`{key}` is given twice"),
    )
    .label(label)
    .help("keep one of them")
}

fn path_of(dotted: &str) -> Option<Vec<String>> {
    let text = format!("{dotted} = 0");
    let table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    let mut level = &table;
    while let Some((key, value)) = level.iter().next() {
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(table) => level = table,
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => break,
        }
    }
    (!path.is_empty()).then_some(path)
}

/// The last key before `limit` whose path ends with `path`.
fn first_before(
    node: &Node,
    at: &Pointer,
    path: &[String],
    limit: usize,
    best: &mut Option<(Pointer, usize)>,
) {
    for entry in node.entries() {
        let here = at.at(&entry.key);
        if entry.key_span.start < limit
            && ends_with(&here, path)
            && best
                .as_ref()
                .is_none_or(|(_, start)| entry.key_span.start >= *start)
        {
            *best = Some((here.clone(), entry.key_span.start));
        }
        first_before(&entry.node, &here, path, limit, best);
    }
    for (index, element) in node.elements().iter().enumerate() {
        first_before(element, &at.at(index), path, limit, best);
    }
}

fn ends_with(pointer: &Pointer, path: &[String]) -> bool {
    let tail = path
        .iter()
        .fold(Pointer::default(), |tail, key| tail.at(key));
    pointer.0.ends_with(&tail.0)
}
