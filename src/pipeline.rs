//! From a request to a receipt: the one way that every surface goes.

use crate::execute::{Event, ExecuteError, Goldens, Ran, execute};
use crate::living::{self, LivingError};
use crate::machine::{Cancel, Spare};
use crate::plan::{GoldenUse, Plan, PlannedSecret, PlannedSecretSource, Problems, plan_with};
use crate::preflight::{self, Facts, SecretFact, SecretState, Surroundings};
use crate::request::{
    Combination, ErrorCode, ParseErrors, Pointer, ReferenceError, Request, RequestBuilder,
    Selection, Values, canonical_json, fill_in, resolve, with_absolute_paths,
};
use crate::saved::SavedError;
use crate::secret::{self, Secret, Secrets};
use crate::workspace::{StateDir, StateError};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a request does not say itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// Relative host paths of the request begin here; the current directory by default.
    pub base_dir: PathBuf,
    /// Values for the request's variables.
    pub vars: BTreeMap<String, String>,
    /// Where runs and receipts lie; see [`StateDir::open`].
    pub state_dir: Option<PathBuf>,
    /// How the request is called in messages, plans and receipts; `request` by default.
    pub source: String,
    /// Ends the run early.
    pub cancel: Option<Cancel>,
    /// The combination that runs, of a request with a matrix; see [`Request::combinations`].
    pub matrix: Combination,
    /// Which steps run; all by default.
    pub selection: Selection,
    /// What is done about texts that differ from their goldens; by default their expectations fail.
    pub goldens: Goldens,
    /// Values of secrets that the caller holds, by name: whatever the request says, they come from here.
    pub secrets: BTreeMap<String, Secret>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base_dir: PathBuf::from("."),
            vars: BTreeMap::new(),
            state_dir: None,
            source: "request".to_owned(),
            cancel: None,
            matrix: Combination::default(),
            selection: Selection::default(),
            goldens: Goldens::compare(),
            secrets: BTreeMap::new(),
        }
    }
}

/// Whether this is a CI system's environment, by the variable that all of them set.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| {
        let value = value.to_string_lossy().to_lowercase();
        !matches!(&*value, "" | "0" | "false" | "no" | "off")
    })
}

