//! A plan that was looked at and approved: kept in a file, and run exactly as it is, or not at all.
//!
//! ```text
//!  document --plan--> SavedPlan --write--> FILE --load--> SavedPlan --check--> Plan --apply--> Receipt
//!                                           |                          |
//!                                    damaged: refused        stale: refused, each input named
//! ```
//! The planner is pure, so nothing that runs is read from the file: the request in it is planned anew, on inputs that
//! were compared with those of the file one by one, and what comes out must be what the file shows.

mod error;
mod stale;

pub use error::SavedError;
pub use stale::{Change, Stale};

use crate::execute::{Event, Ran};
use crate::pipeline::{self, Error, Options};
use crate::plan::{Plan, PlannedAction, plan, seed_contents, sync_contents, to_json};
use crate::preflight::{Facts, FileFact, HostFacts, Input, InputKind, SeedFact, inputs, sync_name};
use crate::request::{Digest, Document, ParseErrors, Request, Selection, Syntax, parse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KIND: &str = "pyro-plan";
const FORMAT_VERSION: u32 = 1;
/// More than a plan of a million seed files takes.
const MAX_BYTES: u64 = 512 << 20;

/// A plan with everything that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    kind: String,
    format_version: u32,
    pyro_version: String,
    request: SavedRequest,
    vars: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_everything")]
    selection: Selection,
    base_dir: PathBuf,
    host: HostFacts,
    inputs: Vec<Input>,
    plan: Value,
    digest: Digest,
}

fn is_everything(selection: &Selection) -> bool {
    *selection == Selection::default()
}

/// The request as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedRequest {
    /// How it is called in messages.
    name: String,
    /// The file it was read from, absolute; nothing for standard input and for requests that were built.
    file: Option<PathBuf>,
    syntax: String,
    text: String,
}

impl SavedPlan {
    /// Plans a document and keeps what the plan rests on; the plan itself comes with it. `file` is where the document was read from.
    ///
    /// # Errors
    /// Everything that is wrong with the request here, or an input that changed while it was read.
    pub fn of(
        document: &Document,
        file: Option<&Path>,
        options: &Options,
    ) -> Result<(Self, Plan), Error> {
        let saved = |error| Error::Saved(error);
        let base_dir = std::path::absolute(&options.base_dir)
            .map_err(|source| saved(SavedError::base(&options.base_dir, source)))?;
        let file = file.map(std::path::absolute).transpose();
        let file = file.map_err(|source| saved(SavedError::base(&base_dir, source)))?;
        let mut made = Self {
            kind: KIND.to_owned(),
            format_version: FORMAT_VERSION,
            pyro_version: env!("CARGO_PKG_VERSION").to_owned(),
            request: SavedRequest {
                name: options.source.clone(),
                file,
                syntax: match document.syntax {
                    Syntax::Toml => "toml".to_owned(),
                    Syntax::Json => "json".to_owned(),
                },
                text: document.text.clone(),
            },
            vars: options.vars.clone(),
            selection: options.selection.clone(),
            base_dir,
            host: HostFacts::default(),
            inputs: Vec::new(),
            plan: Value::Null,
            digest: Digest([0; 32]),
        };
        let now = made.look(options)?;
        let unsteady = unsteady(&now.facts, &now.inputs).or_else(|| made.other_text(&now.inputs));
        if let Some(name) = unsteady {
            return Err(saved(SavedError::Unsteady { name }));
        }
        let planned = plan(&now.request, &now.facts, &made.request.name).map_err(Error::Plan)?;
        made.host = now.facts.host;
        made.inputs = now.inputs;
        made.plan = to_json(&planned);
        let data = serde_json::to_value(&made);
        let data = data.map_err(|source| saved(SavedError::Data { source }))?;
        made.digest = of_all_else(data);
        Ok((made, planned))
    }

    /// Plans a request that was built in Rust, and keeps what the plan rests on.
    ///
    /// # Errors
    /// As [`SavedPlan::of`].
    pub fn of_request(request: &Request, options: &Options) -> Result<(Self, Plan), Error> {
        Self::of(&Document::of(&options.source, request), None, options)
    }

    /// The plan as data, as `pyro plan --json` prints it.
    pub fn plan(&self) -> &Value {
        &self.plan
    }

