//! What the serve loop needs from a sandbox in order to run programs.

use pyro_protocol::message::TerminalSize;
use std::ffi::CString;
use std::fmt::{self, Debug};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Lists the sandbox's processes, from any thread.
pub type Lookout = Box<dyn Fn() -> std::io::Result<Vec<Process>> + Send + Sync>;

/// Mounts the system tree anew, over the same layers.
pub type Renew = Box<dyn Fn() -> std::io::Result<()> + Send + Sync>;

/// The writable layer of a system tree that is an overlay.
pub struct Layer {
    /// A folder that no program sees, with the layer in it as `upper`.
    pub folder: OwnedFd,
    /// To be called after the layer was changed by another than the overlay, which does not expect that: from then on
    /// programs see what is in it. Only while no program lives.
    pub renew: Renew,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A program, ready for execve: everything is decided.
#[derive(Debug, Clone)]
pub struct Program {
    /// Arguments, the program's name first. Looked up on `PATH` of `env` when it has no slash.
    pub argv: Vec<CString>,
    /// The whole environment, as `NAME=VALUE`.
    pub env: Vec<CString>,
    /// Absolute, as the program sees it.
    pub cwd: CString,
}

/// A program that runs.
#[derive(Debug)]
pub struct Child {
    /// Process id as the agent sees it. Leader of its own session and process group.
    pub pid: i32,
    /// Readable when the program has ended. The agent is the parent and reaps it.
    pub pidfd: OwnedFd,
}

/// A program's terminal, as the agent holds it.
#[derive(Debug)]
pub struct Terminal {
    /// What the program writes is read here, what is typed is written here. Closing it hangs up.
    pub master: OwnedFd,
    /// The other side: while it is open, the program may close its own and open it again.
    pub slave: OwnedFd,
}

/// Why a program does not run.
#[derive(Debug)]
pub enum SpawnError {
    /// The kernel refused to start it; 127 where there is no such program, 126 otherwise.
    NotStarted {
        /// 126 or 127.
        code: i32,
        /// In words, naming the program or directory.
        reason: String,
        /// The error number.
        errno: i32,
    },
    /// There is no sandbox any more: its init ended.
    SandboxEnded,
    /// The agent itself could not (no memory, no processes left).
    Agent(std::io::Error),
}

/// One process of the sandbox, init left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id as the agent sees it.
    pub pid: i32,
    /// Parent, as the agent sees it.
    pub parent: i32,
    /// Process group, as the agent sees it.
    pub group: i32,
    /// Session, as the agent sees it.
    pub session: i32,
    /// Start time in clock ticks since boot: with `pid` it names a process for good.
    pub started: u64,
    /// Private memory plus its share of shared memory where the kernel tells, else the resident set; in bytes.
    pub memory: u64,
    /// Whether all of it is stopped by a signal.
    pub stopped: bool,
}

/// A place where programs run.
pub trait Spawner: Debug {
    /// Starts a program with the three descriptors as its standard streams and no others.
    ///
    /// # Errors
    /// Where it does not run; then nothing of it is left.
    fn spawn(&mut self, program: &Program, stdio: [BorrowedFd<'_>; 3])
    -> Result<Child, SpawnError>;

    /// Starts a program on a new terminal of that size, which controls its session.
    ///
    /// # Errors
    /// Where it does not run; then nothing of it is left.
    fn spawn_on_terminal(
        &mut self,
        _program: &Program,
        _size: TerminalSize,
    ) -> Result<(Child, Terminal), SpawnError> {
        let kind = std::io::ErrorKind::Unsupported;
        Err(SpawnError::Agent(kind.into()))
    }

    /// Every process of the sandbox but its init, as of now.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    fn processes(&self) -> std::io::Result<Vec<Process>>;

    /// The same as [`Spawner::processes`], for any thread.
    fn lookout(&self) -> Lookout;

    /// Whether no process but init is there, as far as one look at init's children tells; false where it does not.
    /// Only meaningful while no program runs: programs are children of the agent.
    fn is_empty(&self) -> bool {
        false
    }

    /// How many processes of programs the kernel has ended so far because all of them together had no memory left;
    /// nothing where it does not tell.
    fn memory_kills(&self) -> Option<u64> {
        None
    }

    /// Reaps children of the agent that are none of the running [`Child`]ren (`keep`); the pids are theirs.
    fn reap_others(&mut self, keep: &[i32]);
}
