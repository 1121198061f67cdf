//! What a machine is made from, as data: kept beside a workspace, so that it can be made again.

use super::groups::make_group;
use super::{GroupError, IfMissing, NewGroup};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, Confine, Ids, Limits};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Everything that the host knows of a machine before it is made, but for its folder and its ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// [`Recipe::VERSION`].
    pub version: u32,
    /// Where programs come from.
    pub environment: BootEnvironment,
    /// Host paths that are shown read-only at the same place.
    pub expose: Vec<Bytes>,
    /// Of the sandbox.
    pub hostname: String,
    /// What its processes may use.
    pub limits: Limits,
    /// Programs stay on so many processors.
    #[serde(default)]
    pub processors: Option<u32>,
    /// Control groups to make for its programs.
    #[serde(default)]
    pub groups: Vec<RecipeGroup>,
    /// The machine ends after so many milliseconds in which nobody used it.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A control group to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeGroup {
    /// The group that it goes below, on the host.
    pub parent: Bytes,
    /// What is written into its files, in order.
    pub settings: Vec<RecipeSetting>,
    /// The file through which a process joins.
    pub join: String,
    /// The file that counts the processes which were ended for their memory.
    #[serde(default)]
    pub events: Option<String>,
}

/// A file of a control group, and its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeSetting {
    /// Its name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// Whether a kernel may not have it.
    #[serde(default)]
    pub optional: bool,
}

impl Recipe {
    /// Of the form that this pyro writes, and the only one that it reads.
    pub const VERSION: u32 = 1;

    /// Makes the control groups, and notes them in `folder`; they bear the name `id`.
    ///
    /// # Errors
    /// Where the kernel refuses one of them, or a setting.
    pub fn confine(&self, folder: &Path, id: &str) -> Result<Confine, GroupError> {
        let mut confine = Confine {
            processors: self.processors,
            ..Confine::default()
        };
        for group in &self.groups {
            let settings: Vec<_> = (group.settings.iter())
                .map(|setting| {
                    let if_missing = match setting.optional {
                        true => IfMissing::PassOver,
                        false => IfMissing::Refuse,
                    };
                    (setting.file.clone(), setting.value.clone(), if_missing)
                })
                .collect();
            let new = NewGroup {
                parent: Path::new(OsStr::from_bytes(&group.parent)),
                settings: &settings,
            };
            let made = make_group(folder, id, new)?;
            let file = |name: &str| Bytes::from(made.join(name).as_os_str().as_bytes());
            confine.join.push(file(&group.join));
            if let Some(events) = &group.events {
                confine.events = Some(file(events));
            }
        }
        Ok(confine)
    }

    /// What the zygote is told. `run` has the trees.
    pub fn boot(&self, run: &Path, ids: Ids, confine: Confine) -> Boot {
        Boot {
            run_dir: Bytes::from(run.as_os_str().as_bytes()),
            environment: self.environment.clone(),
            expose: self.expose.clone(),
            hostname: self.hostname.clone(),
            ids,
            limits: self.limits,
            confine,
        }
    }
}
