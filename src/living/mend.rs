//! Puts right what killed processes left, and says so.

use super::ask::ask_patiently;
use super::{LivingError, Workspaces};
use crate::execute::{resets_noted, step_mark};
use crate::keeper;
use crate::workspace::pull::MendedPull;
use crate::workspace::registry::{
    ErrorNote, Page, Rebuilt, Record, State, StateDetails, WorkspaceId,
};
use crate::workspace::{EndReason, Home, HomeError};
use pyro_protocol::message::{MarkRemove, Op};
use std::fmt;
use std::fs;

/// How far back a command may have begun that is looked for.
const RECENT: u32 = 20;

/// Something that was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// The registry was damaged, and made anew.
    Registry(Rebuilt),
    /// Its creation was interrupted; it is gone.
    HalfMade(WorkspaceId),
    /// Its removal was interrupted; it is gone.
    HalfRemoved(WorkspaceId),
    /// Starting it was interrupted when its machine was there already; it is started.
    Started(WorkspaceId),
    /// Stopping it was interrupted, or its keeper was told to end; it is stopped.
    Stopped(WorkspaceId),
    /// The host went down meanwhile; it is stopped.
    Rebooted(WorkspaceId),
    /// It was stopped because nobody used it for its time.
    Expired(WorkspaceId),
    /// Its machine died; why, in words.
    Lost(WorkspaceId, String),
    /// A pull died; what became of the directory.
    Pull(MendedPull),
    /// Commands died when their resets had happened; they count.
    Reset(WorkspaceId, Vec<u64>),
    /// Commands died in the middle of something; what came of it is not known.
    Interrupted(WorkspaceId, Vec<u64>),
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(rebuilt) => {
                let count = rebuilt.workspaces.len();
                match &rebuilt.moved_to {
                    Some(path) => write!(
                        f,
                        "the registry of workspaces was damaged and is made anew from their folders ({count} found); \
                         the damaged one is {}",
                        path.display()
                    ),
                    None => write!(
                        f,
                        "the registry of workspaces was gone and is made anew from their folders ({count} found)"
                    ),
                }
            }
            Self::HalfMade(id) => write!(
                f,
                "making the workspace {id} had been interrupted; what there was of it is removed"
            ),
            Self::HalfRemoved(id) => write!(
                f,
                "removing the workspace {id} had been interrupted; it is done now"
            ),
            Self::Started(id) => write!(
                f,
                "starting the workspace {id} had been interrupted; it is started"
            ),
            Self::Stopped(id) => write!(
                f,
                "the workspace {id} was stopped without a word in the registry; its files are there"
            ),
            Self::Rebooted(id) => write!(
                f,
                "the workspace {id} is stopped because the host was started anew; its files are there"
            ),
            Self::Expired(id) => write!(
                f,
                "the workspace {id} was stopped because nobody used it for its time; its files are there"
            ),
            Self::Lost(id, why) => write!(
                f,
                "the workspace {id} lost its machine and is stopped ({why}); its files are there"
            ),
            Self::Pull(pull) => pull.fmt(f),
            Self::Reset(id, sequences) => {
                let numbers: Vec<_> = sequences.iter().map(|n| format!("#{n}")).collect();
                write!(
                    f,
                    "in the workspace {id}, a reset was through when its command was interrupted, and counts: {}",
                    numbers.join(", ")
                )
            }
            Self::Interrupted(id, sequences) => {
                let numbers: Vec<_> = sequences.iter().map(|n| format!("#{n}")).collect();
                write!(
                    f,
                    "in the workspace {id}, what was under way was interrupted and its outcome is not known: {}",
                    numbers.join(", ")
                )
            }
        }
    }
}

