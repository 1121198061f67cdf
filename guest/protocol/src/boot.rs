//! How the host tells a zygote which sandbox to make. Spoken once, before the link's first frame.
//!
//! The zygote is the agent's own binary, started from a sealed memfd with an empty environment. Its standard input is
//! a stream socket, the *control* socket. Both sides speak in length-prefixed JSON (u32 little-endian, then the
//! text): one [`Boot`] down, one [`BootReply`] up. Its standard output is a second socket, the *link*, which the agent
//! inherits: after [`BootReply::Ready`] it carries frames. When the control socket closes, the zygote ends the sandbox,
//! waits for it, and exits. When the sandbox ends by itself, the zygote exits, which closes the control socket.

use crate::Bytes;
use serde::{Deserialize, Serialize};

/// A sandbox to make. Every path is absolute, on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The run's own folder. Holds `tree/`, `stage/`, `spool/`, `system/` and maybe `baseline` (a manifest).
    pub run_dir: Bytes,
    /// The system tree.
    pub environment: BootEnvironment,
    /// Host paths shown read-only at the same place.
    pub expose: Vec<Bytes>,
    /// Of the sandbox.
    pub hostname: String,
    /// The uids and gids the sandbox gets.
    pub ids: Ids,
    /// What its processes may use.
    pub limits: Limits,
    /// What the kernel keeps them to, beyond that.
    #[serde(default)]
    pub confine: Confine,
}

/// What confines programs from outside. Every path is absolute, on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// Files of control groups that a process joins by writing `0` there.
    #[serde(default)]
    pub join: Vec<Bytes>,
    /// The file that counts the processes which the kernel ended for want of memory, in a line `oom_kill N`.
    #[serde(default)]
    pub events: Option<Bytes>,
    /// Programs stay on so many processors.
    #[serde(default)]
    pub processors: Option<u32>,
}

/// Where the system tree comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootEnvironment {
    /// The host's programs, read-only.
    Host,
    /// An unpacked root file system; changes go to a layer of their own.
    Dir(Bytes),
}

/// How ids are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// An ordinary user: one id, root inside, the caller outside.
    Single,
    /// Root: 65 537 ids from `base`. The agent is `base`, root inside is `base + 1`.
    Range {
        /// The first host id.
        base: u32,
    },
}

/// Limits that hold for the whole sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads.
    pub processes: u64,
    /// Bytes: of private memory for each process (enforced), and for all of them together (watched).
    pub memory: u64,
    /// Bytes that the sandbox may add to the disk (watched).
    pub disk: u64,
    /// Bytes that must stay free on the disk (watched).
    pub disk_reserve: u64,
    /// Open files of each process.
    pub open_files: u64,
}

/// The zygote's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootReply {
    /// The agent answers on the link.
    Ready(Ready),
    /// The sandbox could not be made; nothing of it is left.
    Failed(BootFailure),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The agent's process id on the host.
    pub agent_pid: i32,
    /// The inner init's process id on the host, where it could be told.
    pub init_pid: i32,
    /// Things that are weaker than usual on this kernel, in words; empty as a rule.
    pub notes: Vec<String>,
}

/// Which step failed, and how the kernel put it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFailure {
    /// The step, in order of trying.
    pub step: BootStep,
    /// What exactly was tried (`mount proc`, `open /srv/rootfs`).
    pub detail: String,
    /// The error number; 0 where the kernel did not refuse.
    pub errno: i32,
}

/// The steps of making a sandbox, in order. `pyro doctor` shows each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootStep {
    /// Setting resource limits before the user namespace exists.
    Rlimits,
    /// clone3 with the outer namespaces.
    OuterNamespaces,
    /// Writing uid_map and gid_map.
    IdMap,
    /// Building the agent's own root: tmpfs, state, proc, devices.
    AgentRoot,
    /// Mounting the system tree, exposed paths and the work tree.
    SystemTree,
    /// Bringing loopback up.
    Loopback,
    /// clone3 with the inner namespaces.
    InnerNamespaces,
    /// proc, dev, tmp, run and masks inside.
    InnerMounts,
    /// pivot_root.
    Pivot,
    /// Capabilities and no_new_privs.
    Privileges,
    /// The seccomp filter.
    Seccomp,
}
