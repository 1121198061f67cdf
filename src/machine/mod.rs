//! Machines: what gives the guest agent a place to run and a byte stream to the host, and the host's end of it.

pub mod boot;
mod cancel;
pub mod embed;
mod ids;
mod link;
pub mod namespace;
mod recover;

pub use cancel::Cancel;
pub use ids::{IdRangeLock, ids_for_this_user};
pub(crate) use ids::{ids_like, in_range};
pub use link::{CallEvent, CallId, Link, LinkError, Wake};
pub(crate) use namespace::start_holding;
pub use namespace::{Booting, Namespace, Spare, start};
pub use recover::recover;

use pyro_protocol::boot::BootFailure;
use std::fmt;
use std::io;

/// A machine that could not be made, or not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The agent's copy in memory.
    #[error("prepare the guest agent in memory")]
    PrepareAgent {
        /// What the kernel said.
        source: io::Error,
    },
    /// The two sockets of a machine.
    #[error("make the sockets of the machine")]
    MakeSockets {
        /// What the kernel said.
        source: io::Error,
    },
    /// Owners and modes of the run folder.
    #[error("prepare the run folder {path}")]
    PrepareRunDir {
        /// The folder, or one in it.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The zygote's process.
    #[error("start the zygote")]
    StartZygote {
        /// What the kernel said.
        source: io::Error,
    },
    /// The boot message.
    #[error("tell the zygote what to make")]
    TellZygote {
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer to it.
    #[error("hear from the zygote")]
    HearZygote {
        /// What the kernel said; `TimedOut` after half a minute, `UnexpectedEof` where it died.
        source: io::Error,
    },
    /// A step of making the sandbox.
    #[error("{}", Step(.0))]
    BootFailed(BootFailure),
    /// The sandbox did not end in time and was killed.
    #[error("end the sandbox in time; it was killed")]
    StopZygote {
        /// What the kernel said.
        source: io::Error,
    },
}

struct Step<'a>(&'a BootFailure);

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BootFailure {
            step,
            detail,
            errno,
        } = self.0;
        write!(f, "make the sandbox: {detail}")?;
        if *errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(*errno))?;
        }
        write!(f, " (step {})", boot::name(*step))
    }
}