impl Workspaces {
    /// A workspace as it is now; nothing where there is none any more.
    pub(super) fn mend(&mut self, record: Record) -> Result<Option<Record>, LivingError> {
        let id = record.id.clone();
        let home = match self.home(&id) {
            Ok(home) => home,
            Err(LivingError::Home(HomeError::Missing { .. })) => {
                return match record.state {
                    // Nothing is left but the entry.
                    State::Creating | State::Deleting => {
                        self.registry.remove(&id)?;
                        self.mended.push(match record.state {
                            State::Deleting => Mended::HalfRemoved(id),
                            State::Creating | State::Started | State::Stopped => {
                                Mended::HalfMade(id)
                            }
                        });
                        self.sweep_folders()?;
                        Ok(None)
                    }
                    // Somebody took its folder away. It stays listed, so that its owner sees that.
                    State::Stopped => Ok(Some(record)),
                    State::Started => {
                        let details = StateDetails {
                            last_error: ErrorNote::Set("its folder is gone".to_owned()),
                            ..StateDetails::default()
                        };
                        self.registry.set_state(&id, State::Stopped, &details)?;
                        Ok(Some(self.registry.record(&id)?))
                    }
                };
            }
            Err(error) => return Err(error),
        };
        match record.state {
            State::Started | State::Stopped
                if self.reaches(&home, &id)? == (record.state == State::Started) =>
            {
                self.mend_history(&id)?;
                return Ok(Some(record));
            }
            State::Started | State::Stopped | State::Creating | State::Deleting => {}
        }
        // Whoever holds it is at work on it right now.
        let Some(lifecycle) = home.try_lock()? else {
            return Ok(Some(record));
        };
        // It may have become another thing before we had the lock.
        let record = self.registry.record(&id)?;
        match record.state {
            State::Stopped => {
                if !keeper::is_running(&home)? {
                    return Ok(Some(record));
                }
                let Ok(status) = keeper::status(&home) else {
                    // It was never let go, and is about to end.
                    keeper::stop(&home, &lifecycle)?;
                    return Ok(Some(record));
                };
                self.adopt(&home, &id, status)?;
                self.mended.push(Mended::Started(id.clone()));
                Ok(Some(self.registry.record(&id)?))
            }
            State::Creating | State::Deleting => {
                keeper::stop(&home, &lifecycle)?;
                home.remove(lifecycle)?;
                self.registry.remove(&id)?;
                self.mended.push(match record.state {
                    State::Deleting => Mended::HalfRemoved(id),
                    State::Creating | State::Started | State::Stopped => Mended::HalfMade(id),
                });
                Ok(None)
            }
            State::Started if keeper::is_running(&home)? => Ok(Some(record)),
            State::Started => {
                let ended = home.ended()?;
                let reason = ended.as_ref().map(|ended| ended.reason);
                let rebooted = record.boot_id.is_some() && record.boot_id != boot_id();
                let lost = match reason {
                    Some(EndReason::Expired) => {
                        self.mended.push(Mended::Expired(id.clone()));
                        None
                    }
                    Some(EndReason::Stopped) => {
                        self.mended.push(Mended::Stopped(id.clone()));
                        None
                    }
                    Some(EndReason::MachineDied) => Some(
                        ended
                            .and_then(|ended| ended.message)
                            .unwrap_or_else(|| "it ended by itself".to_owned()),
                    ),
                    None if rebooted => {
                        self.mended.push(Mended::Rebooted(id.clone()));
                        None
                    }
                    None => Some("its keeper was killed".to_owned()),
                };
                let details = StateDetails {
                    last_error: match &lost {
                        Some(why) => ErrorNote::Set(why.clone()),
                        None => ErrorNote::Keep,
                    },
                    ..StateDetails::default()
                };
                self.registry.set_state(&id, State::Stopped, &details)?;
                let record = self.registry.record(&id)?;
                if let Some(why) = lost {
                    self.mended.push(Mended::Lost(id.clone(), why));
                }
                self.mend_history(&id)?;
                Ok(Some(record))
            }
        }
    }

    /// Notes which entries of the history nobody will end any more.
    pub(super) fn mend_history(&mut self, id: &WorkspaceId) -> Result<(), LivingError> {
        if !self.registry.goes_on(id)? {
            return Ok(());
        }
        let state = self.state.clone();
        let home = self.home(id).ok();
        if let Some(home) = &home {
            self.await_resets(home, id)?;
        }
        let resets = |run: &str| {
            home.as_ref()
                .map_or(0, |home| resets_noted(&home.run(), run))
        };
        let gone =
            self.registry
                .interrupted_after(id, |run| state.is_alive(run), resets, Self::now())?;
        if gone.is_empty() {
            return Ok(());
        }
        // Whoever was killed has left the folder of a run.
        self.sweep_folders()?;
        let happened = gone.iter().filter(|one| one.resets > 0);
        let happened: Vec<_> = happened.map(|one| one.sequence).collect();
        if !happened.is_empty() {
            self.mended.push(Mended::Reset(id.clone(), happened));
        }
        let unknown = gone.iter().filter(|one| !one.has_passed);
        let unknown: Vec<_> = unknown.map(|one| one.sequence).collect();
        if !unknown.is_empty() {
            self.mended.push(Mended::Interrupted(id.clone(), unknown));
        }
        Ok(())
    }

    /// Waits until the agent is through with the reset of a command that was killed, or has let it be.
    fn await_resets(&mut self, home: &Home, id: &WorkspaceId) -> Result<(), LivingError> {
        for entry in self.registry.history(id, Page::Last(RECENT))? {
            let resets = entry.kind == "reset"
                || entry.kind == "apply" && entry.request.contains("\"reset\"");
            if entry.outcome.is_some() || !resets || self.state.is_alive(&entry.run) {
                continue;
            }
            // Which waits for its turn, and is of use besides.
            let op = Op::MarkRemove(MarkRemove {
                name: step_mark(&entry.run),
            });
            if keeper::is_running(home)?
                && let Err(error) = ask_patiently(home, &op)
            {
                log::debug!("{}", crate::execute::chain(&error));
            }
        }
        Ok(())
    }
}

/// Which boot of the host this is.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}
