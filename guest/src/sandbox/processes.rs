//! The sandbox's processes, read from the agent's own /proc, which shows the inner namespaces' too.

use crate::spawn::Process;
use std::fs;
use std::io;

/// All but those in `leave_out`.
pub(crate) fn all(leave_out: &[i32]) -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if leave_out.contains(&pid) {
            continue;
        }
        // Whatever ended between the listing and now is simply no longer there.
        if let Some(process) = one(pid) {
            processes.push(process);
        }
    }
    Ok(processes)
}

fn one(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut process = parse(pid, &stat, &statm)?;
    let shared = shared(&statm)?;
    if shared > SHARED_MATTERS {
        process.memory = anonymous(pid).unwrap_or(process.memory + shared);
    }
    Some(process)
}

/// Whether a process has begun to exit; true as well when it is gone.
pub(crate) fn is_exiting(pid: i32) -> bool {
    const PF_EXITING: u32 = 0x4;
    let flags = || {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
        fields.split_whitespace().nth(6)?.parse::<u32>().ok()
    };
    flags().is_none_or(|flags| flags & PF_EXITING != 0)
}

/// Below this, sharing is libraries. Above, it may be a flood of shared memory, and the exact count is worth its time.
const SHARED_MATTERS: u64 = 64 << 20;

fn shared(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(2)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Anonymous and shared memory, each page divided by the processes that have it.
fn anonymous(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |key: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kib("Pss_Anon:")? + kib("Pss_Shmem:")?) << 10)
}

fn parse(pid: i32, stat: &[u8], statm: &str) -> Option<Process> {
    // The name is in parentheses and may hold any, so the last one counts.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_whitespace()
        .collect();
    // Ended, and only its parent has not looked yet; unless it is the first thread that has ended, and others go on.
    let threads = fields.get(17).and_then(|count| count.parse::<u32>().ok());
    if matches!(fields.first(), Some(&("Z" | "X"))) && threads.is_none_or(|count| count <= 1) {
        return None;
    }
    let number = |field: usize| fields.get(field)?.parse::<i32>().ok();
    let mut pages = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(Process {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        // Cheap and close: file pages are mostly shared, and the kernel can drop them.
        memory: resident.saturating_sub(shared) * rustix::param::page_size() as u64,
        stopped: fields.first() == Some(&"T") && (threads == Some(1) || all_stopped(pid)),
    })
}

/// Whether every thread is stopped, or has ended.
fn all_stopped(pid: i32) -> bool {
    let state = |path: std::path::PathBuf| {
        let stat = fs::read(path.join("stat")).ok()?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        stat.get(end + 2).copied()
    };
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| {
        tasks
            .flatten()
            .all(|task| matches!(state(task.path()), None | Some(b'T' | b'Z' | b'X')))
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_name_with_parentheses_confuses_nobody() {
        let stat = b"7 (a) b) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let process = parse(7, stat, "100 30 10 1 0 50 0").expect("parses");
        assert_eq!(
            (
                process.parent,
                process.group,
                process.session,
                process.started
            ),
            (3, 4, 5, 4242)
        );
        assert_eq!(process.memory, 20 * rustix::param::page_size() as u64);
    }
}
