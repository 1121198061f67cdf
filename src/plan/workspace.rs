//! The workspace to make: environment, machine, seed, exposed paths, limits.

use super::source::{self, Wanted};
use super::{
    PlannedEnvironment, PlannedKeep, PlannedMachine, PlannedWorkspace, Problem, ProblemCode,
    existing,
    limits::{self, Decided},
    secrets, text,
};
use crate::exclude;
use crate::preflight::{EnvironmentFact, ExposeFact, Facts, SeedFact, SeedListing};
use crate::request::{Duration, Environment, Keep, MachineChoice, Pointer, Request, Workspace};
use std::path::{Path, PathBuf};

/// For how long a tree is kept.
const DEFAULT_TTL: Duration = Duration::from_millis(86_400_000);
/// At most: nobody looks at it after that, and the disk is everybody's.
const LONGEST_TTL: Duration = Duration::from_millis(30 * 86_400_000);
const HOSTNAME: &str = "pyro";

pub(super) fn plan(
    request: &Request,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> PlannedWorkspace {
    let place = Pointer("/workspace".to_owned());
    if let Some(name) = &request.existing {
        return existing::plan(name, facts.existing.as_ref(), place, problems);
    }
    let workspace = &request.workspace;
    let mut notes = Vec::new();
    let environment = match &workspace.environment {
        Environment::Host => PlannedEnvironment::Host,
        Environment::Dir(shown) => PlannedEnvironment::Dir(environment(
            shown,
            facts.environment.as_ref(),
            &place.at("environment"),
            problems,
            &mut notes,
        )),
    };
    let machine_note = match workspace.machine {
        MachineChoice::Namespace => None,
        MachineChoice::Auto => Some(match &workspace.environment {
            Environment::Host => "auto: the host's programs need namespaces".to_owned(),
            Environment::Dir(_) => "auto: no microVM is available".to_owned(),
        }),
    };
    patterns(&workspace.exclude, &place.at("exclude"), problems);
    let seed = (workspace.seed.as_ref()).and_then(|shown| {
        let wanted = Wanted {
            shown,
            exclude: &workspace.exclude,
            respect_gitignore: workspace.respect_gitignore,
        };
        let place = place.at("seed");
        source::plan(
            &wanted,
            facts.seed.as_ref(),
            &place,
            &source::SEED,
            problems,
        )
    });
    if workspace.seed.is_none() && (!workspace.exclude.is_empty() || workspace.respect_gitignore) {
        notes.push("there is no seed that anything could be left out of".to_owned());
    }
    let expose = (workspace.expose.iter().enumerate())
        .filter_map(|(index, shown)| {
            let place = place.at("expose").at(index);
            expose(shown, facts.expose.get(shown), place)
                .map_err(|problem| problems.push(problem))
                .ok()
        })
        .collect();
    if !workspace.expose.is_empty() {
        notes.push(
            "exposed paths are read-only, but a socket or FIFO below them can still be spoken to"
                .to_owned(),
        );
    }
    let secrets = secrets::plan(workspace, facts, &place.at("secrets"), problems);
    let Decided {
        limits,
        groups,
        processors,
        shown: limits_shown,
        notes: more,
    } = limits::decide(workspace, &facts.host, problems);
    notes.extend(more);
    PlannedWorkspace {
        keep: keep(workspace, &place, problems, &mut notes),
        environment,
        environment_shown: workspace.environment.to_string(),
        machine: PlannedMachine::Namespace,
        machine_note,
        seed,
        expose: without_repeats(expose),
        secrets,
        limits,
        groups,
        processors,
        limits_shown,
        hostname: hostname(workspace.name.as_deref()),
        disk_free: facts.host.disk_free,
        existing: None,
        name: workspace.name.clone(),
        labels: workspace.labels.clone(),
        notes,
    }
}

/// The name where it can be the name of a host (RFC 1123, one label), else one for all.
fn hostname(name: Option<&str>) -> String {
    let fits = |name: &&str| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        name.len() <= 63
            && name.bytes().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-')
    };
    name.filter(fits).unwrap_or(HOSTNAME).to_owned()
}

