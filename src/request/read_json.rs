//! JSON text into the tree: strictly JSON, with no comments, trailing commas or keys given twice.

use super::read_toml::duplicate_key;
use super::tree::{Entry, Node, Span, Value};
use super::{ErrorCode, ParseError, ParseErrors, Pointer};
use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use std::collections::HashMap;

/// The tree, unless the text has no usable one, and what was wrong.
pub(crate) fn read(text: &str) -> (Option<Node>, Vec<ParseError>) {
    let syntax = |span: Span, message: &str, help: Option<&str>| {
        let message = format!("this is not JSON: {message}");
        let mut error = ParseError::new(ErrorCode::Syntax, &Pointer::default(), &span, message);
        error.help = help.map(ToOwned::to_owned);
        (None, vec![error])
    };
    // Strict first: the parser that keeps positions takes more than JSON.
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        let span = error_span(text, &error);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let about_escape = ["surrogate", "hex escape", "code point"];
        let about_escape = about_escape.iter().any(|words| message.contains(words));
        if let Some(escape) = half_pair(text, span.end).filter(|_| about_escape) {
            let help = "write the character itself, or both halves of the pair";
            return syntax(
                escape,
                "half of a surrogate pair is no character",
                Some(help),
            );
        }
        let comment = ["//", "/*", "#"]
            .iter()
            .any(|mark| text[span.start..].starts_with(mark));
        let help = comment.then_some("JSON has no comments; TOML has");
        return syntax(span, message, help);
    }
    let options = jsonc_parser::ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    match jsonc_parser::parse_to_ast(text, &jsonc_parser::CollectOptions::default(), &options) {
        Ok(result) => {
            let mut reader = Reader {
                text,
                errors: Vec::new(),
            };
            let tree = result
                .value
                .map(|value| reader.node(value, &Pointer::default()));
            (tree, reader.errors)
        }
        Err(error) => {
            let range = error.range();
            syntax(range.start..range.end, &error.kind().to_string(), None)
        }
    }
}

/// The escape of half a surrogate pair that an error just behind it is about.
fn half_pair(text: &str, end: usize) -> Option<Span> {
    const ESCAPE: usize = "\\u0000".len();
    let start = text[..end]
        .rfind("\\u")
        .filter(|start| start + 2 * ESCAPE > end)?;
    let half = |start: usize| {
        let digits = text.get(start..start + ESCAPE)?.strip_prefix("\\u")?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        (0xd800..0xe000)
            .contains(&code)
            .then_some(start..start + ESCAPE)
    };
    // The second escape of two may be the one that does not fit the first.
    half(start).or_else(|| half(start.checked_sub(ESCAPE)?))
}

/// The character that the error stands at.
fn error_span(text: &str, error: &serde_json::Error) -> Span {
    let line_start = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let mut start = (line_start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let len = text[start..].chars().next().map_or(0, char::len_utf8);
    start..start + len
}

struct Reader<'a> {
    text: &'a str,
    errors: Vec<ParseError>,
}

impl Reader<'_> {
    fn node(&mut self, value: ast::Value<'_>, at: &Pointer) -> Node {
        let range = value.range();
        let span = range.start..range.end;
        let value = match value {
            ast::Value::StringLit(string) => Value::Text(string.value.into_owned()),
            ast::Value::NumberLit(number) => match number.value.parse() {
                Ok(integer) => Value::Integer(integer),
                Err(_) => Value::Float(number.value.to_owned()),
            },
            ast::Value::BooleanLit(flag) => Value::Flag(flag.value),
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::Array(array) => Value::List(
                array
                    .elements
                    .into_iter()
                    .enumerate()
                    .map(|(index, element)| self.node(element, &at.at(index)))
                    .collect(),
            ),
            ast::Value::Object(object) => Value::Table(self.entries(object, at)),
        };
        Node { value, span }
    }

    fn entries(&mut self, object: ast::Object<'_>, at: &Pointer) -> Vec<Entry> {
        let mut entries = Vec::<Entry>::new();
        let mut seen = HashMap::new();
        for property in object.properties {
            let range = property.name.range();
            let key_span = range.start..range.end;
            let key = property.name.into_string();
            let here = at.at(&key);
            let node = self.node(property.value, &here);
            if let Some(first) = seen.get(&key) {
                if self.errors.len() >= ParseErrors::GATHERED {
                    continue;
                }
                let first_line = self.text[..*first].matches('\n').count() + 1;
                self.errors
                    .push(duplicate_key(&key, &here, &key_span, Some(first_line)));
                continue;
            }
            seen.insert(key.clone(), key_span.start);
            entries.push(Entry {
                key,
                key_span,
                node,
            });
        }
        entries
    }
}