/// Why a request came to no receipt. A step that failed is no error: see [`crate::receipt::Receipt::outcome`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong.
    #[error("read the request")]
    Parse(#[source] ParseErrors),
    /// It refers to something that does not exist.
    #[error("fill in the request's variables")]
    References(#[source] References),
    /// It cannot work on this host.
    #[error("plan the request")]
    Plan(#[source] Problems),
    /// The plan is not saved, or the saved one must not run.
    #[error(transparent)]
    Saved(SavedError),
    /// Goldens are to be written in a CI system, where nobody looks at them.
    #[error("write goldens where `CI` is set")]
    GoldensInCi,
    /// The state directory refuses.
    #[error("open pyro's state directory")]
    State(#[source] StateError),
    /// The process has no descriptors left.
    #[error("make a way to cancel the run")]
    Cancel(#[source] io::Error),
    /// A secret has no value.
    #[error("use the secret `{name}`: it {why}")]
    Secret {
        /// Which.
        name: String,
        /// Why.
        why: secret::ReadError,
    },
    /// There are more secrets than can be looked for.
    #[error("use the secrets: {0}")]
    Secrets(String),
    /// The workspace that lives cannot be used.
    #[error(transparent)]
    Living(LivingError),
    /// The run could not begin, or its receipt not be written.
    #[error("run the request")]
    Execute(#[source] ExecuteError),
}

/// Every reference that leads nowhere, in the order of the document. Never empty.
#[derive(Debug)]
pub struct References(Vec<ReferenceError>);

impl From<Vec<ReferenceError>> for References {
    fn from(errors: Vec<ReferenceError>) -> Self {
        Self(errors)
    }
}

impl References {
    /// In the order of the document.
    pub fn as_slice(&self) -> &[ReferenceError] {
        &self.0
    }
}

impl fmt::Display for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for References {}

impl Request {
    /// What will happen, exactly; nothing is started and nothing changed.
    ///
    /// # Errors
    /// Everything that is wrong with the request here, at once.
    pub fn plan(&self, options: &Options) -> Result<Plan, Error> {
        if options.goldens.usage() == GoldenUse::Write && in_ci() {
            return Err(Error::GoldensInCi);
        }
        let (resolved, facts) = look(self, options)?;
        let source = named(&options.source, &options.matrix);
        plan_with(&resolved, &facts, &source, options.goldens.usage()).map_err(Error::Plan)
    }

    /// The request with its variables filled in, those of the host too: a request of its own, which plans to the same.
    /// References to what steps capture stay, and so do those to a matrix, for it still runs once for each combination.
    ///
    /// # Errors
    /// Every reference that leads nowhere, every value that does not fit its place, and every text in which a value
    /// that ends in `$` stands right before a reference that stays.
    pub fn resolved(&self, vars: &BTreeMap<String, String>) -> Result<Self, Error> {
        let values = Values {
            vars: vars.clone(),
            env: Some(preflight::variables(self)),
            matrix: Combination::default(),
        };
        fill_in(self, &values).map_err(|errors| Error::References(errors.into()))
    }
}

/// How a combination of a request is called in messages.
pub(crate) fn named(source: &str, combination: &Combination) -> String {
    match combination.is_empty() {
        true => source.to_owned(),
        false => format!("{source} [{combination}]"),
    }
}

/// Why the combination is none of the request's matrix.
fn no_combination(request: &Request, combination: &Combination) -> Option<ReferenceError> {
    let fits = combination.0.len() == request.matrix.len()
        && combination.0.iter().all(|(name, value)| {
            let values = request.matrix.get(name);
            values.is_some_and(|values| values.contains(value))
        });
    if fits {
        return None;
    }
    let message = match combination.is_empty() {
        true => "the request has a matrix, so it runs once for each combination".to_owned(),
        false => format!("the matrix has no combination `{combination}`"),
    };
    Some(ReferenceError {
        code: ErrorCode::BadReference,
        message,
        pointer: Pointer::default().at("matrix"),
        label: String::new(),
        help: Some("a plan is of one combination; `pyro apply` runs all of them".to_owned()),
        valid_here: request
            .combinations()
            .take(20)
            .map(|combination| combination.to_string())
            .collect(),
    })
}

/// The request with its variables filled in, and what is there.
pub(crate) fn look(request: &Request, options: &Options) -> Result<(Request, Facts), Error> {
    let request = &request
        .select(&options.selection)
        .map_err(|errors| Error::References(errors.into()))?;
    if let Some(error) = no_combination(request, &options.matrix) {
        return Err(Error::References(vec![error].into()));
    }
    let variables = preflight::variables(request);
    let values = Values {
        vars: options.vars.clone(),
        env: Some(variables.clone()),
        matrix: options.matrix.clone(),
    };
    let resolved = resolve(request, &values).map_err(|errors| Error::References(errors.into()))?;
    let around = Surroundings {
        base_dir: std::path::absolute(&options.base_dir)
            .unwrap_or_else(|_| options.base_dir.clone()),
        state_dir: StateDir::place(options.state_dir.as_deref()).map_err(Error::State)?,
        home: std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute()),
    };
    let mut facts = preflight::gather(&resolved, &around);
    facts.variables = variables;
    for name in options.secrets.keys() {
        if let Some(fact) = facts.secrets.get_mut(name) {
            *fact = SecretFact {
                path: None,
                literal: true,
                state: SecretState::Ready,
            };
        }
    }
    if let Some(name) = &resolved.existing {
        let noted = || {
            // With its references escaped, as it would have been written without variables; where that cannot be, as
            // it is.
            let filled = fill_in(request, &values).unwrap_or_else(|_| resolved.clone());
            canonical_json(&with_absolute_paths(&filled, &around.base_dir))
        };
        facts.existing = Some(living::look(options.state_dir.as_deref(), name, noted));
    }
    Ok((resolved, facts))
}

impl Plan {
    /// Does what the plan says, and tells `on_event` as it happens.
    ///
    /// # Errors
    /// Where nothing could be started, or no receipt be written.
    pub fn apply(
        &self,
        options: &Options,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ran, Error> {
        match self.workspace.existing {
            // It has its machine.
            Some(_) => self.apply_living(options, on_event),
            None => self.apply_with(Spare::begin(), options, on_event),
        }
    }

    /// As [`Plan::apply`], in a sandbox that somebody has begun to start.
    ///
    /// # Errors
    /// As [`Plan::apply`].
    pub fn apply_with(
        &self,
        spare: Spare,
        options: &Options,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ran, Error> {
        if self.workspace.existing.is_some() {
            drop(spare);
            return self.apply_living(options, on_event);
        }
        let secrets = self.secrets(options)?;
        let state = StateDir::open(options.state_dir.as_deref()).map_err(Error::State)?;
        let cancel = cancel(options)?;
        let goldens = &options.goldens;
        execute(self, &state, &cancel, spare, goldens, &secrets, on_event).map_err(Error::Execute)
    }

    /// The values of the secrets of the workspace that it makes, read now.
    ///
    /// # Errors
    /// Where one has none that can be used.
    pub(crate) fn secrets(&self, options: &Options) -> Result<Secrets, Error> {
        let read = |planned: &PlannedSecret| {
            let name = planned.name.clone();
            let read = match &planned.from {
                PlannedSecretSource::Literal => {
                    let value = options.secrets.get(&name).cloned();
                    value.ok_or_else(|| secret::ReadError::NotSet(name.clone()))
                }
                PlannedSecretSource::Variable(variable) => secret::variable(variable),
                PlannedSecretSource::File(path) => secret::file(path),
                // Its folder has it, and whoever runs the plan in it reads that.
                PlannedSecretSource::Kept => return None,
            };
            Some(match read {
                Ok(value) => Ok((name, value)),
                Err(why) => Err(Error::Secret { name, why }),
            })
        };
        let values = self.workspace.secrets.iter().filter_map(read);
        Secrets::new(values.collect::<Result<_, _>>()?).map_err(Error::Secrets)
    }

    /// In the workspace that it names.
    fn apply_living(
        &self,
        options: &Options,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ran, Error> {
        let cancel = cancel(options)?;
        let workspaces = living::reopen(options.state_dir.as_deref());
        workspaces
            .and_then(|mut all| all.run(self, &cancel, &options.goldens, on_event))
            .map_err(Error::Living)
    }
}

fn cancel(options: &Options) -> Result<Cancel, Error> {
    let given = options.cancel.clone();
    given.map_or_else(Cancel::new, Ok).map_err(Error::Cancel)
}

impl RequestBuilder {
    /// The plan for this host; relative paths begin in the current directory.
    ///
    /// # Errors
    /// Everything that is wrong with the request here, at once.
    pub fn plan(self) -> Result<Plan, Error> {
        self.build()
            .map_err(Error::Parse)?
            .plan(&Options::default())
    }

    /// Runs the request and says what happened; relative paths begin in the current directory.
    ///
    /// # Errors
    /// Where the request is wrong, or nothing could be started.
    pub fn apply(self) -> Result<Ran, Error> {
        self.plan()?.apply(&Options::default(), &mut |_| {})
    }

    /// As [`RequestBuilder::apply`], with relative paths beginning at `base_dir`.
    ///
    /// # Errors
    /// Where the request is wrong, or nothing could be started.
    pub fn apply_in(self, base_dir: impl AsRef<Path>) -> Result<Ran, Error> {
        let options = Options {
            base_dir: base_dir.as_ref().to_owned(),
            ..Options::default()
        };
        let request = self.build().map_err(Error::Parse)?;
        request.plan(&options)?.apply(&options, &mut |_| {})
    }
}
