//! The one tree that TOML, JSON and the builder become, with the place of every key and value.
//!
//! Nothing here knows what a key means; that is the table's part.

use super::Pointer;
use std::ops::Range;

/// A place in the text, in bytes. Empty at 0 for a tree that was built, not read.
pub type Span = Range<usize>;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where. A table of TOML stands at its header or, when dotted keys imply it, at its key.
    pub(crate) span: Span,
}

/// What both syntaxes can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// JSON only.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number, as written.
    Float(String),
    /// TOML only, as written.
    Date(String),
    /// Text.
    Text(String),
    /// In order.
    List(Vec<Node>),
    /// In order; no key twice.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key, unescaped.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) key_span: Span,
    /// What it is set to.
    pub(crate) node: Node,
}

impl Value {
    /// Whether this is a whole number beyond what a document can say.
    pub(crate) fn is_huge(&self) -> bool {
        let fraction = |c: u8| matches!(c, b'.' | b'e' | b'E' | b'n');
        matches!(self, Self::Float(raw) if !raw.bytes().any(fraction))
    }

    /// What it is, with its article, for "not {..}".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) if self.is_huge() => "a number that is too large",
            Self::Float(_) => "a number with a fraction",
            Self::Date(_) => "a date or time",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// A value of a tree that is built, not read.
    pub(crate) fn built(value: Value) -> Self {
        Self { value, span: 0..0 }
    }

    /// Text of a tree that is built.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::built(Value::Text(text.into()))
    }

    /// A list of texts of a tree that is built.
    pub(crate) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::built(Value::List(texts.into_iter().map(Self::text).collect()))
    }

    /// An empty table of a tree that is built.
    pub(crate) fn table() -> Self {
        Self::built(Value::Table(Vec::new()))
    }

    /// Sets the value at a path of keys of a tree that is built, making the tables on the way.
    pub(crate) fn set(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            *self = Self::table();
        }
        let Value::Table(entries) = &mut self.value else {
            return;
        };
        let index = match entries.iter().position(|entry| entry.key == **first) {
            Some(index) => index,
            None => {
                entries.push(Entry::built(*first, Self::table()));
                entries.len() - 1
            }
        };
        entries[index].node.set(rest, node);
    }

    /// The entries, where this is a table.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::Text(_)
            | Value::List(_) => &[],
        }
    }

    /// The elements, where this is a list.
    pub(crate) fn elements(&self) -> &[Self] {
        match &self.value {
            Value::List(elements) => elements,
            Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::Text(_)
            | Value::Table(_) => &[],
        }
    }

    /// The text, where this is text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => None,
        }
    }

    /// The entry of that key, where this is a table that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of that key, where this is a table that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Where the deepest part of `pointer` that exists stands: its key, if it has one, and its value.
    pub(crate) fn find(&self, pointer: &Pointer) -> (Option<&Span>, &Span) {
        let mut node = self;
        let mut key_span = None;
        for part in pointer.parts() {
            let next = match &node.value {
                Value::Table(_) => node.entry(&part).map(|e| (Some(&e.key_span), &e.node)),
                Value::List(items) => part
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (None, item)),
                Value::Null
                | Value::Flag(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Date(_)
                | Value::Text(_) => None,
            };
            let Some(next) = next else { break };
            (key_span, node) = next;
        }
        (key_span, &node.span)
    }
}

impl Entry {
    /// An entry of a tree that is built.
    pub(crate) fn built(key: impl Into<String>, node: Node) -> Self {
        Self {
            key: key.into(),
            key_span: 0..0,
            node,
        }
    }
}
