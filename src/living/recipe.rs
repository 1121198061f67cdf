//! What a plan says of the machine, for a keeper.

use crate::plan::{Plan, PlannedEnvironment};
use crate::request::Duration;
use crate::workspace::{Recipe, RecipeGroup, RecipeSetting};
use pyro_protocol::Bytes;
use pyro_protocol::boot::BootEnvironment;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(super) fn recipe(plan: &Plan, ttl: Duration) -> Recipe {
    let bytes = |path: &Path| Bytes::from(path.as_os_str().as_bytes());
    let workspace = &plan.workspace;
    let groups = workspace.groups.iter().map(|group| RecipeGroup {
        parent: bytes(&group.parent),
        settings: (group.settings.iter())
            .map(|setting| RecipeSetting {
                file: setting.file.to_owned(),
                value: setting.value.clone(),
                optional: setting.optional,
            })
            .collect(),
        join: group.join.to_owned(),
        events: group.events.map(str::to_owned),
    });
    Recipe {
        version: Recipe::VERSION,
        environment: match &workspace.environment {
            PlannedEnvironment::Host => BootEnvironment::Host,
            PlannedEnvironment::Dir(path) => BootEnvironment::Dir(bytes(path)),
        },
        expose: workspace.expose.iter().map(|path| bytes(path)).collect(),
        hostname: workspace.hostname.clone(),
        limits: workspace.limits,
        processors: workspace.processors,
        groups: groups.collect(),
        ttl_ms: Some(ttl.as_millis()),
    }
}
