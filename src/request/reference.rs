//! `${...}` in a text: which of them are ours, and what they stand for.

use super::capture::{HostVariable, Piece, Template};
use super::check::brief;
use super::scope::Scope;
use super::shape::Kind;
use std::ops::Range;

/// The names that `${NAME.` may begin with and that belong to pyro.
const NAMESPACES: [&str; 4] = ["vars", "env", "matrix", "step"];

/// How many dangling references of one text are told.
const TOLD: usize = 20;

/// A reference that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dangling {
    /// Where in the text, in bytes.
    pub(crate) range: Range<usize>,
    /// One sentence.
    pub(crate) message: String,
    /// A few words for the place.
    pub(crate) label: String,
    /// One thing to try.
    pub(crate) help: String,
    /// The references that would lead somewhere.
    pub(crate) valid: Vec<String>,
}

/// A text whose references were looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filled {
    /// With every value in it.
    Text(String),
    /// With values that are known only when the request runs.
    Late(Template),
    /// With values that nobody has read yet: whether it fits its place is not known.
    Unread,
}

/// What a reference stands for.
pub(crate) enum Found<'a> {
    /// This text.
    Text(&'a str),
    /// What a step will capture.
    Captured(Piece),
    /// It is there, and was not read yet.
    Unread,
}

/// Why a reference stands for nothing.
pub(crate) struct Nowhere {
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: String,
}

/// The text with every reference replaced by its value and every `$${` by `${`.
pub(crate) fn substitute(text: &str, kind: Kind, scope: &Scope) -> Result<Filled, Vec<Dangling>> {
    let mut pieces = Vec::new();
    for part in parts(text, kind, scope)? {
        match part {
            Part::Text(text) => pieces.push(Piece::Text(text)),
            Part::Captured(piece) => pieces.push(piece),
            Part::Unread(_) => return Ok(Filled::Unread),
        }
    }
    Ok(match &mut pieces[..] {
        [] => Filled::Text(String::new()),
        [Piece::Text(text)] => Filled::Text(std::mem::take(text)),
        _ => Filled::Late(Template(pieces)),
    })
}

/// The text as a document has it, with every reference replaced whose value is known. The others stay.
pub(crate) fn put_in(text: &str, kind: Kind, scope: &Scope) -> Result<String, Vec<Dangling>> {
    let mut out = String::with_capacity(text.len());
    for part in parts(text, kind, scope)? {
        let reference = match part {
            Part::Text(text) => {
                out.push_str(&literal(&text));
                continue;
            }
            Part::Captured(piece) => piece.to_string(),
            Part::Unread(reference) => reference.to_owned(),
        };
        if out.ends_with('$') {
            return Err(vec![Dangling {
                range: 0..text.len(),
                message: format!(
                    "a value that ends in `$` stands right before `{}`, which cannot be written down",
                    brief(&reference)
                ),
                label: "`$${` would be the escape".to_owned(),
                help: "let the value not end in `$`".to_owned(),
                valid: Vec::new(),
            }]);
        }
        out.push_str(&reference);
    }
    Ok(out)
}

/// A part of a text. Two texts never stand side by side.
enum Part<'a> {
    /// Known, and what it says.
    Text(String),
    /// What a step will capture.
    Captured(Piece),
    /// A reference that leads somewhere, whose value was not read.
    Unread(&'a str),
}

/// What a text is made of.
fn parts<'a>(text: &'a str, kind: Kind, scope: &Scope) -> Result<Vec<Part<'a>>, Vec<Dangling>> {
    let mut parts = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut dangling = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let at = text.len() - rest.len() + dollar;
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some(namespace) = namespace(rest) else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        // A reference is closed in its own line.
        let end = match rest.find(['}', '\n']) {
            Some(at) if rest[at..].starts_with('}') => at + 1,
            Some(at) => at,
            None => rest.len(),
        };
        let reference = &rest[..end];
        let name = reference
            .strip_suffix('}')
            .and_then(|reference| reference.get(namespace.len() + 3..));
        let found = match name {
            None => Err(Nowhere {
                message: format!("`{}` is never closed", brief(reference)),
                label: "no `}` in this line".to_owned(),
                help: String::new(),
            }),
            Some(name) => scope.find(namespace, name, kind),
        };
        match found {
            Ok(Found::Text(value)) => out.push_str(value),
            Ok(Found::Unread) => {
                parts.extend(known(&mut out));
                parts.push(Part::Unread(reference));
            }
            Ok(Found::Captured(piece)) => {
                parts.extend(known(&mut out));
                parts.push(Part::Captured(piece));
            }
            Err(nowhere) => dangling.push(explain(reference, nowhere, scope, at..at + end)),
        }
        if dangling.len() == TOLD {
            break;
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    if !dangling.is_empty() {
        return Err(dangling);
    }
    parts.extend(known(&mut out));
    Ok(parts)
}

