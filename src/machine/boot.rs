//! The conversation with a zygote: one message down, one up, each with its length before it.

use pyro_protocol::boot::{Boot, BootReply, BootStep};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The zygote gives up on a step sooner than this, and says which.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is accepted, in bytes.
const LONGEST: u32 = 1 << 20;

/// Says what to make.
pub(crate) fn tell(control: &mut UnixStream, boot: &Boot) -> io::Result<()> {
    let text = serde_json::to_vec(boot)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    control.write_all(&length.to_le_bytes())?;
    control.write_all(&text)
}

/// Waits for the answer.
pub(crate) fn hear(control: &mut UnixStream) -> io::Result<BootReply> {
    control.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    control.read_exact(&mut length).map_err(in_time)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    control.read_exact(&mut text).map_err(in_time)?;
    Ok(serde_json::from_slice(&text)?)
}

fn in_time(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

/// A step as it is written everywhere (`inner-mounts`).
pub(crate) fn name(step: BootStep) -> &'static str {
    match step {
        BootStep::Rlimits => "rlimits",
        BootStep::OuterNamespaces => "outer-namespaces",
        BootStep::IdMap => "id-map",
        BootStep::AgentRoot => "agent-root",
        BootStep::SystemTree => "system-tree",
        BootStep::Loopback => "loopback",
        BootStep::InnerNamespaces => "inner-namespaces",
        BootStep::InnerMounts => "inner-mounts",
        BootStep::Pivot => "pivot",
        BootStep::Privileges => "privileges",
        BootStep::Seccomp => "seccomp",
    }
}
