//! Which control groups a run gets, and what is written into them.

use crate::preflight::{GroupFacts, GroupVersion};
use crate::request::Cpus;
use pyro_protocol::boot::Limits;
use std::path::{Path, PathBuf};

/// Of which a share of the processors is measured, in microseconds.
const PERIOD: u64 = 100_000;

/// A control group to make for the run's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedGroup {
    /// The group that it goes below, on the host.
    pub parent: PathBuf,
    /// What is written into its files, in order.
    pub settings: Vec<GroupSetting>,
    /// The file through which a process joins.
    pub join: &'static str,
    /// The file that counts the processes which were ended for their memory; of the group that limits memory.
    pub events: Option<&'static str>,
}

/// A file of a control group, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSetting {
    /// Its name.
    pub file: &'static str,
    /// What is written.
    pub value: String,
    /// Whether a kernel may not have it: it only completes another one.
    pub optional: bool,
}

/// The groups for these limits. Memory and processes are limited in every run, processors where it is asked for.
pub(super) fn decide(limits: &Limits, cpus: Option<Cpus>, facts: &GroupFacts) -> Vec<PlannedGroup> {
    let Some(version) = facts.version else {
        return Vec::new();
    };
    let mut groups = Groups {
        version,
        made: Vec::new(),
    };
    let setting = |file, value: String| GroupSetting {
        file,
        value,
        optional: false,
    };
    let optional = |file, value: String| GroupSetting {
        optional: true,
        ..setting(file, value)
    };
    let quota = cpus.map(|cpus| cpus.as_millis() * (PERIOD / 1000));
    let (memory, processes) = (limits.memory.to_string(), limits.processes.to_string());
    match version {
        GroupVersion::One => {
            // Without the second, what goes beyond the limit would go to the swap.
            groups.add(
                &facts.memory,
                setting("memory.limit_in_bytes", memory.clone()),
            );
            groups.add(
                &facts.memory,
                optional("memory.memsw.limit_in_bytes", memory),
            );
            if let Some(quota) = quota {
                groups.add(&facts.cpu, setting("cpu.cfs_period_us", PERIOD.to_string()));
                groups.add(&facts.cpu, setting("cpu.cfs_quota_us", quota.to_string()));
            }
            groups.add(&facts.processes, setting("pids.max", processes));
            groups.count(&facts.memory, "memory.oom_control");
        }
        GroupVersion::Two => {
            groups.add(&facts.memory, setting("memory.max", memory));
            groups.add(&facts.memory, optional("memory.swap.max", "0".to_owned()));
            if let Some(quota) = quota {
                groups.add(&facts.cpu, setting("cpu.max", format!("{quota} {PERIOD}")));
            }
            groups.add(&facts.processes, setting("pids.max", processes));
            groups.count(&facts.memory, "memory.events");
        }
    }
    groups.made
}

struct Groups {
    version: GroupVersion,
    made: Vec<PlannedGroup>,
}

impl Groups {
    /// To the group below `parent`, if there can be one: controllers may share a hierarchy.
    fn add(&mut self, parent: &Option<PathBuf>, setting: GroupSetting) {
        let Some(parent) = parent else { return };
        if let Some(group) = self.below(parent) {
            group.settings.push(setting);
            return;
        }
        self.made.push(PlannedGroup {
            parent: parent.clone(),
            settings: vec![setting],
            join: match self.version {
                // By itself: a process that moves another one waits for every fork of the machine.
                GroupVersion::One => "tasks",
                GroupVersion::Two => "cgroup.procs",
            },
            events: None,
        });
    }

    fn count(&mut self, parent: &Option<PathBuf>, events: &'static str) {
        if let Some(group) = parent.as_ref().and_then(|parent| self.below(parent)) {
            group.events = Some(events);
        }
    }

    fn below(&mut self, parent: &Path) -> Option<&mut PlannedGroup> {
        self.made.iter_mut().find(|group| group.parent == parent)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpus, GroupFacts, GroupVersion, Limits, PlannedGroup, decide};
    use std::path::PathBuf;

    const LIMITS: Limits = Limits {
        processes: 64,
        memory: 1 << 30,
        disk: 1 << 30,
        disk_reserve: 0,
        open_files: 64,
    };

    fn text(groups: &[PlannedGroup]) -> Vec<String> {
        let one = |group: &PlannedGroup| {
            let settings: Vec<_> = group
                .settings
                .iter()
                .map(|setting| format!("{}={}", setting.file, setting.value))
                .collect();
            let parent = group.parent.display();
            format!("{parent}: {} {:?}", settings.join(", "), group.events)
        };
        groups.iter().map(one).collect()
    }

    #[test]
    fn version_1_has_a_group_for_each_controller_that_is_there() {
        let facts = GroupFacts {
            version: Some(GroupVersion::One),
            memory: Some(PathBuf::from("/m")),
            cpu: Some(PathBuf::from("/c")),
            processes: None,
        };
        assert_eq!(
            text(&decide(&LIMITS, Some(Cpus::from_millis(1500)), &facts)),
            [
                "/m: memory.limit_in_bytes=1073741824, memory.memsw.limit_in_bytes=1073741824 Some(\"memory.oom_control\")",
                "/c: cpu.cfs_period_us=100000, cpu.cfs_quota_us=150000 None",
            ]
        );
        assert_eq!(decide(&LIMITS, None, &facts).len(), 1);
    }

    #[test]
    fn version_2_has_one_for_all() {
        let parent = Some(PathBuf::from("/g"));
        let facts = GroupFacts {
            version: Some(GroupVersion::Two),
            memory: parent.clone(),
            cpu: parent.clone(),
            processes: parent,
        };
        assert_eq!(
            text(&decide(&LIMITS, Some(Cpus::from_millis(250)), &facts)),
            [
                "/g: memory.max=1073741824, memory.swap.max=0, cpu.max=25000 100000, pids.max=64 Some(\"memory.events\")"
            ]
        );
        assert_eq!(decide(&LIMITS, None, &GroupFacts::default()), []);
    }
}
