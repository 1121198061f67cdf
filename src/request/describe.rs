//! The table of verbs as a page of the reference.

use super::ErrorCode;
use super::shape::{Key, Kind, Place, Shape, either};
use super::table::{
    CAPTURE, CAPTURE_EXEC, CAPTURE_READ, CAPTURE_TEXT, COMMON, CONTENT, FAILS, FILE, PATH_BYTES,
    REQUEST, RETRY, TEXT_EXPECT, VERBS, WORKSPACE,
};
use std::fmt::Write as _;

/// The reference of the document, in Markdown.
pub fn reference() -> String {
    let mut page = Page(String::new());
    page.0.push_str(
        "# The request document\n\n\
         This page is generated from the table that documents are checked against. A request is TOML or JSON; the \
         two are the same document. A key that is not listed at its place is an error.\n",
    );
    page.place("The request", &REQUEST);
    page.place("`workspace`", &WORKSPACE);
    page.heading("Steps");
    page.0
        .push_str("A step is a table with exactly one verb; everything else stands beside it.\n\n");
    let verbs = VERBS
        .iter()
        .map(|verb| format!("[`{0}`](#{0})", verb.key.name));
    page.line(&format!(
        "Verbs: {}.\n",
        verbs.collect::<Vec<_>>().join(" · ")
    ));
    page.line("Any step may have:\n");
    page.keys(COMMON);
    for verb in VERBS {
        page.heading(&format!("`{}`", verb.key.name));
        page.line(&format!("{}\n", verb.key.doc));
        page.line(&format!("Value: {}.\n", value(&verb.key.shape)));
        if !verb.siblings.is_empty() {
            page.keys(verb.siblings);
        }
        page.line("Under `expect`:\n");
        let expect = verb.expect.iter().chain([&FAILS]);
        page.rows(expect);
    }
    page.place("What is expected of a text", &TEXT_EXPECT);
    page.heading("`capture`");
    page.line("A table of NAME = what is captured. What it is taken from depends on the verb:\n");
    for (verbs, place) in [
        ("`exec`", &CAPTURE_EXEC),
        ("`read`", &CAPTURE_READ),
        ("`list`, `search` and `diff`", &CAPTURE_TEXT),
    ] {
        let keys = place.one_of.iter().map(|key| format!("`{key}`"));
        page.line(&format!("- of {verbs}: {}", either(keys)));
    }
    page.line("\nand each of them is a table:\n");
    page.keys(CAPTURE.keys);
    page.place("`retry`", &RETRY);
    page.place("A file of `write`", &FILE);
    page.place("Bytes from elsewhere", &CONTENT);
    page.place("A path that is no text", &PATH_BYTES);
    page.heading("Errors");
    page.line("| code | meaning |\n|---|---|");
    for code in ErrorCode::ALL {
        page.line(&format!("| `{code}` | {} |", code.meaning()));
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
    fn heading(&mut self, heading: &str) {
        let gap = if self.0.ends_with("\n\n") { "" } else { "\n" };
        self.line(&format!("{gap}## {heading}\n"));
    }
    fn place(&mut self, heading: &str, place: &Place) {
        self.heading(heading);
        self.line(&format!("{}\n", place.doc));
        if !place.one_of.is_empty() {
            let keys = place.one_of.iter().map(|key| format!("`{key}`"));
            self.line(&format!("Exactly one of {} is there.\n", either(keys)));
        }
        self.keys(place.keys);
    }
    fn keys(&mut self, keys: &[Key]) {
        self.rows(keys.iter());
    }
    fn rows<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        self.line("| key | value | without it | meaning |\n|---|---|---|---|");
        for key in keys {
            let Key {
                name,
                shape,
                doc,
                default,
                required,
            } = key;
            let without = match default {
                _ if *required => "an error",
                Some(default) => default,
                None => "",
            };
            let row = writeln!(
                self.0,
                "| `{name}` | {} | {without} | {doc} |",
                value(shape)
            );
            row.expect("a string takes any text");
        }
        self.0.push('\n');
    }
}

/// What a value may be, with what its words may be.
fn value(shape: &Shape) -> String {
    match shape {
        Shape::Text(Kind::Signal) => "the name of a signal".to_owned(),
        Shape::Table(place) if std::ptr::eq(*place, &TEXT_EXPECT) => {
            "[what is expected of a text](#what-is-expected-of-a-text)".to_owned()
        }
        Shape::Table(place) if std::ptr::eq(*place, &RETRY) => "[a table](#retry)".to_owned(),
        Shape::Map(_, Shape::Table(_)) => "[a table of values](#capture)".to_owned(),
        Shape::Expect => "a table of what the verb lists under `expect`".to_owned(),
        Shape::Number(from, i64::MAX) => format!("a whole number from {from}"),
        Shape::Number(from, to) => format!("a whole number from {from} to {to}"),
        Shape::Version
        | Shape::Text(_)
        | Shape::Flag
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
        | Shape::Steps => shape.wanted(),
    }
}
