//! A workspace that lives: what is known of it, and why it cannot be used if it cannot.

use super::{
    Enforcement, ExistingWorkspace, PlannedEnvironment, PlannedLimit, PlannedMachine,
    PlannedSecret, PlannedSecretSource, PlannedWorkspace, Problem, ProblemCode, text,
};
use crate::preflight::{ExistingFact, LivingFact, MadeFact};
use crate::request::Pointer;
use pyro_protocol::boot::Limits;
use std::collections::BTreeMap;

pub(super) fn plan(
    given: &str,
    fact: Option<&ExistingFact>,
    place: Pointer,
    problems: &mut Vec<Problem>,
) -> PlannedWorkspace {
    let shown = text::escape(given);
    let mut refuse = |code, message: String, help: String| {
        problems.push(Problem::new(code, place.clone(), message).help(help));
        nothing()
    };
    let living = match fact {
        Some(ExistingFact::Found(living)) => living,
        Some(ExistingFact::Missing(near)) if !near.is_empty() => {
            let near: Vec<_> = near.iter().map(text::escape).collect();
            let help = format!("did you mean `{}`?", near.join("` or `"));
            return refuse(
                ProblemCode::WorkspaceMissing,
                format!("there is no workspace `{shown}`"),
                help,
            );
        }
        Some(ExistingFact::Missing(_)) | None => {
            return refuse(
                ProblemCode::WorkspaceMissing,
                format!("there is no workspace `{shown}`"),
                "`pyro workspace list` shows those that there are".to_owned(),
            );
        }
        Some(ExistingFact::Several(ids)) => {
            return refuse(
                ProblemCode::WorkspaceAmbiguous,
                format!("several workspaces are called `{shown}`"),
                format!("say which one by its id: {}", ids.join(", ")),
            );
        }
        Some(ExistingFact::Unusable(why)) => {
            return refuse(
                ProblemCode::WorkspaceUnusable,
                format!("the workspace `{shown}` cannot be used: {why}"),
                "`pyro workspace delete` removes it".to_owned(),
            );
        }
    };
    if !living.started {
        problems.push(
            Problem::new(
                ProblemCode::WorkspaceStopped,
                place,
                format!("the workspace `{shown}` is stopped"),
            )
            .help(format!("start it: `pyro workspace start {}`", living.id)),
        );
    }
    planned(living)
}

fn planned(living: &LivingFact) -> PlannedWorkspace {
    let MadeFact {
        environment,
        directory,
        expose,
        hostname,
        limits,
        limits_shown,
    } = &living.made;
    let limits_shown = limits_shown.iter().map(|limit| PlannedLimit {
        name: limit.name.clone(),
        value: limit.value.clone(),
        enforcement: match limit.enforcement.as_str() {
            "enforced" => Enforcement::Enforced,
            "watched" => Enforcement::Watched,
            _ => Enforcement::NotEnforced,
        },
    });
    PlannedWorkspace {
        environment: match directory {
            Some(path) => PlannedEnvironment::Dir(path.clone()),
            None => PlannedEnvironment::Host,
        },
        environment_shown: environment.clone(),
        expose: expose.clone(),
        secrets: (living.secrets.iter())
            .map(|name| PlannedSecret {
                name: name.clone(),
                shown: None,
                from: PlannedSecretSource::Kept,
            })
            .collect(),
        limits: *limits,
        limits_shown: limits_shown.collect(),
        hostname: hostname.clone(),
        existing: Some(ExistingWorkspace {
            id: living.id.clone(),
            name: living.name.clone(),
            noted: living.noted.clone(),
        }),
        ..nothing()
    }
}

/// Nothing is made: no seed, no groups.
fn nothing() -> PlannedWorkspace {
    PlannedWorkspace {
        environment: PlannedEnvironment::Host,
        environment_shown: "host".to_owned(),
        machine: PlannedMachine::Namespace,
        machine_note: None,
        seed: None,
        expose: Vec::new(),
        secrets: Vec::new(),
        limits: Limits {
            processes: 0,
            memory: 0,
            disk: 0,
            disk_reserve: 0,
            open_files: 0,
        },
        groups: Vec::new(),
        processors: None,
        limits_shown: Vec::new(),
        keep: None,
        hostname: String::new(),
        disk_free: None,
        existing: None,
        name: None,
        labels: BTreeMap::new(),
        notes: Vec::new(),
    }
}
