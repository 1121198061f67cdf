//! How much the workspace may use, and how honestly each limit is kept.

use super::{Enforcement, PlannedLimit, Problem, ProblemCode, text};
use crate::preflight::HostFacts;
use crate::request::{Pointer, Size, Workspace};
use pyro_protocol::boot::Limits;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PROCESSES: u64 = 1024;
const OPEN_FILES: u64 = 4096;
/// Less than this and no shell starts.
const LEAST_MEMORY: u64 = 16 * MIB;
const LEAST_PROCESSES: u64 = 4;
const LEAST_DISK: u64 = MIB;

/// The limits of a workspace, the same for people, and notes on what is short.
pub(super) fn decide(
    workspace: &Workspace,
    host: &HostFacts,
    problems: &mut Vec<Problem>,
) -> (Limits, Vec<PlannedLimit>, Vec<String>) {
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
    let shown = vec![
        limit("memory", size(limits.memory), Enforcement::Watched),
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
            text::count(host.cores.max(1), "core", "cores"),
            Enforcement::NotEnforced,
        ),
    ];
    (limits, shown, notes)
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
    use super::{GIB, MIB, decide, default_disk, default_memory, reserve};
    use crate::plan::Enforcement;
    use crate::preflight::HostFacts;
    use crate::request::{Size, Workspace};

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
        let (_, shown, notes) = decide(&Workspace::default(), &HostFacts::default(), &mut problems);
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
    fn too_little_is_refused() {
        let workspace = Workspace {
            memory: Some(Size::from_bytes(MIB)),
            processes: Some(1),
            ..Workspace::default()
        };
        let mut problems = Vec::new();
        decide(&workspace, &HostFacts::default(), &mut problems);
        let places: Vec<_> = problems.iter().map(|p| p.pointer.0.as_str()).collect();
        assert_eq!(places, ["/workspace/memory", "/workspace/processes"]);
    }
}
