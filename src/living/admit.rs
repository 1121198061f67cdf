//! Whether the host can hold one more workspace, decided while nobody else is let in.
//!
//! What a workspace *may* use is a limit and no reservation: many are idle, and together they may have limits beyond what the
//! host has. So what counts is what is left: of memory, as the kernel says; of the disk, as the file system says; less what
//! those will take that were let in a moment ago and are still being made. Who wants a firm bound on what they may use
//! together says so in `PYRO_MAX_MEMORY`.

use super::{LivingError, Workspaces};
use crate::plan::Plan;
use crate::request::Size;
use crate::workspace::registry::{Committed, NewWorkspace, Record, RegistryError};
use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// What a workspace takes to come up, roughly: with less free memory no further one is made.
const LEAST_MEMORY: u64 = 64 * MIB;
/// Bounds what all workspaces that run may use together, as a size.
const BUDGET: &str = "PYRO_MAX_MEMORY";

/// What one more would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// It may use so much memory, in MiB.
    pub(super) mem_mib: u64,
    /// Bytes that are written to make it.
    pub(super) disk: u64,
    /// Bytes of the disk that stay untouched.
    pub(super) reserve: u64,
}

impl Need {
    /// Of a workspace that is to be made.
    pub(super) fn of(plan: &Plan) -> Self {
        let limits = &plan.workspace.limits;
        let seed = plan.workspace.seed.as_ref();
        Self {
            mem_mib: limits.memory / MIB,
            disk: made_of(seed.map_or(0, |seed| seed.bytes)),
            reserve: limits.disk_reserve,
        }
    }

    /// Of a fork. What its origin was made from is known, and there already; how large it has become is not.
    pub(super) fn to_fork(origin: &Record) -> Self {
        Self {
            mem_mib: origin.resources.mem_mib.into(),
            disk: origin.seed.bytes_written,
            reserve: 0,
        }
    }

    /// Of one whose files are there.
    pub(super) fn to_start(mem_mib: u32) -> Self {
        Self {
            mem_mib: mem_mib.into(),
            disk: 0,
            reserve: 0,
        }
    }
}

/// The tree of a seed of so many bytes, and its contents once more as the baseline.
fn made_of(seed: u64) -> u64 {
    seed.saturating_mul(2)
}

/// What is left. Nothing where it cannot be known; then it is no reason to refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Left {
    /// Bytes of memory.
    memory: Option<u64>,
    /// Bytes of the disk that the state directory lies on.
    disk: Option<u64>,
    /// MiB that all that run may use together.
    budget: Option<u64>,
}

/// Why there is no room, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoRoom {
    why: String,
    help: String,
}

impl From<NoRoom> for LivingError {
    fn from(NoRoom { why, help }: NoRoom) -> Self {
        Self::NoRoom { why, help }
    }
}

/// The bound that somebody has set.
fn budget() -> Result<Option<u64>, NoRoom> {
    let Some(text) = std::env::var_os(BUDGET).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let size = text.to_str().and_then(|text| Size::parse(text).ok());
    match size {
        Some(size) => Ok(Some(size.as_bytes() / MIB)),
        None => Err(NoRoom {
            why: format!(
                "the bound on memory, {BUDGET}={}, is no size",
                text.to_string_lossy()
            ),
            help: format!("say for example {BUDGET}=8GiB, or unset it"),
        }),
    }
}

fn left(state: &Path) -> Result<Left, NoRoom> {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = info.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?;
        let kib: u64 = kib.split_whitespace().next()?.parse().ok()?;
        Some(kib << 10)
    });
    let disk = rustix::fs::statvfs(state).ok();
    Ok(Left {
        memory,
        disk: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        budget: budget()?,
    })
}

/// Says no, or nothing.
fn admit(others: Committed, need: Need, left: Left) -> Result<(), NoRoom> {
    if let Some(budget) = left.budget
        && others.mem_mib.saturating_add(need.mem_mib) > budget
    {
        let all = match others.workspaces {
            1 => "the one workspace that runs may use".to_owned(),
            count => format!("the {count} workspaces that run may use"),
        };
        return Err(NoRoom {
            why: format!(
                "{all} {} MiB of memory, this one {} MiB more, and {BUDGET} allows {budget} MiB for all",
                others.mem_mib, need.mem_mib
            ),
            help: format!(
                "stop one (`pyro workspace stop`), give this one less `memory`, or raise {BUDGET}"
            ),
        });
    }
    let coming = others.creating.saturating_add(1);
    let memory = LEAST_MEMORY.saturating_mul(coming);
    if let Some(there) = left.memory.filter(|there| *there < memory) {
        return Err(NoRoom {
            why: format!(
                "the host has {} MiB of memory left, and {} MiB are the least for this one and {} that {} being made",
                there / MIB,
                memory / MIB,
                others.creating,
                if others.creating == 1 { "is" } else { "are" }
            ),
            help: "stop one (`pyro workspace stop`), or try again when those are made".to_owned(),
        });
    }
    // Nothing to write needs no room, not even on a full disk.
    let pending = made_of(others.creating_bytes);
    let disk = (need.disk)
        .saturating_add(pending)
        .saturating_add(need.reserve);
    if let Some(there) = left.disk.filter(|there| need.disk > 0 && *there < disk) {
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        return Err(NoRoom {
            why: format!(
                "the disk has {} MiB left, and {} MiB are needed: {} for this seed and its baseline, {} for {} being made, \
                 {} that stay untouched",
                there / MIB,
                mib(disk),
                mib(need.disk),
                mib(pending),
                match others.creating {
                    1 => "another that is".to_owned(),
                    count => format!("{count} others that are"),
                },
                mib(need.reserve)
            ),
            help: "make room: `pyro workspace prune`, `pyro clean`, or delete a workspace"
                .to_owned(),
        });
    }
    Ok(())
}

