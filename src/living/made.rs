//! What a plan for a workspace has to know of how it was made, kept beside it.

use super::LivingError;
use crate::plan::{Enforcement, Plan, PlannedEnvironment};
use crate::preflight::{LimitFact, MadeFact};
use crate::workspace::{Home, replace_file};
use serde::{Deserialize, Serialize};
use std::fs;

/// In the workspace's folder.
const FILE: &str = "made.json";

/// How a workspace was made, and how its machine keeps it apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) facts: MadeFact,
    /// In words, of the machine that was started last.
    #[serde(default)]
    pub(super) isolation: Vec<String>,
}

impl Made {
    pub(super) fn of(plan: &Plan) -> Self {
        let workspace = &plan.workspace;
        let limits = workspace.limits_shown.iter().map(|limit| LimitFact {
            name: limit.name.clone(),
            value: limit.value.clone(),
            enforcement: match limit.enforcement {
                Enforcement::Enforced => "enforced".to_owned(),
                Enforcement::Watched => "watched".to_owned(),
                Enforcement::NotEnforced => "not_enforced".to_owned(),
            },
        });
        Self {
            facts: MadeFact {
                environment: workspace.environment_shown.clone(),
                directory: match &workspace.environment {
                    PlannedEnvironment::Host => None,
                    PlannedEnvironment::Dir(path) => Some(path.clone()),
                },
                expose: workspace.expose.clone(),
                hostname: workspace.hostname.clone(),
                limits: workspace.limits,
                limits_shown: limits.collect(),
            },
            isolation: Vec::new(),
        }
    }

    pub(super) fn read(home: &Home) -> Result<Self, LivingError> {
        let path = home.path().join(FILE);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map_err(|source| LivingError::ReadMade { path, source })
    }

    pub(super) fn write(&self, home: &Home) -> Result<(), LivingError> {
        let path = home.path().join(FILE);
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|bytes| replace_file(&path, &bytes));
        written.map_err(|source| LivingError::WriteMade { path, source })
    }
}
