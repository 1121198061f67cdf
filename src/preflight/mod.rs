//! What is there: read-only host I/O, done once. Gathers [`Facts`] and never judges; an error is a fact too.
//!
//! Whether the facts allow what was asked is the planner's question. The patch parser is used only to learn which
//! files of the seed a patch may name, so that no other contents are read.

mod archive;
mod facts;
mod file;
mod groups;
mod host;
mod inputs;
mod secret;
mod seed;
mod touched;

pub use facts::{
    ArchiveFact, EntryKind, EnvironmentFact, ExistingFact, ExportFact, ExposeFact, Facts, FileFact,
    GoldenFact, GroupFacts, GroupVersion, HostFacts, LimitFact, LivingFact, MAX_FILE, MAX_LEFT_OUT,
    MadeFact, ParentFact, PullFact, SecretFact, SecretState, SeedContent, SeedEntry, SeedFact,
    SeedLeftOut, SeedListing, SyncFact, TargetFact,
};

pub(crate) use inputs::sync_name;
pub use inputs::{Input, InputKind, inputs};

use crate::exclude::Exclude;
use crate::request::{Action, Environment, HostVariable, Request, SecretSource, Size};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What an archive may hold where the request says nothing about `disk`.
const ARCHIVE_LIMIT: u64 = 10 << 30;

/// Where the caller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Relative host paths of the request begin here: the request file's directory. Absolute.
    pub base_dir: PathBuf,
    /// Where pyro keeps its state, which no seed may contain.
    pub state_dir: PathBuf,
    /// What `~/` stands for.
    pub home: Option<PathBuf>,
}

/// Reads the host variables that `request` declares, and no others. They are facts like all others, but needed first:
/// paths may be made of them.
pub fn variables(request: &Request) -> BTreeMap<String, HostVariable> {
    let read = |name: &String| {
        let variable = match std::env::var(name) {
            Ok(text) => HostVariable::Text(text),
            Err(std::env::VarError::NotPresent) => HostVariable::Unset,
            Err(std::env::VarError::NotUnicode(_)) => HostVariable::NotText,
        };
        (name.clone(), variable)
    };
    request.env.iter().map(read).collect()
}

/// Looks at everything that `request` rests on.
pub fn gather(request: &Request, around: &Surroundings) -> Facts {
    let base = &around.base_dir;
    let mut facts = Facts {
        host: match request.existing {
            Some(_) => host::caller(around),
            None => host::host(around),
        },
        ..Facts::default()
    };
    for from in touched::from_files(request) {
        let file = file::read(&base.join(from));
        facts.from.insert(from.to_owned(), file);
    }
    let workspace = &request.workspace;
    let copies = workspace.seed.is_some()
        || (request.selected()).any(|(_, step)| matches!(step.action, Action::Sync(_)));
    let touched = match copies {
        true => touched::guest_paths(request, &facts.from),
        false => BTreeSet::new(),
    };
    let limit = workspace.disk.map_or(ARCHIVE_LIMIT, Size::as_bytes);
    let source = |path: &str, exclude: &Exclude, touched: &BTreeSet<Vec<u8>>| {
        let path = base.join(path);
        archive::listing(&path, exclude, touched, limit)
            .unwrap_or_else(|| seed::walk(&path, exclude, touched, around))
    };
    if let Some(seed) = &workspace.seed {
        let exclude = Exclude::new(&workspace.exclude, workspace.respect_gitignore);
        facts.seed = Some(source(seed, &exclude, &touched));
    }
    for ((from, exclude), touched) in syncs(request, &touched) {
        facts.syncs.push(SyncFact {
            from: from.to_owned(),
            exclude: exclude.to_vec(),
            found: source(from, &Exclude::new(exclude, false), &touched),
        });
    }
    match &request.workspace.environment {
        Environment::Host => {}
        Environment::Dir(path) => {
            facts.environment = Some(host::environment(&base.join(path), around));
        }
    }
    for path in &request.workspace.expose {
        facts
            .expose
            .insert(path.clone(), host::expose(path, around));
    }
    for (name, source) in &request.workspace.secrets {
        facts
            .secrets
            .insert(name.clone(), secret::look(source, around));
    }
    for golden in touched::goldens(request) {
        let fact = GoldenFact {
            place: host::export(base, golden),
            content: file::read(&base.join(golden)),
        };
        facts.goldens.insert(golden.to_owned(), fact);
    }
    for (_, step) in request.selected() {
        if let Action::Export(export) = &step.action {
            let fact = host::export(base, &export.to);
            facts.exports.insert(export.to.clone(), fact);
        }
    }
    for (_, step) in request.selected() {
        if let Action::Pull(pull) = &step.action {
            let fact = host::pull(&base.join(&pull.to), around);
            facts.pulls.insert(pull.to.clone(), fact);
        }
    }
    let repository = host::repository(base);
    let seed = request.workspace.seed.iter();
    let named = seed.chain(facts.from.keys()).chain(facts.exports.keys());
    let named = named.chain(facts.syncs.iter().map(|sync| &sync.from));
    let named = named.chain(facts.pulls.keys());
    facts.outside = named
        .filter(|path| !host::resolve(&base.join(path)).0.starts_with(&repository))
        .cloned()
        .collect();
    for (name, source) in &request.workspace.secrets {
        let path = facts.secrets.get(name).and_then(|fact| fact.path.as_ref());
        if let (Some(path), SecretSource::File(shown)) = (path, source)
            && !host::resolve(path).0.starts_with(&repository)
        {
            facts.outside.insert(shown.clone());
        }
    }
    facts
}

/// What a `sync` step names, and what it leaves out of that.
type Source<'r> = (&'r str, &'r [String]);

/// What `sync` steps name: each source once for each list of exclusions, with the paths in it that steps speak of.
fn syncs<'r>(
    request: &'r Request,
    touched: &BTreeSet<Vec<u8>>,
) -> BTreeMap<Source<'r>, BTreeSet<Vec<u8>>> {
    let mut all: BTreeMap<Source<'_>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (_, step) in request.selected() {
        if let Action::Sync(sync) = &step.action {
            let known = all.entry((&sync.from, &sync.exclude)).or_default();
            known.append(&mut touched::below(touched, &sync.to));
        }
    }
    all
}

#[cfg(test)]
mod tests;