impl Workspaces {
    /// Registers one that is to be made, if there is room for it beside all others.
    pub(super) fn let_in(&mut self, new: &NewWorkspace, need: Need) -> Result<(), LivingError> {
        let state = self.state.path().to_owned();
        self.if_admitted(|this| {
            let admit = |others| admit(others, need, left(&state)?);
            Ok(this.registry.insert_if(new, admit)?.map(|_| ()))
        })
    }

    /// Asks `decide`; where it says no, once more after what only seems to run has been put right.
    pub(super) fn if_admitted(
        &mut self,
        mut decide: impl FnMut(&mut Self) -> Result<Result<(), NoRoom>, RegistryError>,
    ) -> Result<(), LivingError> {
        if decide(self)?.is_ok() {
            return Ok(());
        }
        self.list()?;
        Ok(decide(self)??)
    }

    /// What [`Registry::start_if`](crate::workspace::registry::Registry::start_if) is to ask for one whose files are there.
    pub(super) fn admits_start(
        &self,
        mem_mib: u32,
    ) -> impl Fn(Committed) -> Result<(), NoRoom> + use<> {
        let state = self.state.path().to_owned();
        move |others| admit(others, Need::to_start(mem_mib), left(&state)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Left, MIB, Need, admit};
    use crate::workspace::registry::Committed;

    const NEED: Need = Need {
        mem_mib: 1024,
        disk: 200 * MIB,
        reserve: 100 * MIB,
    };

    fn others(creating: u64, started: u64) -> Committed {
        Committed {
            workspaces: creating + started,
            vcpu_count: creating + started,
            mem_mib: (creating + started) * 1024,
            creating,
            creating_bytes: creating * 100 * MIB,
        }
    }

    #[test]
    fn the_disk_holds_those_that_are_being_made_as_well() {
        let left = |mib: u64| Left {
            disk: Some(mib * MIB),
            ..Left::default()
        };
        admit(others(0, 9), NEED, left(300)).expect("what runs has its files already");
        let refused = admit(others(0, 9), NEED, left(299)).expect_err("no room");
        assert!(
            refused.why.contains("299 MiB left, and 300 MiB"),
            "{refused:?}"
        );
        admit(others(2, 0), NEED, left(700)).expect("room for three");
        let refused = admit(others(2, 0), NEED, left(699)).expect_err("no room");
        assert!(refused.why.contains("400 for 2 others"), "{refused:?}");
        assert!(refused.help.contains("prune"), "{refused:?}");
        // To be started again it needs no disk.
        admit(others(2, 0), Need::to_start(1024), left(0)).expect("nothing is written");
        admit(others(2, 0), NEED, Left::default()).expect("what is not known is no reason");
    }

    #[test]
    fn memory_that_is_left_is_for_those_that_are_being_made_first() {
        let left = |mib: u64| Left {
            memory: Some(mib * MIB),
            ..Left::default()
        };
        admit(others(0, 50), NEED, left(64)).expect("limits are no reservations");
        admit(others(0, 50), NEED, left(63)).expect_err("no room");
        admit(others(3, 0), NEED, left(256)).expect("room for four");
        let refused = admit(others(3, 0), NEED, left(255)).expect_err("no room");
        assert!(
            refused.why.contains("255 MiB of memory left"),
            "{refused:?}"
        );
        assert!(refused.help.contains("stop"), "{refused:?}");
    }

    #[test]
    fn a_bound_is_for_all_that_run() {
        let left = Left {
            budget: Some(3072),
            ..Left::default()
        };
        admit(others(1, 1), NEED, left).expect("room for three");
        let refused = admit(others(1, 2), NEED, left).expect_err("no room");
        let why = "the 3 workspaces that run may use 3072 MiB of memory, this one 1024 MiB more, and PYRO_MAX_MEMORY allows \
                   3072 MiB for all";
        assert_eq!(refused.why, why);
    }
}