/// What was gathered, if anything was.
fn known(text: &mut String) -> Option<Part<'static>> {
    (!text.is_empty()).then(|| Part::Text(std::mem::take(text)))
}

/// The text that means `text` itself where references count: `${vars.A}` becomes `$${vars.A}`.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let doubled = out.ends_with('$') || namespace(&rest[at..]).is_some();
        out.push_str(if doubled { "$${" } else { "${" });
        rest = &rest[at + 2..];
    }
    out.push_str(rest);
    out
}

/// The namespace of ours that `text` begins a reference to.
fn namespace(text: &str) -> Option<&'static str> {
    let inner = text.strip_prefix("${")?;
    NAMESPACES.into_iter().find(|name| {
        inner
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn explain(reference: &str, nowhere: Nowhere, scope: &Scope, range: Range<usize>) -> Dangling {
    let literal = format!("for the text itself, write `${}`", brief(reference));
    let Nowhere {
        message,
        label,
        help,
    } = nowhere;
    Dangling {
        range,
        message,
        label,
        help: match help.is_empty() {
            true => literal,
            false => format!("{help}; {literal}"),
        },
        valid: scope.valid(),
    }
}

impl HostVariable {
    /// What a reference to it stands for.
    pub(crate) fn found(&self, name: &str) -> Result<Found<'_>, Nowhere> {
        let (message, help) = match self {
            Self::Text(text) => return Ok(Found::Text(text)),
            Self::Unset => (
                format!("the host variable `{name}` is not set"),
                format!("set it where pyro is started: `{name}=... pyro ...`"),
            ),
            Self::NotText => (
                format!("the host variable `{name}` holds bytes that are not UTF-8"),
                "set it to text".to_owned(),
            ),
        };
        let label = "read from the host".to_owned();
        Err(Nowhere {
            message,
            label,
            help,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Filled, literal, put_in, substitute};
    use crate::request::scope::Scope;
    use crate::request::shape::Kind;
    use proptest::prelude::*;

    fn substituted(text: &str, scope: &Scope) -> Result<String, usize> {
        match substitute(text, Kind::Argument, scope) {
            Ok(Filled::Text(text)) => Ok(text),
            Ok(other @ (Filled::Late(_) | Filled::Unread)) => panic!("{other:?}"),
            Err(dangling) => Err(dangling.len()),
        }
    }

    #[test]
    fn only_our_names_are_replaced() {
        let mut scope = Scope::default();
        scope.vars.insert("a".to_owned(), "1".to_owned());
        for (text, result) in [
            ("${vars.a}${vars.a}", "11"),
            ("$${vars.a}", "${vars.a}"),
            ("${HOME} $HOME $$ $", "${HOME} $HOME $$ $"),
            ("${variable} ${vars}", "${variable} ${vars}"),
            ("$$${vars.a}", "$${vars.a}"),
        ] {
            assert_eq!(substituted(text, &scope).as_deref(), Ok(result), "{text}");
        }
        for text in [
            "${vars.b}",
            "${vars.}",
            "${vars.a",
            "${env.A}",
            "${matrix.x}",
            "${step.a.b}",
        ] {
            assert_eq!(substituted(text, &scope), Err(1), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_means_itself(text in "([$]|[{]|vars[.]|env[.]|step[.]|[}]|é){0,12}") {
            prop_assert_eq!(substituted(&literal(&text), &Scope::default()), Ok(text));
        }

        #[test]
        fn what_is_put_in_means_the_same(
            text in "([$]|[{]|[$][{]vars[.]a[}]|[$][{]matrix[.]m[}]|vars[.]|[}]|é){0,8}",
            value in "([$]|[{]|vars[.]|a[}]|é){0,4}",
        ) {
            let mut scope = Scope::default();
            scope.vars.insert("a".to_owned(), value);
            scope.matrix.insert("m".to_owned(), None);
            let Ok(written) = put_in(&text, Kind::Argument, &scope) else {
                return Ok(());
            };
            scope.matrix.insert("m".to_owned(), Some("<m>".to_owned()));
            let meant = substituted(&text, &scope);
            // Nothing of it needs the variable any more.
            scope.vars.clear();
            prop_assert_eq!(substituted(&written, &scope), meant);
        }
    }
}
