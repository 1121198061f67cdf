//! `${...}` in a text: which of them are ours, and what they stand for.

use super::check::brief;
use super::suggest::did_you_mean;
use std::collections::BTreeMap;
use std::ops::Range;

/// The names that `${NAME.` may begin with and that belong to pyro. Only `vars` leads somewhere yet.
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
    /// The variables that exist.
    pub(crate) valid: Vec<String>,
}

/// The text with every reference replaced by its value and every `$${` by `${`.
pub(crate) fn substitute(
    text: &str,
    vars: &BTreeMap<String, String>,
) -> Result<String, Vec<Dangling>> {
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
        match name
            .filter(|_| namespace == "vars")
            .and_then(|name| vars.get(name))
        {
            Some(value) => out.push_str(value),
            None => dangling.push(explain(reference, namespace, name, vars, at..at + end)),
        }
        if dangling.len() == TOLD {
            break;
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    if dangling.is_empty() {
        Ok(out)
    } else {
        Err(dangling)
    }
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

fn explain(
    reference: &str,
    namespace: &str,
    name: Option<&str>,
    vars: &BTreeMap<String, String>,
    range: Range<usize>,
) -> Dangling {
    let reference = brief(reference);
    let literal = format!("for the text itself, write `${reference}`");
    let (message, label, help) = match name {
        None => (
            format!("`{reference}` is never closed"),
            "no `}` in this line".to_owned(),
            literal,
        ),
        Some(name) if namespace == "vars" => {
            let near = did_you_mean(name, vars.keys().map(String::as_str));
            let label = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "no such variable".to_owned(),
            };
            let help = format!("give it a default: `vars.{name} = \"...\"`; {literal}");
            (format!("there is no variable `{name}`"), label, help)
        }
        Some(_) => (
            format!("`{reference}` is no reference that this version knows"),
            "unknown reference".to_owned(),
            format!("references are `${{vars.NAME}}`; {literal}"),
        ),
    };
    Dangling {
        range,
        message,
        label,
        help,
        valid: vars
            .keys()
            .map(|name| format!("${{vars.{name}}}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{literal, substitute};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_our_names_are_replaced() {
        let vars = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (text, result) in [
            ("${vars.a}${vars.a}", "11"),
            ("$${vars.a}", "${vars.a}"),
            ("${HOME} $HOME $$ $", "${HOME} $HOME $$ $"),
            ("${variable} ${vars}", "${variable} ${vars}"),
            ("$$${vars.a}", "$${vars.a}"),
        ] {
            assert_eq!(substitute(text, &vars).as_deref(), Ok(result), "{text}");
        }
        for text in [
            "${vars.b}",
            "${vars.}",
            "${vars.a",
            "${env.A}",
            "${matrix.x}",
            "${step.a.b}",
        ] {
            assert_eq!(
                substitute(text, &vars).map_err(|all| all.len()),
                Err(1),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_literal_means_itself(text in "([$]|[{]|vars[.]|env[.]|[}]|é){0,12}") {
            prop_assert_eq!(substitute(&literal(&text), &BTreeMap::new()), Ok(text));
        }
    }
}
