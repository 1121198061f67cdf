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
    let mut unread = false;
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
            Ok(Found::Unread) => unread = true,
            Ok(Found::Captured(piece)) => {
                if !out.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut out)));
                }
                pieces.push(piece);
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
    if unread {
        return Ok(Filled::Unread);
    }
    if pieces.is_empty() {
        return Ok(Filled::Text(out));
    }
    if !out.is_empty() {
        pieces.push(Piece::Text(out));
    }
    Ok(Filled::Late(Template(pieces)))
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
    use super::{Filled, literal, substitute};
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
    }
}
