//! The inner namespaces and their init, which owns them and reaps orphans; the programs' own world.

use super::caps;
use super::mounts::{self, Tree};
use super::outer::{Limits, become_root};
use super::report::{At as _, PATIENCE, receive, send};
use super::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use pyro_protocol::boot::{Boot, BootFailure, BootStep, Ids};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::DumpableBehavior;
use rustix::thread::CapabilitySet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// A user namespace of their own: programs have no power over what the agent made, and the maps differ.
/// The network namespace is the agent's, so that no program ever has a capability over it.
pub(crate) const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Of /proc, shown read-only.
const READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// Of /proc, covered by /dev/null (files) or an empty directory (directories); absent ones are skipped.
const MASKED: [&str; 21] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "kmsg",
    "kallsyms",
    "config.gz",
    "interrupts",
    "pagetypeinfo",
    "latency_stats",
    "sched_debug",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "slabinfo",
    "vmallocinfo",
    "modules",
    "acpi",
    "scsi",
    "asound",
    "driver",
];

/// Becomes init and never returns; the agent is told before.
pub(crate) fn run(
    boot: &Boot,
    tree: &Tree,
    agent: &OwnedFd,
    filter: &[libc::sock_filter],
    limits: &Limits,
) -> ! {
    let told = match become_init(boot, tree, agent, filter, limits) {
        Ok(()) => send(agent, b""),
        Err(failure) => serde_json::to_vec(&failure)
            .map_err(std::io::Error::from)
            .and_then(|text| send(agent, &text))
            .and(Err(std::io::ErrorKind::Other.into())),
    };
    if told.is_err() || sys::close_from(0, sys::CloseRange::Now).is_err() {
        sys::exit(1);
    }
    sys::sleep_forever()
}

fn become_init(
    boot: &Boot,
    tree: &Tree,
    agent: &OwnedFd,
    filter: &[libc::sock_filter],
    limits: &Limits,
) -> Result<(), BootFailure> {
    let step = BootStep::InnerNamespaces;
    let root = own_tree()?;
    // By then the agent has opened the namespaces, too.
    receive(agent, PATIENCE).at(step, "wait for the id map")?;
    become_root(boot.ids).at(BootStep::IdMap, "become root of the inner namespace")?;
    rustix::system::sethostname(boot.hostname.as_bytes()).at(step, "set the host name")?;
    build(
        boot,
        &Tree {
            root,
            owner: 0,
            overrule: tree.overrule,
        },
    )?;
    sys::ignore_children();
    limits.apply().at(BootStep::Rlimits, "set init's limits")?;
    let step = BootStep::Privileges;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(step, "make init untraceable")?;
    rustix::thread::set_name(c"init").at(step, "name init")?;
    // Init needs nothing: it holds the namespaces and lets the kernel reap.
    caps::reduce(CapabilitySet::empty()).at(step, "drop every capability")?;
    sys::install_filter(filter).at(BootStep::Seccomp, "install the seccomp filter")
}

/// Everything in the copied mount namespace is locked together; a copy of the tree is ours to pivot into.
fn own_tree() -> Result<OwnedFd, BootFailure> {
    let step = BootStep::InnerMounts;
    let inner = mounts::handle(CWD, c"inner").at(step, "open the tree")?;
    let root = mounts::copy(&inner, true).at(step, "copy the tree")?;
    mounts::attach(&root, &inner).at(step, "attach the copy")?;
    Ok(root)
}

fn build(boot: &Boot, tree: &Tree) -> Result<(), BootFailure> {
    let step = BootStep::InnerMounts;
    proc(tree, boot.limits.memory)?;
    let pts = devpts(boot.ids).at(step, "mount devpts")?;
    tree.mount(Path::new("dev/pts"), &pts)
        .at(step, "attach /dev/pts")?;
    mounts::pivot(&tree.root).at(BootStep::Pivot, "pivot into the tree")
}

/// Terminals that there are at most: the host counts those of everybody together.
const TERMINALS: &str = "256";

fn devpts(ids: Ids) -> rustix::io::Result<OwnedFd> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mut options = vec![
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("max", TERMINALS),
    ];
    if let Ids::Range { .. } = ids {
        options.push(("gid", "5"));
    }
    mounts::new("devpts", &options, flags)
}

fn proc(tree: &Tree, memory: u64) -> Result<(), BootFailure> {
    let step = BootStep::InnerMounts;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = mounts::new("proc", &[], flags).at(step, "mount proc")?;
    tree.mount(Path::new("proc"), &proc)
        .at(step, "attach /proc")?;
    bound_segments(&proc, memory).at(step, "bound System V memory")?;
    let set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    for name in READ_ONLY {
        let place = match mounts::handle(&proc, name) {
            Err(Errno::NOENT) => continue,
            opened => opened.at(step, format!("open /proc/{name}"))?,
        };
        mounts::bind(place.as_fd(), c"", set, false)
            .and_then(|copy| mounts::attach(copy, place))
            .at(step, format!("make /proc/{name} read-only"))?;
    }
    let null = mounts::handle(&tree.root, c"dev/null").at(step, "open /dev/null")?;
    let empty = mounts::handle(CWD, c"empty").at(step, "open /empty")?;
    for name in MASKED {
        let place = match mounts::handle(&proc, name) {
            Err(Errno::NOENT) => continue,
            opened => opened.at(step, format!("open /proc/{name}"))?,
        };
        mask(&place, &null, &empty).at(step, format!("mask /proc/{name}"))?;
    }
    Ok(())
}

/// System V memory stays when its last process ends, and no sum of processes has it: half of memory, as with the
/// file systems in memory. The setting belongs to the new namespace.
fn bound_segments(proc: &OwnedFd, memory: u64) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(proc, c"sys/kernel/shmall", flags, Mode::empty()) {
        // A kernel without System V memory.
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let pages = memory / 2 / rustix::param::page_size() as u64;
    rustix::io::write(&file, pages.to_string().as_bytes()).map(drop)
}

fn mask(place: &OwnedFd, null: &OwnedFd, empty: &OwnedFd) -> rustix::io::Result<()> {
    let mode = rustix::fs::fstat(place)?.st_mode;
    if mode & 0o007 == 0 {
        // Closed to all but the host's root, whose id nobody has here: a mask would cover nothing, and takes time.
        return Ok(());
    }
    if !rustix::fs::FileType::from_raw_mode(mode).is_dir() {
        return mounts::attach(mounts::copy(null, false)?, place);
    }
    let empty = mounts::copy(empty, false)?;
    mounts::restrict(&empty, MOUNT_ATTR_RDONLY)?;
    mounts::attach(empty, place)
}
