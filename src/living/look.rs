//! What a plan has to know of a workspace that lives.

use super::made::Made;
use super::{LivingError, Workspaces};
use crate::execute::chain;
use crate::preflight::{ExistingFact, LivingFact};
use crate::workspace::registry::{FindError, Record, SnapshotKind, State};

impl Workspaces {
    /// What is there under a name or id.
    pub fn look(&mut self, name_or_id: &str) -> ExistingFact {
        let fact = self.fact_of(name_or_id);
        let mended = self.mended();
        match fact {
            ExistingFact::Found(mut fact) => {
                fact.mended = mended.iter().map(ToString::to_string).collect();
                ExistingFact::Found(fact)
            }
            fact @ (ExistingFact::Missing(_)
            | ExistingFact::Several(_)
            | ExistingFact::Unusable(_)) => fact,
        }
    }

    fn fact_of(&mut self, name_or_id: &str) -> ExistingFact {
        let found = self.find(name_or_id).and_then(|record| self.fact(&record));
        match found {
            Ok(fact) => ExistingFact::Found(Box::new(fact)),
            Err(LivingError::Find(FindError::NotFound { near, .. })) => ExistingFact::Missing(near),
            Err(LivingError::Find(FindError::Ambiguous { ids, .. })) => {
                ExistingFact::Several(ids.iter().map(ToString::to_string).collect())
            }
            Err(error) => ExistingFact::Unusable(chain(&error)),
        }
    }

    fn fact(&mut self, record: &Record) -> Result<LivingFact, LivingError> {
        let made = Made::read(&self.home(&record.id)?)?;
        let snapshots = self.registry.snapshots(&record.id)?;
        let snapshots = snapshots
            .into_iter()
            .filter(|snapshot| snapshot.kind == SnapshotKind::Named);
        Ok(LivingFact {
            id: record.id.to_string(),
            name: record.name.clone(),
            started: record.state == State::Started,
            mended: Vec::new(),
            snapshots: snapshots.map(|snapshot| snapshot.name).collect(),
            made: made.facts,
        })
    }
}
