//! A second workspace from what another one is now.
//!
//! ```text
//!  origin: tree.mark --> baseline, packs, marks are copied --> mark.remove
//!  fork:                   `--> its machine --> tree.reset to that mark --> mark.remove
//! ```
//! No tree is copied while programs write to it: the mark holds them still for as long as it takes, and the fork is put
//! to the mark by the code that puts any workspace back (`docs/decisions/011-a-fork-is-a-reset-to-a-mark.md`). The
//! machine of a stopped workspace is made for the mark alone, and ends with it.

use super::admit::Need;
use super::ask::{ask, ask_patiently};
use super::made::Made;
use super::{LivingError, Workspaces};
use crate::keeper;
use crate::request::canonical_json;
use crate::workspace::pull::copy_pulled;
use crate::workspace::registry::{
    Command, Ended, Entry, NewWorkspace, Output, Record, SnapshotKind, SnapshotRecord, State,
    StateDetails, WorkspaceId,
};
use crate::workspace::{Home, Lifecycle, copy_past, marks, remove_unfinished};
use pyro_protocol::Bytes;
use pyro_protocol::message::{FailureCode, MarkRemove, Op, Reply, TreeMark, TreeReset};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What the mark is called that a fork is made from; its id follows.
const MARK: &str = "fork-";

/// How a fork is told from its origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fork {
    /// Its name.
    pub name: Option<String>,
    /// Its labels; those of the origin are not taken over.
    pub labels: BTreeMap<String, String>,
}

/// A fork that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forked {
    /// The new workspace. It runs if the origin does.
    pub record: Record,
    /// What it was made from.
    pub from: WorkspaceId,
    /// Paths that it does not have: FIFOs, sockets, and what could not be read.
    pub left_out: Vec<Bytes>,
}

impl Workspaces {
    /// Makes a second workspace from what this one is now: its files, what it was when it was made, and its snapshots.
    /// This one is not changed, and its programs go on.
    ///
    /// # Errors
    /// Where there is no such workspace, or the second one cannot be made. Nothing is left of that one then.
    pub fn fork(&mut self, name_or_id: &str, fork: &Fork) -> Result<Forked, LivingError> {
        self.sweep()?;
        let origin = self.find(name_or_id)?.id;
        let from = self.home(&origin)?;
        let held = from.lock()?;
        let origin = self.registry.record(&origin)?;
        match origin.state {
            State::Started | State::Stopped => {}
            State::Creating | State::Deleting => {
                let (id, state) = (origin.id, origin.state);
                return Err(LivingError::NotStarted { id, state });
            }
        }
        let (home, lifecycle) = self.state.new_home()?;
        let Some(id) = WorkspaceId::parse(home.id()) else {
            unreachable!("homes are named by ids");
        };
        let made = self
            .register_fork(&origin, &id, fork)
            .and_then(|()| self.copy_origin(&origin, (&from, held), (&home, &lifecycle)))
            .and_then(|copied| self.bring_up(&origin, copied, &home, &lifecycle, &id));
        match made {
            Ok(left_out) => Ok(Forked {
                record: self.registry.record(&id)?,
                from: origin.id,
                left_out,
            }),
            Err(error) => {
                self.undo(home, lifecycle, &id)?;
                Err(error)
            }
        }
    }

    fn register_fork(
        &mut self,
        origin: &Record,
        id: &WorkspaceId,
        fork: &Fork,
    ) -> Result<(), LivingError> {
        let request = self.registry.creating_request(&origin.id)?;
        let new = NewWorkspace {
            id: id.clone(),
            name: fork.name.clone(),
            labels: fork.labels.clone(),
            environment: origin.environment.clone(),
            seed: origin.seed.clone(),
            resources: origin.resources,
            ttl_ms: origin.ttl_ms,
            network_policy: origin.network_policy.clone(),
            execution_mode: origin.execution_mode.clone(),
            secrets: origin.secrets.clone(),
            created_at: Self::now(),
            request,
        };
        self.let_in(&new, Need::to_fork(origin))?;
        self.note_origin(origin, id)
    }