/// What becomes of the work tree, once it is known how the run ended.
fn keep(
    workspace: &Workspace,
    place: &Pointer,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Option<PlannedKeep> {
    let ttl = workspace.ttl.unwrap_or(DEFAULT_TTL);
    if ttl > LONGEST_TTL {
        problems.push(
            Problem::new(
                ProblemCode::OutOfRange,
                place.at("ttl"),
                format!("a workspace is kept for {LONGEST_TTL} at most"),
            )
            .help(format!(
                "give `{LONGEST_TTL}` or less; what is worth more, `export`"
            )),
        );
    }
    let always = match workspace.keep {
        Keep::Always => true,
        Keep::OnFailure => false,
        Keep::Never => {
            if workspace.ttl.is_some() {
                notes.push("`ttl` has no effect: without `keep`, nothing is kept".to_owned());
            }
            return None;
        }
    };
    Some(PlannedKeep { always, ttl })
}

/// Tells which gitignore patterns cannot be read.
pub(super) fn patterns(patterns: &[String], place: &Pointer, problems: &mut Vec<Problem>) {
    for (index, pattern) in patterns.iter().enumerate() {
        if let Some(why) = exclude::bad_pattern(pattern) {
            problems.push(pattern_invalid(pattern, &why, place.at(index)));
        }
    }
}

/// A gitignore pattern that cannot be read.
pub(super) fn pattern_invalid(pattern: &str, why: &str, place: Pointer) -> Problem {
    Problem::new(
        ProblemCode::PatternInvalid,
        place,
        format!("`{}` is no pattern", text::escape(pattern)),
    )
    .note(text::escape(why))
    .help("patterns are those of .gitignore, such as `target/` or `**/*.o`")
}

/// The seed as it was walked, where it was.
pub(super) fn listing(facts: &Facts) -> Option<&SeedListing> {
    walked(facts.seed.as_ref())
}

/// The source as it was walked, where it was.
pub(super) fn walked(fact: Option<&SeedFact>) -> Option<&SeedListing> {
    match fact {
        Some(SeedFact::Directory(listing)) => Some(listing),
        Some(
            SeedFact::Missing
            | SeedFact::NotADirectory
            | SeedFact::Unreadable(_)
            | SeedFact::NotAnArchive(_)
            | SeedFact::BadArchive(_),
        )
        | None => None,
    }
}

fn environment(
    shown: &str,
    fact: Option<&EnvironmentFact>,
    place: &Pointer,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> PathBuf {
    let shown = text::escape(shown);
    let help = "name the directory of an unpacked root file system, or use `host`";
    let mut refuse = |code, message: String| {
        problems.push(Problem::new(code, place.clone(), message).help(help));
        PathBuf::new()
    };
    match fact {
        None | Some(EnvironmentFact::Missing) => refuse(
            ProblemCode::EnvironmentMissing,
            format!("there is no directory `{shown}`"),
        ),
        Some(EnvironmentFact::NotADirectory) => refuse(
            ProblemCode::EnvironmentNotADirectory,
            format!("`{shown}` is not a directory"),
        ),
        Some(EnvironmentFact::Unreadable(why)) => refuse(
            ProblemCode::EnvironmentUnreadable,
            format!("`{shown}` cannot be looked at: {why}"),
        ),
        Some(EnvironmentFact::Directory { path, .. }) if path == Path::new("/") => refuse(
            ProblemCode::EnvironmentRefused,
            format!("`{shown}` is the root of the host itself"),
        ),
        Some(EnvironmentFact::Directory {
            contains_state: true,
            ..
        }) => refuse(
            ProblemCode::EnvironmentRefused,
            format!("`{shown}` has pyro's own state in it"),
        ),
        Some(EnvironmentFact::Directory {
            has_programs: false,
            ..
        }) => refuse(
            ProblemCode::EnvironmentRefused,
            format!("`{shown}` has neither `bin` nor `usr`, so it is no root file system"),
        ),
        Some(EnvironmentFact::Directory {
            path, has_shell, ..
        }) => {
            if !has_shell {
                notes.push("the environment has no /bin/sh, so no shell line can run".to_owned());
            }
            path.clone()
        }
    }
}

/// Why a path must not be shown inside, if it must not.
fn refused(path: &Path) -> Option<&'static str> {
    /// What the sandbox has its own of: neither these nor anything below.
    const OWN: [&str; 7] = [
        "/proc",
        "/sys",
        "/dev",
        "/workspace",
        "/boot",
        "/tmp",
        "/run",
    ];
    /// These would hide what the sandbox needs, or show far too much; a path below them is fine.
    const WHOLE: [&str; 7] = ["/", "/etc", "/home", "/root", "/usr", "/var", "/bin"];
    if OWN.iter().any(|own| path.starts_with(own)) {
        Some("the sandbox has its own")
    } else if WHOLE.iter().any(|whole| path == Path::new(whole)) {
        Some("that would show or hide far more than one tool needs")
    } else {
        None
    }
}

fn expose(shown: &str, fact: Option<&ExposeFact>, place: Pointer) -> Result<PathBuf, Problem> {
    let name = text::escape(shown);
    match fact {
        None => Err(Problem::new(
            ProblemCode::ExposeMissing,
            place,
            format!("there is no `{name}` on the host"),
        )
        .help("take it out, or name a path that exists")),
        Some(ExposeFact::NoHome) => Err(Problem::new(
            ProblemCode::ExposeMissing,
            place,
            format!("`{name}` begins with `~`, and no home directory is known"),
        )
        .help("set HOME, or write the absolute path")),
        Some(ExposeFact::Missing(path)) => Err(Problem::new(
            ProblemCode::ExposeMissing,
            place,
            format!("there is no `{name}` on the host"),
        )
        .note(format!("looked at {}", path.display()))
        .help("take it out, or name a path that exists")),
        Some(ExposeFact::Unreadable(why)) => Err(Problem::new(
            ProblemCode::ExposeUnreadable,
            place,
            format!("`{name}` cannot be looked at: {why}"),
        )
        .help("make it readable for you, or take it out")),
        Some(ExposeFact::Found {
            path,
            touches_state,
        }) => {
            let why = match touches_state {
                true => Some("pyro's own state lies there"),
                false => refused(path),
            };
            match why {
                None => Ok(path.clone()),
                Some(why) => Err(Problem::new(
                    ProblemCode::ExposeRefused,
                    place,
                    format!("`{name}` cannot be exposed: {why}"),
                )
                .help("expose the one directory that is needed, such as `~/.rustup`")),
            }
        }
    }
}

/// Each path once, and none that lies below another.
fn without_repeats(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let covered = (paths.iter().enumerate())
            .any(|(other, wide)| other != index && path.starts_with(wide) && path != wide);
        if !covered && !kept.contains(path) {
            kept.push(path.clone());
        }
    }
    kept
}
