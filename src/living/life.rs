//! A workspace is started, stopped, changed and removed.

use super::made::Made;
use super::mend::boot_id;
use super::{LivingError, Workspaces};
use crate::keeper::message::Status;
use crate::keeper::{self, Started};
use crate::workspace::registry::{
    Change, ErrorNote, FindError, Record, State, StateDetails, WorkspaceId,
};
use crate::workspace::{Home, HomeError};

impl Workspaces {
    /// Removes what interrupted commands left: folders, and workspaces that were half made or half removed.
    pub(super) fn sweep(&mut self) -> Result<(), LivingError> {
        self.sweep_folders()?;
        for record in self.registry.list()?.into_iter().flatten() {
            // One whose machine runs is not seen by its folder.
            let is_half = matches!(record.state, State::Creating | State::Deleting);
            if is_half && let Err(error) = self.mend(record) {
                // It is no reason not to make another.
                log::warn!("{}", crate::execute::chain(&error));
            }
        }
        Ok(())
    }

    /// Removes what interrupted commands left in the state directory.
    pub(super) fn sweep_folders(&mut self) -> Result<(), LivingError> {
        let pulls = self.state.sweep_pulls()?;
        self.mended
            .extend(pulls.into_iter().map(super::Mended::Pull));
        let _swept = self.state.sweep(Self::now())?;
        for id in self.state.sweep_homes()?.half_made {
            if let Some(id) = WorkspaceId::parse(&id) {
                self.registry.remove(&id)?;
                self.mended.push(super::Mended::HalfMade(id));
            }
        }
        Ok(())
    }

    /// Starts the machine of a workspace; one that runs is left alone.
    ///
    /// # Errors
    /// Where there is no such workspace, or the machine cannot be made. The files are safe in any case.
    pub fn start(&mut self, name_or_id: &str) -> Result<Record, LivingError> {
        let record = self.find(name_or_id)?;
        let home = self.home(&record.id)?;
        let lifecycle = home.lock()?;
        let record = self.registry.record(&record.id)?;
        if keeper::is_running(&home)? {
            if record.state == State::Stopped {
                // Whoever had the lock before us was killed.
                let status = keeper::status(&home)?;
                self.adopt(&home, &record.id, status)?;
            }
            return Ok(self.registry.record(&record.id)?);
        }
        // From here on it counts among those that run. Killed before it does, it is found stopped by the next command.
        self.if_admitted(|this| {
            let admit = this.admits_start(record.resources.mem_mib);
            (this.registry).start_if(&record.id, &StateDetails::default(), admit)
        })?;
        match keeper::start(&home, &lifecycle) {
            Ok(started) => self.note_started(&home, &record.id, &started)?,
            Err(error) => {
                let details = StateDetails {
                    last_error: ErrorNote::Set(crate::execute::chain(&error)),
                    ..StateDetails::default()
                };
                self.registry
                    .set_state(&record.id, State::Stopped, &details)?;
                return Err(error.into());
            }
        }
        Ok(self.registry.record(&record.id)?)
    }

    /// Its machine is there, and whoever started it was killed before noting that.
    pub(super) fn adopt(
        &mut self,
        home: &Home,
        id: &WorkspaceId,
        status: Status,
    ) -> Result<(), LivingError> {
        let started = Started {
            ids: status.ids,
            generation: status.generation,
            notes: status.notes,
            agent_pid: status.agent_pid,
        };
        self.note_started(home, id, &started)
    }

    /// Its machine is there.
    pub(super) fn note_started(
        &mut self,
        home: &Home,
        id: &WorkspaceId,
        started: &Started,
    ) -> Result<(), LivingError> {
        let made = Made {
            isolation: crate::execute::isolation(started.ids, &started.notes),
            ..Made::read(home)?
        };
        made.write(home)?;
        home.touch()?;
        let details = StateDetails {
            boot_id: boot_id(),
            execution_mode: Some("namespace".to_owned()),
            last_error: ErrorNote::Clear,
            activity: Some(Self::now()),
        };
        self.registry.set_state(id, State::Started, &details)?;
        Ok(())
    }

    /// Ends the machine of a workspace with everything that runs in it; its files stay.
    ///
    /// # Errors
    /// Where there is no such workspace, or its keeper does not end.
    pub fn stop(&mut self, name_or_id: &str) -> Result<Record, LivingError> {
        let record = self.find(name_or_id)?;
        let home = self.home(&record.id)?;
        let lifecycle = home.lock()?;
        keeper::stop(&home, &lifecycle)?;
        let details = StateDetails {
            activity: Some(Self::now()),
            ..StateDetails::default()
        };
        self.registry
            .set_state(&record.id, State::Stopped, &details)?;
        self.mend_history(&record.id)?;
        Ok(self.registry.record(&record.id)?)
    }

    /// Ends and removes a workspace with all it has; which one that was.
    ///
    /// # Errors
    /// Where there is no such workspace, or something of it cannot be removed.
    pub fn delete(&mut self, name_or_id: &str) -> Result<WorkspaceId, LivingError> {
        let id = match self.find(name_or_id) {
            Ok(record) => record.id,
            // What cannot be understood can still go.
            Err(error @ LivingError::Find(FindError::Damaged(_))) => {
                WorkspaceId::parse(name_or_id).ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        match self.home(&id) {
            Ok(home) => {
                let lifecycle = home.lock()?;
                self.registry
                    .set_state(&id, State::Deleting, &StateDetails::default())?;
                keeper::stop(&home, &lifecycle)?;
                home.remove(lifecycle)?;
            }
            Err(LivingError::Home(HomeError::Missing { .. })) => {}
            Err(error) => return Err(error),
        }
        self.registry.remove(&id)?;
        Ok(id)
    }

    /// Changes name, labels and time to live.
    ///
    /// # Errors
    /// Where there is no such workspace, something is not allowed, or nothing would change.
    pub fn update(&mut self, name_or_id: &str, change: &Change) -> Result<Record, LivingError> {
        let record = self.find(name_or_id)?;
        let home = self.home(&record.id)?;
        let lifecycle = home.lock()?;
        let record = self.registry.update(&record.id, change, Self::now())?;
        if let Some(ttl) = change.ttl_ms {
            let mut recipe = home.recipe()?;
            recipe.ttl_ms = Some(ttl);
            home.write_recipe(&recipe, &lifecycle)?;
        }
        home.touch()?;
        Ok(record)
    }
}