    /// The first entry of its history says where it comes from, and has what was done to its origin as its steps.
    fn note_origin(&mut self, origin: &Record, id: &WorkspaceId) -> Result<(), LivingError> {
        let mut request = self.as_request(origin.id.as_str())?;
        let name = origin.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!(" ({name})"));
        let text = format!("fork of {}{name}", origin.id);
        request.description = Some(format!("The workspace began as a {text}."));
        let run = self.state.new_note()?;
        let began_at = Self::now();
        let entry = Entry {
            run: run.id().to_owned(),
            kind: "fork".to_owned(),
            request: canonical_json(&request),
            command: Some(Command {
                text,
                cwd: String::new(),
            }),
            began_at,
            is_activity: true,
        };
        let sequence = self.registry.begin(id, &entry)?;
        let ended = Ended {
            ended_at: began_at,
            outcome: "passed".to_owned(),
            exit_code: None,
            duration_ms: 0,
            stdout: Output::default(),
            stderr: Output::default(),
            receipt: None,
            resets: 0,
        };
        self.registry.end(id, sequence, &ended)?;
        run.remove()?;
        Ok(())
    }

    /// Copies what the origin is and was, and lets it go.
    fn copy_origin(
        &mut self,
        origin: &Record,
        (from, held): (&Home, Lifecycle),
        (home, lifecycle): (&Home, &Lifecycle),
    ) -> Result<Copied, LivingError> {
        // Oldest first, as they were made.
        let snapshots = self.registry.snapshots(&origin.id)?.into_iter().rev();
        let snapshots: Vec<_> = snapshots
            .filter(|snapshot| snapshot.kind == SnapshotKind::Named)
            .collect();
        let visited = origin.state == State::Stopped;
        let ended = from.ended()?;
        if visited {
            // Of a fork that was killed.
            keeper::stop(from, &held)?;
            keeper::start(from, &held)?;
        }
        let copied = copy_marked(from, home, snapshots);
        if visited {
            keeper::stop(from, &held)?;
            if let Some(ended) = ended {
                // It is stopped for the reason that it was.
                let written = from.write_ended(&ended);
                written.map_err(keeper::KeeperError::Talk)?;
            }
        }
        // Its history needs them, and whoever may use the one may use the other.
        let names = origin.secrets.iter().map(|secret| secret.name.as_str());
        home.write_secrets(&from.secrets(names)?, lifecycle)?;
        home.write_recipe(&from.recipe()?, lifecycle)?;
        Made::read(from)?.write(home)?;
        let pulled = |home: &Home| home.path().join("pulled");
        copy_pulled(&pulled(from), &pulled(home)).map_err(|source| LivingError::Copy {
            id: origin.id.to_string(),
            source,
        })?;
        copied
    }

    /// Makes the fork's machine, and puts its trees to what was marked.
    fn bring_up(
        &mut self,
        origin: &Record,
        copied: Copied,
        home: &Home,
        lifecycle: &Lifecycle,
        id: &WorkspaceId,
    ) -> Result<Vec<Bytes>, LivingError> {
        for snapshot in &copied.snapshots {
            self.registry.add_snapshot(id, snapshot)?;
        }
        let started = keeper::start(home, lifecycle)?;
        let name = mark_of(home);
        ask(
            home,
            Op::TreeReset(TreeReset {
                to: name.clone(),
                token: None,
            }),
        )?;
        ask(home, Op::MarkRemove(MarkRemove { name }))?;
        if origin.state == State::Stopped {
            keeper::stop(home, lifecycle)?;
            home.complete(lifecycle)?;
            let details = StateDetails::default();
            self.registry.set_state(id, State::Stopped, &details)?;
        } else {
            home.complete(lifecycle)?;
            self.note_started(home, id, &started)?;
        }
        Ok(copied.left_out)
    }
}

/// What of the origin is in the fork's folder.
#[derive(Debug)]
struct Copied {
    snapshots: Vec<SnapshotRecord>,
    left_out: Vec<Bytes>,
}

fn mark_of(home: &Home) -> String {
    format!("{MARK}{}", home.id())
}

fn copy_marked(
    from: &Home,
    home: &Home,
    snapshots: Vec<SnapshotRecord>,
) -> Result<Copied, LivingError> {
    let mut names: BTreeSet<String> = (snapshots.iter())
        .map(|snapshot| snapshot.name.clone())
        .collect();
    let name = mark_of(home);
    let marked = ask_patiently(
        from,
        &Op::TreeMark(TreeMark {
            name: name.clone(),
            contents: true,
            system: true,
        }),
    )?;
    names.insert(name.clone());
    names.insert("baseline".to_owned());
    let failed = |source| LivingError::Copy {
        id: from.id().to_owned(),
        source,
    };
    // Now that ours is made, nobody else is making one.
    let copied = forget_leftovers(from, &names, &failed)
        .and_then(|()| copy_past(from, home, &names).map_err(failed));
    ask_patiently(from, &Op::MarkRemove(MarkRemove { name }))?;
    copied?;
    let left_out = match marked {
        Reply::Records(records) => records.left_out,
        Reply::Exec(_) | Reply::Data(_) | Reply::Stat(_) | Reply::Written(_) => Vec::new(),
    };
    Ok(Copied {
        snapshots,
        left_out,
    })
}

/// Forgets the marks of forks that were killed, finished or not: whoever makes one holds the origin, as we do.
fn forget_leftovers(
    from: &Home,
    keep: &BTreeSet<String>,
    failed: &impl Fn(io::Error) -> LivingError,
) -> Result<(), LivingError> {
    let dead = |name: &str| {
        let id = name.strip_prefix(MARK).and_then(WorkspaceId::parse);
        id.is_some() && !keep.contains(name)
    };
    let found = marks(from).map_err(failed)?;
    for name in found.into_iter().filter(|name| dead(name)) {
        match ask_patiently(from, &Op::MarkRemove(MarkRemove { name })) {
            Ok(_) => {}
            Err(LivingError::Guest(failure)) if failure.code == FailureCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    remove_unfinished(from, dead).map_err(failed)
}
