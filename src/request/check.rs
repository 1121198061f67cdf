//! Holds a tree against the table of verbs and tells everything that is wrong with it.
//!
//! What a text must look like is `check_text`'s part.

use super::scope::Scope;
use super::shape::{Key, Kind, Place, Shape, Verb};
use super::suggest::did_you_mean;
use super::table::{FAILS, REQUEST, VERBS};
use super::tree::{Entry, Node, Span, Value};
use super::{Cpus, ErrorCode, ParseError, ParseErrors, Pointer};
use std::collections::HashMap;

/// Everything that is wrong with `tree`, which was read from `text`.
pub(crate) fn check(tree: &Node, text: &str) -> Vec<ParseError> {
    let mut checker = Checker {
        text,
        errors: Vec::new(),
        scope: Scope::of_tree(tree),
        interpolate: false,
        ids: HashMap::new(),
        verb: None,
    };
    let at = At {
        pointer: Pointer::default(),
        shown: String::new(),
        context: "a request".to_owned(),
    };
    if matches!(tree.value, Value::Table(_)) {
        checker.place(&REQUEST, tree, &at);
        if let Some(matrix) = tree.get("matrix") {
            checker.matrix(matrix);
        }
    } else {
        let shown = "the document".to_owned();
        let help = "a request begins with `pyro = 1` in TOML, `{ \"pyro\": 1` in JSON";
        checker.wrong_type("a table", tree, &At { shown, ..at }, Some(help.to_owned()));
    }
    checker.errors
}

/// Where the checker is.
#[derive(Debug, Clone)]
pub(crate) struct At {
    /// In the document.
    pub(crate) pointer: Pointer,
    /// The dotted path from the request or the step.
    pub(crate) shown: String,
    /// The request or the step, with its article.
    pub(crate) context: String,
}

impl At {
    pub(crate) fn key(&self, key: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
        let key_shown = if !key.is_empty() && key.chars().all(plain) {
            key.to_owned()
        } else {
            format!("\"{}\"", brief(key))
        };
        Self {
            pointer: self.pointer.at(key),
            shown: if self.shown.is_empty() {
                key_shown
            } else {
                format!("{}.{key_shown}", self.shown)
            },
            context: self.context.clone(),
        }
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self {
            pointer: self.pointer.at(index),
            shown: format!("{}[{index}]", self.shown),
            context: self.context.clone(),
        }
    }
}

/// Text as a message shows it: in one line, cut where it is long.
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let quote = matches!(c, '"' | '\'');
            let escaped = if quote { None } else { Some(c.escape_debug()) };
            escaped.into_iter().flatten().chain(quote.then_some(c))
        })
        .collect::<String>();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

pub(crate) struct Checker<'a> {
    /// What the spans point into.
    pub(crate) text: &'a str,
    pub(crate) errors: Vec<ParseError>,
    /// What references can lead to, with the defaults of the request's variables.
    pub(crate) scope: Scope,
    /// Whether `${...}` counts in the payloads of this step.
    pub(crate) interpolate: bool,
    /// The step ids so far, and their places.
    pub(crate) ids: HashMap<String, Span>,
    /// The verb of this step, where it has exactly one.
    pub(crate) verb: Option<&'static Verb>,
}

