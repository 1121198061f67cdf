//! Workspaces whose time is long over go, and what interrupted commands have left goes with them.
//!
//! First everything is looked at, and nothing changed; then each one is looked at again by whoever holds its lifecycle.
//! One that somebody uses, or is at work on, is left alone.

use super::{LivingError, Workspaces};
use crate::execute::chain;
use crate::keeper;
use crate::workspace::registry::{
    KEEP_EXPIRED_MS, Record, RegistryError, State, StateDetails, WorkspaceId,
};
use crate::workspace::{EndReason, Home, HomeError, Lifecycle, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// A keeper whose time is over ends by itself; so long is waited for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was done to a workspace, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Which.
    pub id: WorkspaceId,
    /// Where it has one that is known.
    pub name: Option<String>,
    /// What, and why.
    pub what: Prune,
}

/// What `prune` does to a workspace, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It is stopped: nobody used it for its time.
    Stop,
    /// It is deleted: it was stopped because nobody used it, and nobody did for 7 days since.
    Expired,
    /// Its creation or removal was interrupted; the rest is removed.
    Interrupted,
    /// Its folder is removed: nothing is known of it, and nobody used it for 7 days.
    Unknown,
    /// It is forgotten: somebody took its folder away.
    NoFolder,
}

impl Prune {
    /// As payloads spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop | Self::Expired => "expired",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
            Self::NoFolder => "no_folder",
        }
    }

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Stop => "nobody used it for its time",
            Self::Expired => "nobody used it for its time, and for 7 days since",
            Self::Interrupted => "its creation or removal was interrupted",
            Self::Unknown => "a folder that belongs to no known workspace",
            Self::NoFolder => "its folder is gone",
        }
    }
}

impl Workspaces {
    /// Stops those whose time is over, deletes those that were stopped by that 7 days ago, and removes what interrupted
    /// commands have left; what that was, or would be.
    ///
    /// # Errors
    /// Where the registry or the state directory cannot be used. What is wrong with one workspace keeps no other.
    pub fn prune(&mut self, dry_run: bool) -> Result<Vec<Pruned>, LivingError> {
        let now = Self::now();
        let found = self.prunable(now)?;
        if dry_run {
            return Ok(found);
        }
        let mut done = Vec::new();
        for one in found {
            match self.prune_one(&one, now) {
                Ok(true) => done.push(one),
                // Somebody is at it, or it has become another thing.
                Ok(false) => {}
                Err(error) => log::warn!("could not {}", chain(&error)),
            }
        }
        self.sweep()?;
        Ok(done)
    }

    fn prunable(&mut self, now: Timestamp) -> Result<Vec<Pruned>, LivingError> {
        let mut found = Vec::new();
        let mut known = BTreeSet::new();
        for entry in self.registry.list()? {
            let record = match entry {
                Ok(record) => record,
                // Whoever removes it shall know what it was.
                Err(damaged) => {
                    known.insert(damaged.id);
                    continue;
                }
            };
            known.insert(record.id.to_string());
            let what = self.home(&record.id).map(Some).or_else(missing);
            match what.and_then(|home| why(&record, home.as_ref(), now, None)) {
                Ok(Some(what)) => found.push(Pruned {
                    id: record.id,
                    name: record.name,
                    what,
                }),
                Ok(None) => {}
                Err(error) => log::warn!("could not {}", chain(&error)),
            }
        }
        for home in self.state.homes()? {
            let Some(id) = WorkspaceId::parse(home.id()).filter(|_| !known.contains(home.id()))
            else {
                continue;
            };
            // Whoever makes one holds it.
            let what = match home.try_lock().ok().flatten() {
                Some(_lifecycle) => self.why_unknown(&id, &home, now),
                None => None,
            };
            found.extend(what.map(|what| Pruned {
                id,
                name: None,
                what,
            }));
        }
        Ok(found)
    }

