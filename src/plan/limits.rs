//! How much the workspace may use, and how honestly each limit is kept.

use super::{Enforcement, PlannedGroup, PlannedLimit, Problem, ProblemCode, groups, text};
use crate::preflight::HostFacts;
use crate::request::{Cpus, Pointer, Size, Workspace};
use pyro_protocol::boot::Limits;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PROCESSES: u64 = 1024;
const OPEN_FILES: u64 = 4096;
/// Less than this and no shell starts.
const LEAST_MEMORY: u64 = 16 * MIB;
/// The kernel measures no smaller share.
const LEAST_CPUS: Cpus = Cpus::from_millis(10);
const LEAST_PROCESSES: u64 = 4;
const LEAST_DISK: u64 = MIB;

/// The limits of a workspace.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) limits: Limits,
    pub(super) groups: Vec<PlannedGroup>,
    pub(super) processors: Option<u32>,
    /// For people.
    pub(super) shown: Vec<PlannedLimit>,
    /// What is short, or kept less well than one might think.
    pub(super) notes: Vec<String>,
}

/// Decides on them.
pub(super) fn decide(
    workspace: &Workspace,
    host: &HostFacts,
    problems: &mut Vec<Problem>,
) -> Decided {
    let mut notes = Vec::new();
    let place = Pointer("/workspace".to_owned());
    let mut least = |key: &str, value: u64, least: u64, shown: String| {
        if value < least {
            problems.push(
                Problem::new(
                    ProblemCode::OutOfRange,
                    place.at(key),
                    format!("`{key}` is too little for anything to run"),
                )
                .help(format!("give at least {shown}")),
            );
        }
    };
    let size = |bytes| Size::from_bytes(bytes).to_string();
    if let Some(memory) = workspace.memory {
        least(
            "memory",
            memory.as_bytes(),
            LEAST_MEMORY,
            size(LEAST_MEMORY),
        );
        if host.memory > 0 && memory.as_bytes() > host.memory {
            notes.push(format!(
                "the host has {} of memory, less than the workspace may use",
                text::bytes(host.memory)
            ));
        }
    }
    if let Some(disk) = workspace.disk {
        least("disk", disk.as_bytes(), LEAST_DISK, size(LEAST_DISK));
    }
    if let Some(processes) = workspace.processes {
        least(
            "processes",
            processes,
            LEAST_PROCESSES,
            LEAST_PROCESSES.to_string(),
        );
    }

    if let Some(cpus) = workspace.cpus {
        let shown = format!("\"{LEAST_CPUS}\"");
        least("cpus", cpus.as_millis(), LEAST_CPUS.as_millis(), shown);
        if host.cores > 0 && cpus.as_millis() > host.cores * 1000 {
            let cores = text::count(host.cores, "processor", "processors");
            notes.push(format!(
                "the host has {cores}, fewer than the workspace may use"
            ));
        }
    }

    let limits = Limits {
        processes: workspace.processes.unwrap_or(PROCESSES),
        memory: workspace
            .memory
            .map_or_else(|| default_memory(host.memory), Size::as_bytes),
        disk: workspace
            .disk
            .map_or_else(|| default_disk(host.disk_free), Size::as_bytes),
        disk_reserve: reserve(host.disk_free),
        open_files: OPEN_FILES,
    };
    if let Some(free) = host.disk_free
        && free < limits.disk.saturating_add(limits.disk_reserve)
    {
        // The figure itself changes from minute to minute, and a plan must not.
        notes.push(format!(
            "the disk has less free than {} and the {} that stay untouched; a run ends before it is full",
            size(limits.disk),
            size(limits.disk_reserve)
        ));
    }
    let limit = |name: &str, value: String, enforcement| PlannedLimit {
        name: name.to_owned(),
        value,
        enforcement,
    };
    let groups = groups::decide(&limits, workspace.cpus, &host.groups);
    let memory = match &host.groups.memory {
        Some(_) => Enforcement::Enforced,
        None => Enforcement::Watched,
    };
    let (cpu, processors) = cpu(workspace.cpus, host, &mut notes);
    let shown = vec![
        limit("memory", size(limits.memory), memory),
        limit("disk", size(limits.disk), Enforcement::Watched),
        limit(
            "processes",
            limits.processes.to_string(),
            Enforcement::Enforced,
        ),
        limit(
            "open files",
            limits.open_files.to_string(),
            Enforcement::Enforced,
        ),
        limit("network", "off".to_owned(), Enforcement::Enforced),
        limit(
            "cpu",
            match workspace.cpus {
                Some(cpus) if cpus.as_whole() == Some(1) => "1 core".to_owned(),
                Some(cpus) => format!("{cpus} cores"),
                None => text::count(host.cores.max(1), "core", "cores"),
            },
            cpu,
        ),
    ];
    Decided {
        limits,
        groups,
        processors,
        shown,
        notes,
    }
}