    /// What the plan rests on, sorted.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Of all that is kept.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The request, and the text that it was read from.
    ///
    /// # Errors
    /// Where this pyro cannot read it.
    pub fn request(&self) -> Result<(Request, Document), ParseErrors> {
        let syntax = match self.request.syntax.as_str() {
            "json" => Syntax::Json,
            _ => Syntax::Toml,
        };
        parse(&self.request.name, self.request.text.as_bytes(), syntax)
    }

    /// Writes it to a file, which must be new or hold a saved plan.
    ///
    /// # Errors
    /// Where something else is there, or the disk refuses.
    pub fn save(&self, path: &Path) -> Result<(), SavedError> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() || (meta.len() > 0 && load(path).is_err()) => {
                return Err(SavedError::Taken { path: path.into() });
            }
            Ok(_) | Err(_) => {}
        }
        if let Some(input) = self.around(path) {
            return Err(SavedError::Inside {
                path: path.into(),
                input: format!("the {} `{}`", input.kind.as_str(), input.name.lossy()),
            });
        }
        let text = serde_json::to_value(self).map_err(|source| SavedError::Data { source })?;
        crate::workspace::replace_file(path, format!("{text:#}\n").as_bytes()).map_err(|source| {
            SavedError::Write {
                path: path.into(),
                source,
            }
        })
    }

    /// The directory among the inputs that `path` lies in: the file itself would make the plan stale.
    fn around(&self, path: &Path) -> Option<&Input> {
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
        self.inputs.iter().find(|input| {
            let place = input.is.strip_prefix("directory at ");
            place.is_some_and(|place| folder.starts_with(place))
        })
    }

    /// Reads it from a file. Whether it still fits is [`SavedPlan::check`]'s question.
    ///
    /// # Errors
    /// Where there is no file, it is no saved plan of this version, or it is not as it was written.
    pub fn load(path: &Path) -> Result<Self, SavedError> {
        let value = load(path)?;
        let damaged = |why: String| SavedError::Damaged {
            path: path.into(),
            why,
        };
        let computed = of_all_else(value.clone());
        let saved: Self =
            serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        if computed != saved.digest {
            return Err(damaged(
                "its contents are not those that its digest was made of".to_owned(),
            ));
        }
        Ok(saved)
    }

    /// The plan to run: the one that was saved. Nothing but the state directory is taken from `options`.
    ///
    /// # Errors
    /// Every input that is not what it was.
    pub fn check(&self, options: &Options) -> Result<Plan, Error> {
        let mut now = self.look(options)?;
        let stale = |changes| Error::Saved(SavedError::Stale(changes));
        if let Some(changes) = Stale::between(&self.inputs, &now.inputs) {
            return Err(stale(changes));
        }
        // Free space changes by the minute. What was approved is a limit, and it stays that limit.
        let host = std::mem::take(&mut now.facts.host);
        now.facts.host = HostFacts {
            disk_free: self.host.disk_free,
            ..host.clone()
        };
        let mut planned =
            plan(&now.request, &now.facts, &self.request.name).map_err(Error::Plan)?;
        if to_json(&planned) != self.plan {
            return Err(stale(Stale::of_hosts(&self.host, &host)));
        }
        if let Some(seed) = &mut planned.workspace.seed {
            // An archive is compared whole, by its digest.
            seed.contents = (seed.archive.is_none()).then(|| seed_contents(&self.inputs));
        }
        for step in &mut planned.steps {
            let PlannedAction::Sync(sync) = &mut step.action else {
                continue;
            };
            let source = &mut sync.source;
            if let Some(SeedFact::Directory(listing)) =
                now.facts.sync(&source.shown, &source.exclude)
                && listing.archive.is_none()
            {
                source.contents = Some(sync_contents(&self.inputs, &source.shown, listing));
            }
        }
        Ok(planned)
    }

    /// Runs exactly what was saved, and tells `on_event` as it happens.
    ///
    /// # Errors
    /// As [`SavedPlan::check`] and [`Plan::apply`].
    pub fn apply(
        &self,
        options: &Options,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ran, Error> {
        self.check(options)?.apply(options, on_event)
    }

    /// What is there now.
    fn look(&self, options: &Options) -> Result<Look, Error> {
        let (request, _) = self.request().map_err(Error::Parse)?;
        let options = Options {
            base_dir: self.base_dir.clone(),
            vars: self.vars.clone(),
            selection: self.selection.clone(),
            state_dir: options.state_dir.clone(),
            ..Options::default()
        };
        let (request, facts) = pipeline::look(&request, &options)?;
        let mut found = inputs(&facts);
        let version = env!("CARGO_PKG_VERSION");
        found.push(Input::new(InputKind::Pyro, "version", version, None));
        let uid = facts.host.euid.to_string();
        found.push(Input::new(InputKind::Host, "user id", uid, None));
        if let Some(file) = &self.request.file {
            found.push(request_file(file));
        }
        found.sort();
        Ok(Look {
            request,
            facts,
            inputs: found,
        })
    }

    /// The request's name, where its file holds another text by now.
    fn other_text(&self, inputs: &[Input]) -> Option<String> {
        let file = inputs
            .iter()
            .find(|input| input.kind == InputKind::Request)?;
        let text = Digest::of(self.request.text.as_bytes());
        let marked = Digest::of(format!("\u{feff}{}", self.request.text).as_bytes());
        let same = file.digest == Some(text) || file.digest == Some(marked);
        (!same).then(|| self.request.name.clone())
    }
}

