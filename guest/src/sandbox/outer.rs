//! From clone3 to the serving agent: the outer namespaces, built by the process that becomes the agent.
//!
//! The agent never executes anything: it is the zygote's image, cloned, which saves an exec and keeps its memory out
//! of reach of its own namespace's root (it belongs to the host's user namespace).

use super::exec::{Namespaces, Sandbox};
use super::groups::Groups;
use super::layer::Overlay;
use super::mounts;
use super::report::{self, At as _, PATIENCE, receive, send};
use super::sources::Sources;
use super::zygote::open_directory;
use super::{idmap, inner, seccomp, sys, system};
use crate::serve::Agent;
use crate::spawn::Layer;
use pyro_protocol::boot::{Boot, BootFailure, BootReply, BootStep, Ids, Ready};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CpuSet, Gid, Uid};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Of the whole sandbox beyond what its programs may have: the agent's threads and init.
const OWN_PROCESSES: u64 = 32;

/// Becomes the agent; returns when it has served.
pub(crate) fn run(
    boot: &Boot,
    sources: Option<Sources>,
    groups: Groups,
    zygote: OwnedFd,
    control: BorrowedFd<'_>,
    link: OwnedFd,
    serve: impl FnOnce(Agent) -> io::Result<()>,
) -> io::Result<()> {
    // Before anything can fail: the zygote may be gone already, then the first read ends.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"pyro-agent")?;
    // The agent's copy of the control socket would keep the host from seeing the zygote end.
    let null = rustix::fs::openat(CWD, c"/dev/null", rustix::fs::OFlags::RDWR, Mode::empty())?;
    replace(control, null.as_fd())?;
    drop(null);
    let built = build(boot, sources, groups, &zygote);
    let reply = match &built {
        Ok(built) => BootReply::Ready(Ready {
            agent_pid: 0,
            init_pid: 0,
            notes: built.notes.clone(),
        }),
        Err(failure) => BootReply::Failed(failure.clone()),
    };
    send(&zygote, &serde_json::to_vec(&reply)?)?;
    drop(zygote);
    let Ok(Built {
        sandbox,
        state,
        system,
        layer,
        notes: _,
    }) = built
    else {
        return Ok(());
    };
    let layer = match layer {
        None => None,
        Some(overlay) => Some(Layer {
            folder: overlay.folder.try_clone()?,
            renew: Box::new(move || overlay.renew()),
        }),
    };
    serve(Agent {
        link,
        run_dir: state,
        owner: owner(boot.ids),
        limits: boot.limits,
        system: Some(system),
        layer,
        spawner: Box::new(sandbox),
    })
}

/// Puts a copy of `with` in the place of `fd`, whose owner (the zygote's frame) is never returned to.
fn replace(fd: BorrowedFd<'_>, with: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    sys::dup_onto_cloexec(with, fd.as_raw_fd())
}

struct Built {
    sandbox: Sandbox,
    state: OwnedFd,
    /// All that programs can write to besides the work tree, but for the layer of an overlay.
    system: OwnedFd,
    layer: Option<Overlay>,
    notes: Vec<String>,
}

/// Root inside, as the agent numbers it.
pub(crate) fn owner(ids: Ids) -> u32 {
    match ids {
        Ids::Single => 0,
        Ids::Range { .. } => 1,
    }
}

