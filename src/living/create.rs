//! A workspace is made: its folder, its files, its entry in the registry, its machine.
//!
//! ```text
//!  folder, locked -> entry `creating` -> files, baseline -> keeper -> baseline of the system tree -> complete -> `started`
//! ```
//! Whatever fails or is killed before the end: nothing is left, now or after the next command.

use super::admit::Need;
use super::ask::ask;
use super::made::Made;
use super::recipe::recipe;
use super::{LivingError, Workspaces};
use crate::execute::{chain, fill_living};
use crate::keeper;
use crate::plan::Plan;
use crate::request::{Duration, Request, canonical_json, with_absolute_paths};
use crate::secret::Secrets;
use crate::workspace::registry::{
    NewWorkspace, Record, Resources, SecretRecord, SeedMode, SeedRecord, WorkspaceId,
};
use crate::workspace::{Home, Lifecycle};
use pyro_protocol::message::{Op, TreeMark};
use std::path::Path;

/// How long a workspace lives after it was used, where nobody says.
const DEFAULT_TTL: Duration = Duration::from_millis(8 * 3_600_000);
const MIB: u64 = 1 << 20;

/// What shall be made.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The request that says it; it has no steps.
    pub request: &'a Request,
    /// Its plan.
    pub plan: &'a Plan,
    /// Where its relative paths begin.
    pub base_dir: &'a Path,
    /// The values of its secrets.
    pub secrets: &'a Secrets,
}

impl Workspaces {
    /// Makes a workspace and starts it.
    ///
    /// # Errors
    /// Where the host cannot hold it, the seed cannot be copied, or the machine not be made. Nothing is left of it.
    pub fn create(&mut self, asked: Asked<'_>) -> Result<Record, LivingError> {
        self.sweep()?;
        let (home, lifecycle) = self.state.new_home()?;
        let Some(id) = WorkspaceId::parse(home.id()) else {
            unreachable!("homes are named by ids");
        };
        let made = self.make(&home, &lifecycle, &id, asked);
        if made.is_err() {
            self.undo(home, lifecycle, &id)?;
        }
        made
    }

    /// Takes back what there is of a workspace that could not be made.
    pub(super) fn undo(
        &mut self,
        home: Home,
        lifecycle: Lifecycle,
        id: &WorkspaceId,
    ) -> Result<(), LivingError> {
        // What cannot be removed now, the next command removes.
        let gone = keeper::stop(&home, &lifecycle)
            .map_err(LivingError::from)
            .and_then(|_| Ok(home.remove(lifecycle)?));
        if let Err(error) = gone {
            log::warn!("{}", chain(&error));
        }
        Ok(self.registry.remove(id)?)
    }

    fn make(
        &mut self,
        home: &Home,
        lifecycle: &Lifecycle,
        id: &WorkspaceId,
        asked: Asked<'_>,
    ) -> Result<Record, LivingError> {
        let Asked {
            request,
            plan,
            base_dir,
            secrets,
        } = asked;
        let ttl = request.workspace.ttl.unwrap_or(DEFAULT_TTL);
        let now = Self::now();
        let base = std::path::absolute(base_dir).unwrap_or_else(|_| base_dir.to_owned());
        let new = NewWorkspace {
            id: id.clone(),
            name: plan.workspace.name.clone(),
            labels: plan.workspace.labels.clone(),
            environment: plan.workspace.environment_shown.clone(),
            seed: planned_seed(plan),
            resources: resources(request, plan),
            ttl_ms: ttl.as_millis(),
            network_policy: "off".to_owned(),
            execution_mode: "namespace".to_owned(),
            secrets: (plan.workspace.secrets.iter())
                .map(|secret| SecretRecord {
                    name: secret.name.clone(),
                    source_kind: secret.from.kind().to_owned(),
                })
                .collect(),
            created_at: now,
            request: canonical_json(&with_absolute_paths(request, &base)),
        };
        self.let_in(&new, Need::of(plan))?;
        home.write_secrets(secrets, lifecycle)?;
        home.write_recipe(&recipe(plan, ttl), lifecycle)?;
        Made::of(plan).write(home)?;
        let starting = keeper::begin(home, lifecycle)?;
        // Meanwhile the machine is made.
        fill_living(plan, home, starting.ids()).map_err(LivingError::Fill)?;
        let started = starting.ready()?;
        let op = Op::TreeMark(TreeMark {
            name: "baseline".to_owned(),
            contents: true,
            system: true,
        });
        ask(home, op)?;
        home.complete(lifecycle)?;
        // Last: what is `started` is complete, and nobody who comes by takes it for half made.
        self.note_started(home, id, &started)?;
        Ok(self.registry.record(id)?)
    }
}

fn planned_seed(plan: &Plan) -> SeedRecord {
    let Some(seed) = &plan.workspace.seed else {
        return SeedRecord::EMPTY;
    };
    SeedRecord {
        mode: match seed.archive {
            Some(_) => SeedMode::TarArchive,
            None => SeedMode::Directory,
        },
        path: Some(seed.path.display().to_string()),
        entry_count: seed.files + seed.others,
        bytes_written: seed.bytes,
    }
}

fn resources(request: &Request, plan: &Plan) -> Resources {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = request
        .workspace
        .cpus
        .map_or(cores as u64, |cpus| cpus.as_millis().div_ceil(1000).max(1));
    Resources {
        vcpu_count: u32::try_from(cpus).unwrap_or(u32::MAX),
        mem_mib: u32::try_from(plan.workspace.limits.memory / MIB).unwrap_or(u32::MAX),
    }
}