struct Look {
    request: Request,
    facts: Facts,
    inputs: Vec<Input>,
}

fn request_file(path: &Path) -> Input {
    let name = path.as_os_str().as_encoded_bytes();
    let (is, digest) = match std::fs::read(path) {
        Ok(bytes) => ("file".to_owned(), Some(Digest::of(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => ("nothing".to_owned(), None),
        Err(error) => (format!("unreadable: {error}"), None),
    };
    Input::new(InputKind::Request, name, is, digest)
}

/// The first file of the seed, or of what a `sync` names, that is not what the planner saw.
fn unsteady(facts: &Facts, inputs: &[Input]) -> Option<String> {
    let seed = facts.seed.as_ref();
    let seed =
        seed.and_then(|seed| unsteady_in(seed, &|path| input(inputs, InputKind::Seed, path)));
    seed.or_else(|| {
        facts.syncs.iter().find_map(|sync| {
            unsteady_in(&sync.found, &|path| {
                input(inputs, InputKind::Sync, &sync_name(&sync.from, path))
            })
        })
    })
}

fn input<'i>(inputs: &'i [Input], kind: InputKind, name: &[u8]) -> Option<&'i Input> {
    let mut all = inputs.iter();
    all.find(|input| input.kind == kind && input.name[..] == *name)
}

fn unsteady_in<'i>(
    source: &SeedFact,
    input: &dyn Fn(&[u8]) -> Option<&'i Input>,
) -> Option<String> {
    let SeedFact::Directory(listing) = source else {
        return None;
    };
    if listing.archive.is_some() {
        // Looked at once, and whole.
        return None;
    }
    let other = listing.contents.iter().find(|content| match &content.file {
        FileFact::Content(bytes) => {
            input(&content.path).and_then(|input| input.digest) != Some(Digest::of(bytes))
        }
        FileFact::Missing
        | FileFact::NotAFile(_)
        | FileFact::Unreadable(_)
        | FileFact::TooLarge(_) => false,
    });
    other.map(|content| content.path.lossy().into_owned())
}

/// The digest of everything but the digest.
fn of_all_else(mut value: Value) -> Digest {
    if let Value::Object(fields) = &mut value {
        fields.remove("digest");
    }
    Digest::of(value.to_string().as_bytes())
}

/// A file that says of itself that it is a saved plan of this version.
fn load(path: &Path) -> Result<Value, SavedError> {
    let reading = |source| SavedError::Read {
        path: path.into(),
        source,
    };
    let meta = std::fs::metadata(path).map_err(reading)?;
    if !meta.is_file() {
        return Err(reading(std::io::Error::other("it is no file")));
    }
    if meta.len() > MAX_BYTES {
        return Err(reading(std::io::Error::other("it is too large for a plan")));
    }
    let bytes = std::fs::read(path).map_err(reading)?;
    let damaged = |why: &str| SavedError::Damaged {
        path: path.into(),
        why: why.to_owned(),
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        damaged(match error.is_eof() {
            true => "it ends before it is whole",
            false => "it is no JSON",
        })
    })?;
    if value["kind"] != KIND {
        return Err(damaged(match value.get("reach") {
            Some(_) => "it is what `pyro plan --json` prints, which can be looked at but not run",
            None => "it is something else",
        }));
    }
    if value["format_version"] != FORMAT_VERSION {
        return Err(SavedError::Version {
            path: path.into(),
            found: value["format_version"].to_string(),
            by: value["pyro_version"].as_str().unwrap_or("?").to_owned(),
        });
    }
    Ok(value)
}