impl Checker<'_> {
    /// Whether more mistakes were found than will be told.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ParseErrors::GATHERED
    }

    /// Adds a mistake; `finish` gives it label, help and list.
    pub(crate) fn wrong(
        &mut self,
        code: ErrorCode,
        at: &At,
        span: &Span,
        message: String,
        finish: impl FnOnce(ParseError) -> ParseError,
    ) {
        if self.is_full() {
            return;
        }
        let error = ParseError::new(code, &at.pointer, span, message);
        self.errors.push(finish(error));
    }

    fn place(&mut self, place: &'static Place, node: &Node, at: &At) {
        let keys = place.keys.iter().collect::<Vec<_>>();
        self.keys(&keys, node, at, &[]);
        let given = node
            .entries()
            .iter()
            .filter(|entry| place.one_of.contains(&entry.key.as_str()))
            .collect::<Vec<_>>();
        let known = |entry: &Entry| place.keys.iter().any(|key| key.name == entry.key);
        let has_unknown = !node.entries().iter().all(known);
        let names = place.one_of.iter().map(|key| format!("`{key}`"));
        let what = if place.one_of.contains(&"base64") {
            "bytes"
        } else {
            "one"
        };
        match given.as_slice() {
            // A misspelt key is one mistake, not two.
            [] if !place.one_of.is_empty() && !has_unknown => {
                let message = format!("`{}` needs {}", at.shown, super::shape::either(names));
                self.wrong(ErrorCode::MissingKey, at, &node.span, message, |error| {
                    error
                        .label(format!("which {what}?"))
                        .valid(place.one_of.iter().copied())
                });
            }
            [first, second, ..] => {
                let message = format!(
                    "`{}` has both `{}` and `{}`",
                    at.shown, first.key, second.key
                );
                let at = at.key(&second.key);
                self.wrong(
                    ErrorCode::ConflictingKeys,
                    &at,
                    &second.key_span,
                    message,
                    |error| {
                        error
                            .label(format!("`{}` says already which {what}", first.key))
                            .help("keep one of them")
                    },
                );
            }
            [] | [_] => {}
        }
    }

    /// Checks the entries of `node` against `keys`; `skip` names those that were looked at before.
    pub(crate) fn keys(&mut self, keys: &[&'static Key], node: &Node, at: &At, skip: &[&str]) {
        for entry in node.entries() {
            if skip.contains(&entry.key.as_str()) {
                continue;
            }
            match keys.iter().find(|key| key.name == entry.key) {
                Some(key) => self.value(&key.shape, &entry.node, &at.key(key.name)),
                None => self.unknown(keys.iter().map(|key| key.name), entry, at),
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if node.get(key.name).is_none() {
                self.missing(key, node, at);
            }
        }
    }

    fn missing(&mut self, key: &Key, node: &Node, at: &At) {
        let at = at.key(key.name);
        let help = match key.shape {
            Shape::Version => {
                "write `pyro = 1` in TOML, `\"pyro\": 1` in JSON, first of all".to_owned()
            }
            Shape::Text(_)
            | Shape::Flag
            | Shape::Number(..)
            | Shape::List(_)
            | Shape::OneOrMore(_)
            | Shape::Some(_)
            | Shape::Map(..)
            | Shape::SomeMap(..)
            | Shape::Names(_)
            | Shape::Table(_)
            | Shape::TextOr(..)
            | Shape::Command
            | Shape::Cpus
            | Shape::Steps
            | Shape::Expect => format!("set `{}` to {}", key.name, key.shape.wanted()),
        };
        let message = format!("{} needs the key `{}`", at.context, at.shown);
        self.wrong(ErrorCode::MissingKey, &at, &node.span, message, |error| {
            error.label(format!("no `{}` here", key.name)).help(help)
        });
    }

    pub(crate) fn unknown(
        &mut self,
        valid: impl Iterator<Item = &'static str>,
        entry: &Entry,
        at: &At,
    ) {
        if self.is_full() {
            return;
        }
        let mut valid = valid.collect::<Vec<_>>();
        valid.sort_unstable();
        let elsewhere = self.elsewhere(&entry.key, at);
        let near = match elsewhere {
            Some(_) => None,
            None => did_you_mean(&entry.key, valid.iter().copied()),
        };
        let at = at.key(&entry.key);
        let message = format!("`{}` is not a key of {}", at.shown, at.context);
        self.wrong(
            ErrorCode::UnknownKey,
            &at,
            &entry.key_span,
            message,
            |error| {
                let error = error.valid(valid);
                match (near, elsewhere) {
                    (Some(near), _) => error.label(format!("did you mean `{near}`?")),
                    (None, Some((label, help))) => error.label(label).help(help),
                    (None, None) => error.label("unknown key"),
                }
            },
        );
    }

    /// Tells that a value is of another type than its key wants.
    pub(crate) fn wrong_type(&mut self, wanted: &str, node: &Node, at: &At, help: Option<String>) {
        let found = node.value.kind();
        let message = format!("`{}` must be {wanted}, not {found}", at.shown);
        self.wrong(ErrorCode::WrongType, at, &node.span, message, |error| {
            let error = error.label(found);
            match help {
                Some(help) => error.help(help),
                None => error,
            }
        });
    }

    pub(crate) fn value(&mut self, shape: &Shape, node: &Node, at: &At) {
        match (shape, &node.value) {
            (Shape::Version, Value::Integer(1)) | (Shape::Flag, Value::Flag(_)) => {}
            (Shape::Version, Value::Integer(_)) => {
                let message = "this pyro reads version 1 of the format".to_owned();
                self.wrong(ErrorCode::BadVersion, at, &node.span, message, |error| {
                    error
                        .label("unknown version")
                        .help("write `1`, or use a newer pyro")
                });
            }
            (Shape::Text(kind), Value::Text(text)) => self.text(*kind, text, &node.span, at),
            (Shape::Number(from, to), Value::Integer(number)) => {
                if number < from || number > to {
                    let message = match *to {
                        i64::MAX => format!("`{}` must be at least {from}", at.shown),
                        to => format!("`{}` must be from {from} to {to}", at.shown),
                    };
                    self.wrong(ErrorCode::OutOfRange, at, &node.span, message, |error| {
                        error.label("out of range")
                    });
                }
            }
            (Shape::OneOrMore(_) | Shape::Some(_), Value::List(items)) if items.is_empty() => {
                self.empty(node, at);
            }
            (Shape::Names(kind), Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&Shape::Text(*kind), item, &at.index(index));
                }
            }
            (Shape::Names(kind), Value::Table(entries)) => {
                self.map(*kind, &Shape::Text(*kind), entries, at);
            }
            (Shape::List(of) | Shape::OneOrMore(of) | Shape::Some(of), Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(of, item, &at.index(index));
                }
            }
            // One is enough, but what is neither one nor a list is told as such.
            (Shape::OneOrMore(of), value) if same_type(of, value) => self.value(of, node, at),
            (Shape::SomeMap(..), Value::Table(entries)) if entries.is_empty() => {
                self.empty(node, at);
            }
            (Shape::Map(kind, of) | Shape::SomeMap(kind, of), Value::Table(entries)) => {
                self.map(*kind, of, entries, at);
            }
            (Shape::Table(place) | Shape::TextOr(_, place), Value::Table(_)) => {
                self.place(place, node, at);
            }
            (Shape::TextOr(kind, _), Value::Text(text)) => self.text(*kind, text, &node.span, at),
            (Shape::Command, Value::Text(text)) => {
                self.text(Kind::Argument, text, &node.span, at);
            }
            (Shape::Cpus, Value::Integer(number)) => self.cpus(Cpus::whole(*number), node, at),
            (Shape::Cpus, Value::Text(text)) => self.cpus(Cpus::parse(text), node, at),
            (Shape::Command, Value::List(items)) => self.argv(items, node, at),
            (Shape::Steps, Value::List(steps)) => {
                for (index, step) in steps.iter().enumerate() {
                    if self.is_full() {
                        break;
                    }
                    self.step(step, index);
                }
            }
            (Shape::Expect, Value::Table(_)) => {
                let keys = match self.verb {
                    Some(verb) => verb.expectations().collect::<Vec<_>>(),
                    None => {
                        let mut keys = VERBS.iter().flat_map(|v| v.expect).collect::<Vec<_>>();
                        keys.push(&FAILS);
                        keys.sort_by_key(|key| key.name);
                        keys.dedup_by_key(|key| key.name);
                        keys
                    }
                };
                self.keys(&keys, node, at, &[]);
            }
            (Shape::Steps, _) => {
                let help = "steps are a list: `[[step]]` in TOML, `\"step\": [...]` in JSON";
                self.wrong_type(&shape.wanted(), node, at, Some(help.to_owned()));
            }
            (shape, _) => {
                let help = self.way_out(shape, node, at);
                self.wrong_type(&shape.wanted(), node, at, help);
            }
        }
    }

    fn empty(&mut self, node: &Node, at: &At) {
        let message = format!("`{}` is empty", at.shown);
        self.wrong(ErrorCode::EmptyList, at, &node.span, message, |error| {
            error.label("nothing in it")
        });
    }

    fn cpus(&mut self, read: Option<Cpus>, node: &Node, at: &At) {
        if read.is_none() {
            let wanted = Shape::Cpus.wanted();
            let message = format!("`{}` must be {wanted}", at.shown);
            self.wrong(ErrorCode::BadValue, at, &node.span, message, |error| {
                error.label("not a number of processors").help(
                    "give a number above 0 with at most three digits after the point, in quotes if it has any",
                )
            });
        }
    }

    fn argv(&mut self, items: &[Node], node: &Node, at: &At) {
        if items.is_empty() {
            let message = format!("`{}` names no program", at.shown);
            self.wrong(ErrorCode::EmptyList, at, &node.span, message, |error| {
                error
                    .label("an empty list")
                    .help("a list is a program and its arguments: `[\"ls\", \"-l\"]`")
            });
        }
        for (index, item) in items.iter().enumerate() {
            let at = at.index(index);
            if index == 0 && item.as_text() == Some("") {
                let message = format!("`{}` names no program", at.shown);
                self.wrong(ErrorCode::BadValue, &at, &item.span, message, |error| {
                    error.label("empty")
                });
            }
            self.value(&Shape::Text(Kind::Argument), item, &at);
        }
    }

    fn map(&mut self, kind: Kind, of: &Shape, entries: &[Entry], at: &At) {
        let mut paths = HashMap::new();
        for entry in entries {
            let here = at.key(&entry.key);
            self.text(kind, &entry.key, &entry.key_span, &here);
            // Two spellings of one path.
            if let (Kind::GuestFile, Ok(path)) = (kind, super::GuestPath::parse(&entry.key))
                && let Some(first) = paths.insert(path, &entry.key)
            {
                let message = format!(
                    "`{}` and `{}` are the same path",
                    brief(first),
                    brief(&entry.key)
                );
                self.wrong(
                    ErrorCode::DuplicateKey,
                    &here,
                    &entry.key_span,
                    message,
                    |error| error.label("the same path").help("keep one of them"),
                );
            }
            self.value(of, &entry.node, &here);
        }
    }
}

/// Whether a value of this type can be meant as one of the shape.
fn same_type(shape: &Shape, value: &Value) -> bool {
    matches!(
        (shape, value),
        (Shape::Text(_), Value::Text(_)) | (Shape::Number(..), Value::Integer(_))
    )
}
