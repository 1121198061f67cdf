//! Secrets: where they come from, and which programs get them. Values are no business of a plan.

use super::draft::Draft;
use super::{PlannedSecret, PlannedSecretSource, Problem, ProblemCode, text};
use crate::preflight::{Facts, SecretFact, SecretState};
use crate::request::{Exec, Pointer, SecretSource, Workspace, did_you_mean};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Those of a workspace that is made.
pub(super) fn plan(
    workspace: &Workspace,
    facts: &Facts,
    place: &Pointer,
    problems: &mut Vec<Problem>,
) -> Vec<PlannedSecret> {
    let secrets = workspace.secrets.iter().map(|(name, source)| {
        let fact = facts.secrets.get(name);
        problems.extend(against(name, source, fact, place.at(name)));
        PlannedSecret {
            name: name.clone(),
            shown: Some(source.to_string()),
            from: match (source, fact) {
                (_, Some(fact)) if fact.literal => PlannedSecretSource::Literal,
                (SecretSource::Env(variable), _) => PlannedSecretSource::Variable(variable.clone()),
                (SecretSource::File(shown), fact) => {
                    let path = fact.and_then(|fact| fact.path.clone());
                    PlannedSecretSource::File(path.unwrap_or_else(|| PathBuf::from(shown)))
                }
            },
        }
    });
    secrets.collect()
}

/// Why a secret has no value, if it has none.
fn against(
    name: &str,
    source: &SecretSource,
    fact: Option<&SecretFact>,
    place: Pointer,
) -> Option<Problem> {
    let (code, message, help) = match (fact.map(|fact| &fact.state), source) {
        (Some(SecretState::Ready | SecretState::Later), _) => return None,
        (None | Some(SecretState::Missing), SecretSource::Env(variable)) => (
            ProblemCode::SecretMissing,
            format!(
                "the secret `{name}` is to come from the variable `{variable}`, which is not set"
            ),
            format!("set it and export it: `{variable}=... pyro ...`, or `read -rs {variable}; export {variable}`"),
        ),
        (None | Some(SecretState::Missing), SecretSource::File(path)) => (
            ProblemCode::SecretMissing,
            format!(
                "the secret `{name}` is to come from the host file `{}`, which is not there",
                text::escape(path)
            ),
            "host paths begin at the directory of the request file; create the file or name another".to_owned(),
        ),
        (Some(SecretState::NoHome), _) => (
            ProblemCode::SecretUnusable,
            format!("the secret `{name}` is to come from a file below `~/`, and you have no home"),
            "set `HOME`, or write the whole path".to_owned(),
        ),
        (Some(SecretState::Unreadable(why)), _) => (
            ProblemCode::SecretUnusable,
            format!("the secret `{name}` cannot be read from `{}`: {why}", text::escape(source.to_string())),
            "make the file readable for you, or name another one".to_owned(),
        ),
        (Some(SecretState::Unfit { why, help }), _) => (
            ProblemCode::SecretUnusable,
            format!(
                "the secret `{name}` cannot be used: its value, from `{}`, {why}",
                text::escape(source.to_string())
            ),
            help.clone(),
        ),
    };
    Some(Problem::new(code, place, message).help(help))
}

/// Those that a program gets, each with its variable.
pub(super) fn mapped(known: &[String], exec: &Exec, draft: &mut Draft) -> Vec<(String, String)> {
    let place = draft.pointer.at("secrets");
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, variable) in &exec.secrets {
        let place = place.at(name);
        if !known.contains(name) {
            let help = match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => {
                    "the workspace has no secrets; they are given when it is made, in `workspace.secrets`".to_owned()
                }
                None => format!("the workspace has `{}`", known.join("`, `")),
            };
            let message = format!("the workspace has no secret `{name}`");
            draft
                .input(Problem::new(ProblemCode::SecretUnknown, place.clone(), message).help(help));
        }
        if exec.env.contains_key(variable) {
            draft.input(
                Problem::new(
                    ProblemCode::SecretTwice,
                    place.clone(),
                    format!(
                        "the secret `{name}` is to go into `{variable}`, which `env` sets already"
                    ),
                )
                .help("take one of the two out, or give the secret another variable"),
            );
        }
        if let Some(other) = taken.insert(variable, name) {
            draft.input(
                Problem::new(
                    ProblemCode::SecretTwice,
                    place,
                    format!("the secrets `{other}` and `{name}` are both to go into `{variable}`"),
                )
                .help("give each a variable of its own"),
            );
        }
    }
    (exec.secrets.iter())
        .map(|(name, variable)| (name.clone(), variable.clone()))
        .collect()
}