    /// Why a folder of which the registry knows nothing goes.
    fn why_unknown(&mut self, id: &WorkspaceId, home: &Home, now: Timestamp) -> Option<Prune> {
        if !matches!(self.registry.record(id), Err(RegistryError::Gone(_))) {
            return None;
        }
        if !home.is_complete() {
            return Some(Prune::Interrupted);
        }
        // An older registry may have been put back: its owner has time to notice.
        let used = home.last_touched().ok()?;
        (used.plus_millis(KEEP_EXPIRED_MS) <= now).then_some(Prune::Unknown)
    }

    /// Whether it was done.
    fn prune_one(&mut self, one: &Pruned, now: Timestamp) -> Result<bool, LivingError> {
        let id = &one.id;
        let home = match self.home(id).map(Some).or_else(missing)? {
            Some(home) => home,
            None => {
                let record = self.registry.record(id)?;
                let still = why(&record, None, now, None)? == Some(one.what);
                if still {
                    self.registry.remove(id)?;
                }
                return Ok(still);
            }
        };
        let Some(lifecycle) = home.try_lock()? else {
            return Ok(false);
        };
        let what = match self.registry.record(id) {
            Ok(record) => why(&record, Some(&home), now, Some(&lifecycle))?,
            Err(RegistryError::Gone(_)) => self.why_unknown(id, &home, now),
            Err(error) => return Err(error.into()),
        };
        if what != Some(one.what) {
            return Ok(false);
        }
        match one.what {
            Prune::Stop => {
                // It reads its time anew, and ends by itself unless somebody has come.
                let _status = keeper::status(&home);
                let ended = home.wait_for_keeper_lock(PATIENCE);
                if ended.map_err(keeper::KeeperError::Talk)?.is_none() {
                    return Ok(false);
                }
                self.registry
                    .set_state(id, State::Stopped, &StateDetails::default())?;
                self.mend_history(id)?;
            }
            Prune::Expired => {
                self.registry
                    .set_state(id, State::Deleting, &StateDetails::default())?;
                home.remove(lifecycle)?;
                self.registry.remove(id)?;
            }
            Prune::Interrupted | Prune::Unknown => {
                keeper::stop(&home, &lifecycle)?;
                home.remove(lifecycle)?;
                self.registry.remove(id)?;
            }
            Prune::NoFolder => return Ok(false),
        }
        Ok(true)
    }
}

fn missing(error: LivingError) -> Result<Option<Home>, LivingError> {
    if let LivingError::Home(HomeError::Missing { .. }) = error {
        return Ok(None);
    }
    Err(error)
}

/// Why something is to be done to a workspace. `ours`: where we hold its lifecycle.
fn why(
    record: &Record,
    home: Option<&Home>,
    now: Timestamp,
    ours: Option<&Lifecycle>,
) -> Result<Option<Prune>, LivingError> {
    let Some(home) = home else {
        return Ok(Some(match record.state {
            State::Creating | State::Deleting => Prune::Interrupted,
            State::Started | State::Stopped => Prune::NoFolder,
        }));
    };
    if matches!(record.state, State::Creating | State::Deleting) {
        // Whoever holds it is at work on it right now.
        let dead = ours.is_some() || home.try_lock()?.is_some();
        return Ok(dead.then_some(Prune::Interrupted));
    }
    let used = home.last_touched()?.max(record.last_activity_at);
    let over = used.plus_millis(record.ttl_ms);
    if keeper::is_running(home)? {
        let idle =
            record.state == State::Started && over <= now && keeper::status(home)?.clients == 0;
        return Ok(idle.then_some(Prune::Stop));
    }
    // What somebody has stopped, they want to have.
    let expired = home
        .ended()?
        .is_some_and(|ended| ended.reason == EndReason::Expired);
    let gone = expired && over.plus_millis(KEEP_EXPIRED_MS) <= now;
    Ok(gone.then_some(Prune::Expired))
}