/// How the share of processors is kept, and on how many of them programs are held where that is how.
fn cpu(
    cpus: Option<Cpus>,
    host: &HostFacts,
    notes: &mut Vec<String>,
) -> (Enforcement, Option<u32>) {
    let Some(cpus) = cpus else {
        return (Enforcement::NotEnforced, None);
    };
    if host.groups.cpu.is_some() {
        return (Enforcement::Enforced, None);
    }
    let count = cpus.as_millis().div_ceil(1000);
    let (kept, processors) = match count {
        1 => ("1 processor".to_owned(), "one"),
        count => (format!("{count} processors"), "each"),
    };
    let kept_on = u32::try_from(count).ok();
    match cpus.as_whole() {
        Some(_) => {
            notes.push(format!(
                "no control group can be used for `cpus`: programs are kept on {kept} instead"
            ));
            (Enforcement::Enforced, kept_on)
        }
        None => {
            notes.push(format!(
                "no control group can be used for `cpus`: programs are kept on {kept}, and may keep {processors} busy"
            ));
            (Enforcement::NotEnforced, kept_on)
        }
    }
}

/// Half of what there is, in steps of 256 MiB.
fn default_memory(total: u64) -> u64 {
    match total {
        0 => GIB,
        total => (total / 2 / (256 * MIB) * (256 * MIB)).max(256 * MIB),
    }
}

/// 10 GiB, or a quarter of what is free. Rounded down to a power of two, so that a plan of today is a plan of
/// tomorrow unless the disk fills up.
fn default_disk(free: Option<u64>) -> u64 {
    match free {
        Some(free) if free / 4 < 10 * GIB => power_of_two(free / 4).max(64 * MIB),
        Some(_) | None => 10 * GIB,
    }
}

/// What always stays free: 2 % of what is free now, rounded likewise, at least 512 MiB.
fn reserve(free: Option<u64>) -> u64 {
    free.map_or(0, |free| power_of_two(free / 50))
        .max(512 * MIB)
}

fn power_of_two(number: u64) -> u64 {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

#[cfg(test)]
mod tests {
    use super::{Decided, GIB, MIB, decide, default_disk, default_memory, reserve};
    use crate::plan::Enforcement;
    use crate::preflight::{GroupFacts, GroupVersion, HostFacts};
    use crate::request::{Cpus, Size, Workspace};

    #[test]
    fn defaults_leave_room_for_the_host() {
        assert_eq!(default_memory(0), GIB);
        assert_eq!(default_memory(16 * GIB - 123_456), 7936 * MIB);
        assert_eq!(default_disk(Some(100 * GIB)), 10 * GIB);
        assert_eq!(default_disk(Some(9 * GIB)), 2 * GIB);
        assert_eq!(default_disk(Some(0)), 64 * MIB);
        assert_eq!(reserve(Some(GIB)), 512 * MIB);
        assert_eq!(reserve(Some(200 * GIB)), 4 * GIB);
    }

    #[test]
    fn each_limit_says_how_it_is_kept() {
        let mut problems = Vec::new();
        let Decided { shown, notes, .. } =
            decide(&Workspace::default(), &HostFacts::default(), &mut problems);
        let kept = |name| {
            let limit = shown.iter().find(|limit| limit.name == name);
            limit.expect("all limits are shown").enforcement
        };
        assert_eq!(kept("processes"), Enforcement::Enforced);
        assert_eq!(kept("memory"), Enforcement::Watched);
        assert_eq!(kept("disk"), Enforcement::Watched);
        assert_eq!(kept("network"), Enforcement::Enforced);
        assert_eq!(kept("cpu"), Enforcement::NotEnforced);
        assert!(problems.is_empty() && notes.is_empty());
    }

    #[test]
    fn processors_are_divided_by_a_group_or_counted_off() {
        let groups = GroupFacts {
            version: Some(GroupVersion::Two),
            memory: Some("/g".into()),
            cpu: Some("/g".into()),
            processes: Some("/g".into()),
        };
        for (millis, groups, kept, on) in [
            (1500, groups.clone(), Enforcement::Enforced, None),
            (2000, GroupFacts::default(), Enforcement::Enforced, Some(2)),
            (
                1500,
                GroupFacts::default(),
                Enforcement::NotEnforced,
                Some(2),
            ),
        ] {
            let workspace = Workspace {
                cpus: Some(Cpus::from_millis(millis)),
                ..Workspace::default()
            };
            let memory = groups.memory.is_some();
            let host = HostFacts {
                groups,
                cores: 8,
                ..HostFacts::default()
            };
            let decided = decide(&workspace, &host, &mut Vec::new());
            let of = |name| {
                let limit = decided.shown.iter().find(|limit| limit.name == name);
                limit.expect("all limits are shown").enforcement
            };
            assert_eq!((of("cpu"), decided.processors), (kept, on));
            assert_eq!(of("memory") == Enforcement::Enforced, memory);
            assert_eq!(decided.notes.is_empty(), memory, "{:?}", decided.notes);
        }
    }

    #[test]
    fn too_little_is_refused() {
        let workspace = Workspace {
            memory: Some(Size::from_bytes(MIB)),
            processes: Some(1),
            cpus: Some(Cpus::from_millis(9)),
            ..Workspace::default()
        };
        let mut problems = Vec::new();
        decide(&workspace, &HostFacts::default(), &mut problems);
        let places: Vec<_> = problems.iter().map(|p| p.pointer.0.as_str()).collect();
        assert_eq!(
            places,
            [
                "/workspace/memory",
                "/workspace/processes",
                "/workspace/cpus"
            ]
        );
    }
}