fn build(
    boot: &Boot,
    sources: Option<Sources>,
    groups: Groups,
    zygote: &OwnedFd,
) -> Result<Built, BootFailure> {
    // What needs no ids, while the zygote writes the map.
    loopback()?;
    let step = BootStep::AgentRoot;
    let recursive_private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", recursive_private).at(step, "make every mount private")?;
    let sources = match sources {
        Some(sources) => sources,
        None => Sources::open(boot)?,
    };
    receive(zygote, PATIENCE).at(BootStep::IdMap, "wait for the id map")?;
    become_root(boot.ids).at(BootStep::IdMap, "become root of the outer namespace")?;
    let root = agent_root(&sources)?;
    let state = open_directory(c"/state").at(step, "open the run folder")?;
    let place = mounts::handle(CWD, c"inner").at(step, "open /inner")?;
    let system::SystemTree { tree, layer, notes } =
        system::build(boot, sources, &state, &place, owner(boot.ids))?;
    // Programs have no capability over the network namespace, which is the agent's: low ports are for everybody.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .at(BootStep::Loopback, "open the low ports")?;
    restrain();
    let score = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .ok()
        .map(OwnedFd::from);
    let system = open_directory(c"/scratch").at(step, "open /scratch")?;
    let own_pids = namespace("self", "pid").at(step, "open the agent's pid namespace")?;
    let limits = Limits::of(boot).at(BootStep::Rlimits, "choose processors")?;
    let filter = match limits.processors {
        Some(_) => seccomp::filter_pinned(boot.ids),
        None => seccomp::filter(boot.ids),
    };
    let (init, namespaces) = start_init(boot, &tree, &filter, &limits)?;
    drop(tree);
    let layer = match layer {
        None => None,
        Some(folder) => {
            // The layer below it shows again, for the next mount; what programs see is init's copy.
            rustix::mount::unmount(c"/inner", UnmountFlags::DETACH)
                .at(step, "let go of the system tree")?;
            Some(Overlay {
                folder,
                entrance: namespaces.entrance().at(step, "keep the namespaces")?,
                init: init.0,
                ids: boot.ids,
            })
        }
    };
    mounts::restrict(&root, sys::MOUNT_ATTR_RDONLY).at(step, "make the agent's root read-only")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(BootStep::Privileges, "make the agent untraceable")?;
    let kept_to = (limits, groups);
    let sandbox = Sandbox::new(init, namespaces, own_pids, filter, kept_to, boot.ids, score);
    Ok(Built {
        sandbox,
        state,
        system,
        layer,
        notes,
    })
}

/// Ids 0 in every place.
pub(crate) fn take_root_ids(ids: Ids) -> rustix::io::Result<()> {
    match ids {
        // The only id there is, and setgroups is denied.
        Ids::Single => Ok(()),
        Ids::Range { .. } => {
            rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        }
    }
}

/// The same for a first process, whose parent-death signal and traceability do not survive a change of ids.
pub(crate) fn become_root(ids: Ids) -> rustix::io::Result<()> {
    take_root_ids(ids)?;
    after_ids_changed()
}

/// See [`become_root`].
pub(crate) fn after_ids_changed() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // For the moment: who writes a child's id map must be able to open it, and the parent opens its namespaces.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
}

/// tmpfs with /state, /proc, something empty to hide things with, and places for the tree to be.
fn agent_root(sources: &Sources) -> Result<OwnedFd, BootFailure> {
    let step = BootStep::AgentRoot;
    let root = system::skeleton().at(step, "make a tmpfs")?;
    // A directory that every host has; nothing is taken from there any more.
    let place = mounts::handle(CWD, c"usr")
        .or_else(|_| mounts::handle(CWD, c"proc"))
        .at(step, "open /usr")?;
    mounts::attach(&root, place).at(step, "attach the tmpfs")?;
    let mode = Mode::from_raw_mode(0o700);
    for folder in ["state", "proc", "inner", "upper", "scratch"] {
        rustix::fs::mkdirat(&root, folder, mode).at(step, format!("make /{folder}"))?;
    }
    let empty = Mode::from_raw_mode(0o555);
    rustix::fs::mkdirat(&root, "empty", empty).at(step, "make /empty")?;
    let state = mounts::handle(&root, c"state").at(step, "open /state")?;
    mounts::attach(&sources.run_dir, state).at(step, "attach the run folder")?;
    // What a program gets as its standard input.
    let null = mounts::bind(CWD, c"dev/null", 0, false).at(step, "bind /dev/null")?;
    rustix::fs::mkdirat(&root, c"dev", Mode::from_raw_mode(0o700)).at(step, "make /dev")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&root, c"dev/null", flags, Mode::empty()).at(step, "make /dev/null")?;
    let place = mounts::handle(&root, c"dev/null").at(step, "open /dev/null")?;
    mounts::attach(&null, place).at(step, "attach /dev/null")?;
    // Never masked: the kernel lets the inner namespaces mount their own only where a whole one is seen.
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = mounts::new("proc", &[], flags).at(step, "mount proc")?;
    let place = mounts::handle(&root, c"proc").at(step, "open /proc")?;
    mounts::attach(&proc, place).at(step, "attach proc")?;
    mounts::pivot(&root).at(step, "pivot into the agent's root")?;
    Ok(root)
}

fn loopback() -> Result<(), BootFailure> {
    let step = BootStep::Loopback;
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .at(step, "make a socket")?;
    sys::loopback_up(&socket).at(step, "bring lo up")
}

/// What the kernel counts for each user across namespaces, bounded for all that live in these: otherwise programs
/// could use up what the person who runs us has elsewhere.
fn restrain() {
    for (name, ceiling) in [
        // One for programs; none that they make, even past the filter.
        ("max_user_namespaces", "1"),
        // Of 128 that most systems give to a user.
        ("max_inotify_instances", "48"),
    ] {
        // Best effort: a kernel without inotify has nothing to bound, and the filter is what counts.
        let _ = std::fs::write(format!("/proc/sys/user/{name}"), ceiling);
    }
}

