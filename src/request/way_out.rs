//! One thing to try where a value is of another type than its key wants.

use super::check::{At, Checker, brief};
use super::shape::{Kind, Shape};
use super::table::TEXT_EXPECT;
use super::tree::{Node, Value};

impl Checker<'_> {
    /// One thing to try where a value is of the wrong type.
    pub(crate) fn way_out(&self, shape: &Shape, node: &Node, at: &At) -> Option<String> {
        let kind = match shape {
            Shape::Text(kind) | Shape::TextOr(kind, _) => Some(*kind),
            Shape::Version
            | Shape::Flag
            | Shape::Number(..)
            | Shape::List(_)
            | Shape::OneOrMore(_)
            | Shape::Some(_)
            | Shape::Map(..)
            | Shape::SomeMap(..)
            | Shape::Names(_)
            | Shape::Table(_)
            | Shape::Command
            | Shape::Cpus
            | Shape::Steps
            | Shape::Expect => None,
        };
        let octal = |number: &i64| {
            let text = number.to_string();
            let raw = self.text.get(node.span.clone()).unwrap_or_default();
            let as_written = !raw.starts_with("0o") && text.bytes().all(|c| c < b'8');
            let digits = if as_written {
                text
            } else {
                format!("{number:o}")
            };
            format!("modes are text: write `\"{digits:0>4}\"`")
        };
        match (kind, &node.value) {
            (_, value) if value.is_huge() => None,
            _ if matches!(shape, Shape::Version) => Some("write `1`".to_owned()),
            _ if matches!(shape, Shape::Command) => Some(
                "write a list, `[\"ls\", \"-l\"]`, or a line for the shell, `\"ls | wc -l\"`"
                    .to_owned(),
            ),
            (_, Value::Null) => Some("leave the key out".into()),
            (_, Value::Date(raw)) => {
                Some(format!("there are no dates here: write text, `\"{raw}\"`"))
            }
            (Some(Kind::Duration), Value::Integer(number)) => Some(format!(
                "durations are text with a unit: write `\"{number}s\"`"
            )),
            (Some(Kind::Duration), Value::Float(raw)) => Some(format!(
                "durations are text, a whole number and a unit: write `\"{}\"`",
                in_millis(raw)
            )),
            (Some(Kind::Size), Value::Integer(number)) => Some(format!(
                "sizes are text with a unit: write `\"{number}MiB\"`, or B, KiB, GiB"
            )),
            (Some(Kind::Size), Value::Float(_)) => {
                Some("sizes are text, a whole number and a unit: write `\"1536MiB\"`".into())
            }
            (_, Value::Float(raw)) if matches!(shape, Shape::Cpus) => {
                Some(format!("fractions are text: write `\"{raw}\"`"))
            }
            (Some(Kind::Mode), Value::Integer(number)) => Some(octal(number)),
            (_, Value::Float(_)) => {
                Some("there are no fractions here: write a whole number, or text in quotes".into())
            }
            (
                Some(
                    Kind::Word(_)
                    | Kind::Environment
                    | Kind::SecretSource
                    | Kind::Digest
                    | Kind::Base
                    | Kind::Base64
                    | Kind::GuestFileBase64
                    | Kind::Signal,
                ),
                _,
            ) => None,
            (Some(_), Value::Integer(number)) => Some(format!("write `\"{number}\"`")),
            (Some(_), Value::Flag(flag)) => Some(format!("write `\"{flag}\"`")),
            (_, Value::Text(text)) if unquoted(shape) => {
                Some(format!("write `{}` without quotes", brief(text)))
                    .filter(|_| text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok())
            }
            (_, Value::Text(text))
                if matches!(shape, Shape::List(_) | Shape::Some(_) | Shape::Names(_)) =>
            {
                Some(format!("write `[\"{}\"]`", brief(text)))
            }
            (_, Value::Text(_)) if matches!(shape, Shape::Table(place) if std::ptr::eq(*place, &TEXT_EXPECT)) => {
                Some(format!(
                    "say what must hold of it: `{0}.equals`, `{0}.contains`...",
                    at.shown
                ))
            }
            _ if matches!(shape, Shape::SomeMap(..)) => {
                Some(format!("write `{}.\"PATH\" = \"...\"`", at.shown))
            }
            _ if matches!(shape, Shape::Map(..)) => {
                Some(format!("write `{}.NAME = \"...\"`", at.shown))
            }
            (
                _,
                Value::Text(_)
                | Value::Flag(_)
                | Value::Integer(_)
                | Value::List(_)
                | Value::Table(_),
            ) => None,
        }
    }
}

/// The duration that a number of seconds with a fraction means, as near as it can be told.
fn in_millis(raw: &str) -> String {
    let seconds = raw.parse::<f64>().ok().filter(|s| *s > 0.0 && *s < 1e9);
    let shown = seconds.map(|seconds| format!("{:.0}ms", seconds * 1000.0));
    shown.unwrap_or_else(|| "1500ms".to_owned())
}

/// Whether values of the shape are words and numbers without quotes.
fn unquoted(shape: &Shape) -> bool {
    match shape {
        Shape::Version | Shape::Flag | Shape::Number(..) => true,
        Shape::OneOrMore(of) => unquoted(of),
        Shape::Text(_)
        | Shape::List(_)
        | Shape::Some(_)
        | Shape::Map(..)
        | Shape::SomeMap(..)
        | Shape::Names(_)
        | Shape::Table(_)
        | Shape::TextOr(..)
        | Shape::Command
        | Shape::Cpus
        | Shape::Steps
        | Shape::Expect => false,
    }
}
