//! What each code means, with an example and a way out: `specs/errors.md`, embedded and read.

use crate::request::did_you_mean;

/// The document itself.
const ERRORS: &str = include_str!("../specs/errors.md");
/// The section that has the ways out.
const WAYS_OUT: &str = "Ways out";

/// One code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Kebab-case, or an exit code's number.
    pub code: String,
    /// What it means, and the section that says so. A code may be used for several things; never empty.
    pub meanings: Vec<Meaning>,
    /// What to do about it.
    pub way_out: Option<String>,
    /// What is refused with it.
    pub examples: Vec<Example>,
}

/// Something that is refused with a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What it is written in.
    pub form: Form,
    /// One line or more, each with its end.
    pub text: String,
}

/// What an example is written in, as its fence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A request.
    Toml,
    /// Commands after `$ `, and what they answer.
    Console,
    /// What a host says to the agent.
    Json,
    /// Code that makes a request.
    Rust,
    /// What has to happen, in words.
    Text,
}

impl Form {
    fn of(word: &str) -> Option<Self> {
        match word {
            "toml" => Some(Self::Toml),
            "console" => Some(Self::Console),
            "json" => Some(Self::Json),
            "rust" => Some(Self::Rust),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// What a code means in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// The heading above it: `Reasons to refuse a plan`.
    pub section: String,
    /// A sentence without a full stop.
    pub text: String,
}

/// Every code, in the order of the document.
pub fn codes() -> Vec<Explained> {
    let mut all: Vec<Explained> = Vec::new();
    let mut ways = Vec::new();
    let mut section = "";
    let mut lines = ERRORS.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if let Some(info) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if let Some((form, code)) = fence(info) {
                let text = format!("{}\n", text.join("\n"));
                entry(&mut all, code).examples.push(Example { form, text });
            }
        } else if let Some((code, text)) = row(line) {
            if section == WAYS_OUT {
                ways.push((code, text));
            } else {
                entry(&mut all, code).meanings.push(Meaning {
                    section: section.to_owned(),
                    text: text.to_owned(),
                });
            }
        }
    }
    for (code, way_out) in ways {
        entry(&mut all, code).way_out = Some(way_out.to_owned());
    }
    all
}

/// The code of this name, or else the one that was probably meant.
///
/// # Errors
/// Where there is no such code.
pub fn explain(code: &str) -> Result<Explained, Option<String>> {
    let all = codes();
    let code = code
        .trim()
        .trim_start_matches("error[")
        .trim_end_matches(']');
    if let Some(found) = all.iter().find(|one| one.code.eq_ignore_ascii_case(code)) {
        return Ok(found.clone());
    }
    // An abbreviation, or a part, is as good as a slip of the finger.
    let short = code.to_ascii_lowercase();
    let only = |fits: &dyn Fn(&str) -> bool| {
        let mut fitting = all.iter().filter(|one| short.len() >= 3 && fits(&one.code));
        let first = fitting.next()?;
        fitting.next().is_none().then(|| first.code.clone())
    };
    let part =
        only(&|code| code.starts_with(&short)).or_else(|| only(&|code| code.contains(&short)));
    if part.is_some() {
        return Err(part);
    }
    // What compares words thinks in underscores, as the keys of a request have them.
    let known: Vec<String> = all.iter().map(|one| one.code.replace('-', "_")).collect();
    let meant = did_you_mean(code, known.iter().map(String::as_str));
    Err(meant.map(|meant| meant.replace('_', "-")))
}

fn entry<'a>(all: &'a mut Vec<Explained>, code: &str) -> &'a mut Explained {
    let at = all.iter().position(|one| one.code == code);
    let at = at.unwrap_or_else(|| {
        all.push(Explained {
            code: code.to_owned(),
            meanings: Vec::new(),
            way_out: None,
            examples: Vec::new(),
        });
        all.len() - 1
    });
    &mut all[at]
}

/// What stands after the fence of an example: `toml problem=CODE`, and maybe more words.
fn fence(info: &str) -> Option<(Form, &str)> {
    let mut words = info.split(' ');
    let form = Form::of(words.next()?)?;
    let (_, code) = words.next()?.split_once('=')?;
    Some((form, code))
}

/// A row of a table of codes: `| `code` | meaning |`.
fn row(line: &str) -> Option<(&str, &str)> {
    let (code, text) = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split_once(" | ")?;
    let code = code.trim_matches('`');
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (code != "code" && !code.is_empty() && code.chars().all(fits) && code != "---")
        .then_some((code, text))
}

#[cfg(test)]
mod tests {
    use super::{Example, Form, codes, explain};

    #[test]
    fn every_code_has_a_meaning_an_example_and_a_way_out() {
        let all = codes();
        assert!(all.len() > 80, "{}", all.len());
        for one in &all {
            assert!(
                !one.meanings.is_empty(),
                "{} has an example or a way out, but no meaning",
                one.code
            );
        }
        let plain = all.iter().filter(|one| {
            one.examples.is_empty()
                && one
                    .meanings
                    .iter()
                    .any(|meaning| meaning.section != "Exit codes")
        });
        let plain: Vec<_> = plain.map(|one| &one.code).collect();
        assert!(plain.is_empty(), "no example in specs/errors.md: {plain:?}");
        // A mistake in a document is told with its own way out; an exit code is none.
        let without = all.iter().filter(|one| {
            one.way_out.is_none()
                && one.meanings.iter().any(|meaning| {
                    meaning.section != "Mistakes in the document" && meaning.section != "Exit codes"
                })
        });
        let without: Vec<_> = without.map(|one| &one.code).collect();
        assert!(
            without.is_empty(),
            "no way out in specs/errors.md: {without:?}"
        );
    }

    #[test]
    fn codes_are_found_and_guessed() {
        let found = explain("unknown-key").expect("known");
        let example = Example {
            form: Form::Toml,
            text: "pyro = 1\nnmae = \"a\"\n".to_owned(),
        };
        assert_eq!(found.examples, [example]);
        assert_eq!(explain("error[unknown-key]").expect("known"), found);
        assert_eq!(explain("too-large").expect("known").meanings.len(), 3);
        assert_eq!(
            explain("4").expect("known").meanings[0].section,
            "Exit codes"
        );
        assert_eq!(explain("unknwon-key"), Err(Some("unknown-key".to_owned())));
        assert_eq!(explain("bad-ref"), Err(Some("bad-reference".to_owned())));
        assert_eq!(explain("reference"), Err(Some("bad-reference".to_owned())));
        assert_eq!(explain("xyzzy"), Err(None));
    }
}