fn namespace(process: &str, name: &str) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(format!("/proc/{process}/ns/{name}"))?.into())
}

/// What programs are held to; nothing here exceeds what the host's own limits allow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) processes: Rlimit,
    pub(crate) memory: Rlimit,
    pub(crate) open_files: Rlimit,
    /// Where programs stay, if they are to stay somewhere.
    pub(crate) processors: Option<CpuSet>,
}

impl Limits {
    fn of(boot: &Boot) -> rustix::io::Result<Self> {
        let limit = |resource, value: u64| {
            let allowed = rustix::process::getrlimit(resource).maximum;
            let value = Some(allowed.map_or(value, |allowed| allowed.min(value)));
            Rlimit {
                current: value,
                maximum: value,
            }
        };
        let processors = match boot.confine.processors {
            Some(count) => Some(choose(count, &boot.run_dir)?),
            None => None,
        };
        Ok(Self {
            processes: limit(Resource::Nproc, boot.limits.processes),
            memory: limit(Resource::Data, boot.limits.memory),
            open_files: limit(Resource::Nofile, boot.limits.open_files),
            processors,
        })
    }

    /// Holds the calling process to them.
    pub(crate) fn apply(&self) -> rustix::io::Result<()> {
        rustix::process::setrlimit(Resource::Nproc, self.processes)?;
        rustix::process::setrlimit(Resource::Data, self.memory)?;
        rustix::process::setrlimit(Resource::Nofile, self.open_files)?;
        match &self.processors {
            Some(processors) => rustix::thread::sched_setaffinity(None, processors),
            None => Ok(()),
        }
    }
}

/// So many of the processors that we may use, others for other runs.
fn choose(count: u32, run_dir: &[u8]) -> rustix::io::Result<CpuSet> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let ours: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    let first = run_dir.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    let mut chosen = CpuSet::new();
    for index in 0..ours.len().min(count as usize) {
        chosen.set(ours[(first + index) % ours.len()]);
    }
    Ok(chosen)
}

/// Clones the inner init and waits until it is ready.
fn start_init(
    boot: &Boot,
    tree: &mounts::Tree,
    filter: &[libc::sock_filter],
    limits: &Limits,
) -> Result<((i32, OwnedFd), Namespaces), BootFailure> {
    let step = BootStep::InnerNamespaces;
    // The kernel keeps the creator's limit as the ceiling of the new user namespace: all ids in it together.
    let own = rustix::process::getrlimit(Resource::Nproc);
    let ceiling = limits.processes.current.map(|count| count + OWN_PROCESSES);
    let ceiling = Rlimit {
        current: own
            .maximum
            .map_or(ceiling, |max| ceiling.map(|count| count.min(max))),
        maximum: own.maximum,
    };
    rustix::process::setrlimit(Resource::Nproc, ceiling)
        .at(BootStep::Rlimits, "set the ceiling of processes")?;
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .at(step, "make a socket pair")?;
    let what = "clone3 with new user, mount, pid, ipc, uts and cgroup namespaces";
    match sys::fork(inner::NAMESPACES).at(step, what)? {
        sys::Fork::Child => {
            drop(ours);
            inner::run(boot, tree, &theirs, filter, limits)
        }
        sys::Fork::Parent { pid, pidfd } => {
            drop(theirs);
            idmap::write_inner(pid, boot.ids)?;
            let process = pid.to_string();
            // Now: once init is untraceable, nobody opens them any more, the agent included.
            let namespaces = Namespaces::open(|name| namespace(&process, name))
                .at(step, "open init's namespaces")?;
            hear(&ours)?;
            let restored = Rlimit {
                current: own.maximum,
                maximum: own.maximum,
            };
            rustix::process::setrlimit(Resource::Nproc, restored)
                .at(BootStep::Rlimits, "lift the agent's own limit")?;
            Ok(((pid, pidfd), namespaces))
        }
    }
}

/// Lets init go on, and reads whether it could: nothing, or a failure.
fn hear(init: &OwnedFd) -> Result<(), BootFailure> {
    let step = BootStep::InnerNamespaces;
    send(init, b"").at(step, "let init go on")?;
    let report = receive(init, PATIENCE).at(step, "hear from init")?;
    if report.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice(&report)
        .unwrap_or_else(|error| report::refusal(step, format!("understand init: {error}"))))
}
