//! Doing it: replays a plan against a machine and writes down what happened. Decides nothing.
//!
//! ```text
//!  sweep -> run folder -> seed -> boot -> step, step, ... -> changes -> stop -> remove -> receipt
//!             |                     |              |
//!             `---------------------`--------------`--- anything that breaks: Lost, and still a receipt
//! ```
//!
//! Steps run one after the other on purpose: step 3 may read what step 2 wrote, and nobody should have to wonder.

mod attempt;
mod calls;
mod capture;
mod changes;
mod deliver;
mod event;
mod exec;
mod expect;
mod files;
mod golden;
pub(crate) mod hide;
mod living;
mod output;
mod points;
mod pull;
mod redact;
mod search;
mod session;
mod show;
mod sync;

pub use event::{Event, Stream};
pub use golden::{GoldenChange, Goldens, Verdict};
pub use living::{Living, execute_in};
pub(crate) use points::{STEP as STEP_MARK, resets_noted, step_mark};
pub use show::summary;

use crate::exclude::Exclude;
use crate::machine::{
    self, Booting, Cancel, IdRangeLock, Link, LinkError, MachineError, Namespace, Spare,
};
use crate::plan::{
    PinnedKind, Plan, PlannedAction, PlannedEnvironment, PlannedKeep, PlannedStep, contents,
};
use crate::receipt::{
    ChangeReport, EnvironmentReport, KeptReport, Outcome, Receipt, RequestReport, SeedReport,
    StepReport, WorkspaceReport,
};
use crate::request::Digest;
use crate::secret::Secrets;
use crate::workspace::{
    Baseline, GroupError, Home, IfMissing, KeepContents, KeptNote, NewGroup, RunDir, Seed,
    SeedError, StateDir, StateError, Swept, Timestamp,
};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, Confine, Ids};
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::Kind;
use session::{Session, StepError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Why a plan was not executed to its end. Where a run had begun, its receipt says so too.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The state directory refuses.
    #[error("use pyro's state directory")]
    State(#[source] StateError),
    /// The receipt cannot be written.
    #[error("write the receipt {}", path.display())]
    WriteReceipt {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Why a machine that should be there is not.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("find ids for the sandbox")]
    Ids(#[source] io::Error),
    #[error("limit the sandbox")]
    Group(#[source] GroupError),
    #[error("fill the workspace")]
    Seed(#[source] SeedError),
    #[error(
        "fill the workspace: the seed is not the one that was planned; somebody changed it meanwhile"
    )]
    OtherSeed,
    #[error("read the workspace's baseline")]
    Baseline(#[source] io::Error),
    #[error(transparent)]
    Boot(MachineError),
    #[error("reach the agent")]
    Link(#[source] LinkError),
    #[error("finish the run")]
    Died(#[source] LinkError),
}

/// What a run left to look at.
#[derive(Debug)]
pub struct Ran {
    /// What happened.
    pub receipt: Receipt,
    /// Where the receipt was written.
    pub path: PathBuf,
    /// Its place in the history of a workspace that lives.
    pub sequence: Option<u64>,
}

/// Executes a plan in the sandbox that `spare` becomes, with the values of its secrets. Everything that happens is told to
/// `on_event` as it happens, and is in the receipt afterwards, without secrets.
///
/// # Errors
/// Where nothing could be started or the receipt not be written. A failed step, a cancelled run and a machine that
/// died are no errors: they are outcomes in the receipt.
pub fn execute(
    plan: &Plan,
    state: &StateDir,
    cancel: &Cancel,
    spare: Spare,
    goldens: &Goldens,
    secrets: &Secrets,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Ran, ExecuteError> {
    let started = Timestamp::now();
    let clock = Instant::now();
    let plan = &*hide::plan(plan, secrets.redaction());
    let phase = |what: &str| log::debug!("{what} after {:?}", clock.elapsed());
    let swept = state.sweep(started).map_err(ExecuteError::State)?;
    phase("swept");
    if swept != Swept::default() {
        on_event(Event::Swept(swept));
    }
    let run = state.new_run().map_err(ExecuteError::State)?;
    log::debug!("run {} in {}", run.id(), run.path().display());
    let booting = begin(plan, &run, spare);
    phase("zygote told");
    // Meanwhile the sandbox is made.
    let folder = state
        .new_receipt(started, run.id())
        .map_err(ExecuteError::State)?;
    state.thin_receipts().map_err(ExecuteError::State)?;
    let mut progress = Progress::new(plan, secrets, clock);
    on_event(Event::Started {
        plan,
        redaction: secrets.redaction(),
    });
    let ending =
        booting.and_then(|booting| progress.run(booting, &run, &folder, cancel, goldens, on_event));
    let ending = ending
        .map_err(|lost| progress.lost = Some(chain(&lost)))
        .ok();
    progress.not_run(on_event);
    let mut receipt = progress.receipt(run.id().to_owned(), started, clock);
    let path = folder.join("receipt.json");
    let write = |receipt: &Receipt| {
        receipt.write(&path).map_err(|source| {
            let path = path.clone();
            ExecuteError::WriteReceipt { path, source }
        })
    };
    // Written while the sandbox ends.
    let written = write(&receipt);
    phase("receipt written");
    let mut ended = true;
    if let Some((machine, range)) = ending {
        if let Err(error) = machine.stop().map_err(Lost::Boot) {
            ended = false;
            receipt.outcome = Outcome::Lost;
            receipt.lost.get_or_insert_with(|| chain(&error));
            write(&receipt)?;
        }
        drop(range);
    }
    phase("sandbox ended");
    if let Some(report) = keep(plan, state, &run, &receipt, ended) {
        receipt.kept = Some(report);
        write(&receipt)?;
        phase("workspace kept");
    }
    run.remove().map_err(ExecuteError::State)?;
    phase("run folder removed");
    written?;
    on_event(Event::Ended {
        receipt: &receipt,
        path: &path,
    });
    Ok(Ran {
        receipt,
        path,
        sequence: None,
    })
}

/// Keeps the work tree where the plan says so. Only once nothing runs in it any more.
fn keep(
    plan: &Plan,
    state: &StateDir,
    run: &RunDir,
    receipt: &Receipt,
    ended: bool,
) -> Option<KeptReport> {
    let PlannedKeep { always, ttl } = plan.workspace.keep?;
    if !always && receipt.outcome == Outcome::Passed {
        return None;
    }
    let now = Timestamp::now();
    let until = now.plus_millis(ttl.as_millis());
    let note = KeptNote {
        source: plan.source.clone(),
        outcome: receipt.outcome.as_str().to_owned(),
        kept_at_ms: now.as_millis(),
        until_ms: until.as_millis(),
        ..KeptNote::default()
    };
    let kept = if ended {
        // An agent that was killed may have left a write set half-done.
        machine::recover(run.path())
            .map_err(|error| format!("could not take back an unfinished write set: {error}"))
            .and_then(|_| state.keep(run, note).map_err(|error| chain(&error)))
    } else {
        Err("the sandbox did not end in time".to_owned())
    };
    let until = until.to_string();
    Some(match kept {
        Ok(kept) => KeptReport {
            path: Some(kept.tree().display().to_string()),
            until,
            bytes: kept.note.bytes,
            failed: None,
        },
        Err(failed) => KeptReport {
            path: None,
            until,
            bytes: 0,
            failed: Some(failed),
        },
    })
}

/// A sandbox that is being made, and the ids that are its own.
struct Begun {
    booting: Booting,
    ids: Ids,
    range: Option<IdRangeLock>,
}

fn begin(plan: &Plan, run: &RunDir, spare: Spare) -> Result<Begun, Lost> {
    let confine = confine(plan, run).map_err(Lost::Group)?;
    let (ids, range) = machine::ids_for_this_user().map_err(Lost::Ids)?;
    let booting = spare
        .boot(&boot(plan, run, ids, confine))
        .map_err(Lost::Boot)?;
    Ok(Begun {
        booting,
        ids,
        range,
    })
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("could not {error}");
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

struct Progress<'a> {
    plan: &'a Plan,
    secrets: &'a Secrets,
    steps: Vec<StepReport>,
    isolation: Vec<String>,
    seed: Option<SeedReport>,
    changes: Vec<ChangeReport>,
    lost: Option<String>,
    cancelled: bool,
    failed: bool,
    clock: Instant,
}

impl<'a> Progress<'a> {
    fn new(plan: &'a Plan, secrets: &'a Secrets, clock: Instant) -> Self {
        Self {
            plan,
            secrets,
            steps: Vec::new(),
            isolation: Vec::new(),
            seed: None,
            changes: Vec::new(),
            lost: None,
            cancelled: false,
            failed: false,
            clock,
        }
    }
}

impl Progress<'_> {
    /// Fills the tree, runs the steps, and lets go of the sandbox, which ends by itself from then on.
    fn run(
        &mut self,
        begun: Begun,
        run: &RunDir,
        folder: &Path,
        cancel: &Cancel,
        goldens: &Goldens,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Namespace, Option<IdRangeLock>), Lost> {
        let Begun {
            booting,
            ids,
            range,
        } = begun;
        // Nobody looks into the tree before the first step.
        let diffs = self.plan.steps.iter().any(|step| {
            matches!(
                step.action,
                PlannedAction::Diff(_)
                    | PlannedAction::Pull(_)
                    | PlannedAction::Snapshot(_)
                    | PlannedAction::Reset(_)
            )
        });
        let baselines = run.baselines();
        let keep = if diffs {
            KeepContents::Shared(&baselines)
        } else {
            KeepContents::No
        };
        let (baseline, seed) = fill(self.plan, run.path(), ids, keep)?;
        self.seed = seed;
        self.phase("workspace filled");
        // Greeted before it is there: its answer is the first thing that it says.
        let stream = booting.link().try_clone();
        let link = stream.map_err(LinkError::Socket).and_then(Link::open);
        // Where both failed, this one says why.
        let machine = booting.ready().map_err(Lost::Boot)?;
        self.isolation = isolation(ids, &machine.ready().notes);
        let link = link.map_err(Lost::Link)?;
        self.phase("agent answers");
        let mut session = Session::new(link, self.plan, run, folder, cancel, &baseline);
        session.goldens = goldens.clone();
        session.secrets = self.secrets.clone();
        self.all_steps(&mut session, cancel, on_event);
        if self.lost.is_none() {
            match session.changes() {
                Ok(changes) => self.changes = changes.iter().map(ChangeReport::from).collect(),
                Err(StepError::Lost(error)) => self.lost = Some(chain(&Lost::Died(error))),
                Err(StepError::Cancelled) => self.cancelled = true,
                Err(StepError::Refused(refusal)) => {
                    self.isolation
                        .push(format!("changes are not known: {}", refusal.message));
                }
            }
        }
        self.phase("changes known");
        drop(session);
        machine.let_go();
        Ok((machine, range))
    }

    fn all_steps(
        &mut self,
        session: &mut Session<'_>,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) {
        for step in &self.plan.steps {
            let skipped = self.lost.is_some() || self.cancelled || (self.failed && !step.always);
            if skipped || cancel.is_cancelled() {
                self.cancelled |= cancel.is_cancelled();
                let report = self.passed_over(step);
                on_event(Event::StepEnded {
                    step,
                    report: &report,
                });
                self.steps.push(report);
                continue;
            }
            on_event(Event::StepStarted { step });
            let report = self.step(session, step, on_event);
            on_event(Event::StepEnded {
                step,
                report: &report,
            });
            self.phase(&format!("step {} ended", step.label()));
            for (name, value) in &report.captures {
                let key = (step.number - 1, name.clone());
                session.captured.insert(key, value.clone());
            }
            self.steps.push(report);
        }
    }

    fn phase(&self, what: &str) {
        log::debug!("{what} after {:?}", self.clock.elapsed());
    }

    /// Reports the steps that were never reached.
    fn not_run(&mut self, on_event: &mut dyn FnMut(Event<'_>)) {
        for step in self.plan.steps.iter().skip(self.steps.len()) {
            let report = self.passed_over(step);
            on_event(Event::StepEnded {
                step,
                report: &report,
            });
            self.steps.push(report);
        }
    }

    fn passed_over(&self, step: &PlannedStep) -> StepReport {
        let mut report = show::not_run(step);
        report.hide(self.secrets.redaction());
        report
    }

    fn receipt(self, run: String, started: Timestamp, clock: Instant) -> Receipt {
        let redaction = self.secrets.redaction().clone();
        let workspace = &self.plan.workspace;
        let outcome = if self.lost.is_some() {
            Outcome::Lost
        } else if self.cancelled {
            Outcome::Cancelled
        } else if self.failed {
            Outcome::Failed
        } else {
            Outcome::Passed
        };
        let mut receipt = Receipt {
            format_version: 1,
            pyro_version: env!("CARGO_PKG_VERSION").to_owned(),
            run,
            request: RequestReport {
                name: self.plan.name.clone(),
                source: self.plan.source.clone(),
                matrix: self.plan.matrix.clone(),
                digest: self.plan.request_digest,
            },
            plan_digest: self.plan.digest,
            started_at: started.to_string(),
            ended_at: Timestamp::now().to_string(),
            duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            execution_mode: "namespace".to_owned(),
            isolation: self.isolation,
            environment: EnvironmentReport {
                kind: match &workspace.environment {
                    PlannedEnvironment::Host => "host".to_owned(),
                    PlannedEnvironment::Dir(_) => "dir".to_owned(),
                },
                path: match &workspace.environment {
                    PlannedEnvironment::Host => None,
                    PlannedEnvironment::Dir(path) => Some(path.display().to_string()),
                },
                expose: workspace
                    .expose
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect(),
            },
            workspace: workspace.existing.as_ref().map(|existing| WorkspaceReport {
                id: existing.id.clone(),
                name: existing.name.clone(),
            }),
            seed: self.seed,
            limits: workspace.limits_shown.clone(),
            outcome,
            left_out: self.plan.left_out.clone(),
            lost: self.lost,
            host_files: self
                .steps
                .iter()
                .flat_map(|step| step.host_files.clone())
                .collect(),
            steps: self.steps,
            changes: self.changes,
            kept: None,
        };
        receipt.hide(&redaction);
        receipt
    }
}

/// Fills the tree of a workspace that lives on; how much there is in it.
///
/// # Errors
/// Why it could not be filled, in words.
pub(crate) fn fill_living(plan: &Plan, home: &Home, ids: Ids) -> Result<(), String> {
    let keep = KeepContents::Shared(&home.baselines());
    match fill(plan, &home.run(), ids, keep) {
        Ok(_) => Ok(()),
        Err(lost) => Err(chain(&lost)),
    }
}

/// Fills the tree in a folder of the state directory as the plan says, and says what it did.
fn fill(
    plan: &Plan,
    folder: &Path,
    ids: Ids,
    keep: KeepContents<'_>,
) -> Result<(Baseline, Option<SeedReport>), Lost> {
    let owner = match ids {
        Ids::Single => None,
        Ids::Range { base } => Some(base + 1),
    };
    let seed = plan.workspace.seed.as_ref();
    let exclude = seed.map(|seed| Exclude::new(&seed.exclude, seed.respect_gitignore));
    let from = (seed.zip(exclude.as_ref())).map(|(seed, exclude)| Seed {
        path: &seed.path,
        exclude: Some(exclude),
        archive: seed.archive.map(|archive| archive.bytes),
        size: seed.bytes,
    });
    let filled = crate::workspace::fill(from, folder, owner, keep).map_err(Lost::Seed)?;
    // A plan that was approved says what the copy must be; the seed may have changed since it was compared.
    if let Some(wanted) = seed.and_then(|seed| seed.contents)
        && contents(filled.baseline.entries().iter().filter_map(pinned)) != wanted
    {
        return Err(Lost::OtherSeed);
    }
    // An archive is unpacked in the pass that hashes it.
    if filled.archive.map(Digest) != seed.and_then(|seed| seed.archive).map(|it| it.sha256) {
        return Err(Lost::OtherSeed);
    }
    let report = seed.map(|seed| SeedReport {
        entries: filled.entries,
        bytes: filled.bytes,
        ..SeedReport::planned(seed)
    });
    Ok((filled.baseline, report))
}

/// An entry of the baseline as an approved plan counts it.
fn pinned(entry: &Entry) -> Option<(&[u8], PinnedKind, [u8; 32])> {
    let kind = match entry.kind {
        Kind::File => PinnedKind::File(entry.mode),
        Kind::Directory => PinnedKind::Directory(entry.mode),
        Kind::Symlink => PinnedKind::Link,
        Kind::Other => return None,
    };
    Some((&entry.path, kind, entry.sha256))
}

/// How the workspace is kept apart, in words.
pub(crate) fn isolation(ids: Ids, notes: &[String]) -> Vec<String> {
    let who = match ids {
        Ids::Single => {
            "namespaces of an ordinary user: one id, root inside, the caller outside".to_owned()
        }
        Ids::Range { base } => format!(
            "namespaces with ids of their own: root inside is {} outside",
            base + 1
        ),
    };
    let mut lines = vec![who, "shares the host's kernel".to_owned()];
    lines.extend(notes.iter().cloned());
    lines
}

/// Makes the control groups of the run.
fn confine(plan: &Plan, run: &RunDir) -> Result<Confine, GroupError> {
    let workspace = &plan.workspace;
    let mut confine = Confine {
        processors: workspace.processors,
        ..Confine::default()
    };
    for group in &workspace.groups {
        let settings: Vec<_> = (group.settings.iter())
            .map(|setting| {
                let if_missing = match setting.optional {
                    true => IfMissing::PassOver,
                    false => IfMissing::Refuse,
                };
                (setting.file.to_owned(), setting.value.clone(), if_missing)
            })
            .collect();
        let made = run.make_group(NewGroup {
            parent: &group.parent,
            settings: &settings,
        })?;
        let file = |name| Bytes::from(made.join(name).as_os_str().as_bytes());
        confine.join.push(file(group.join));
        if let Some(events) = group.events {
            confine.events = Some(file(events));
        }
    }
    Ok(confine)
}

fn boot(plan: &Plan, run: &RunDir, ids: Ids, confine: Confine) -> Boot {
    let bytes = |path: &Path| Bytes::from(path.as_os_str().as_bytes());
    Boot {
        run_dir: bytes(run.path()),
        environment: match &plan.workspace.environment {
            PlannedEnvironment::Host => BootEnvironment::Host,
            PlannedEnvironment::Dir(path) => BootEnvironment::Dir(bytes(path)),
        },
        expose: plan
            .workspace
            .expose
            .iter()
            .map(|path| bytes(path))
            .collect(),
        hostname: plan.workspace.hostname.clone(),
        ids,
        limits: plan.workspace.limits,
        confine,
    }
}
