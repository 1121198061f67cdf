//! The loop over the link.

use crate::spawn::Spawner;
use pyro_protocol::boot::Limits;
use std::os::fd::OwnedFd;

/// What the agent works on.
#[derive(Debug)]
pub struct Agent {
    /// The byte stream to the host, connected.
    pub link: OwnedFd,
    /// The run's folder: `tree/`, `stage/`, `spool/`, and maybe `baseline` (all on one mount).
    pub run_dir: OwnedFd,
    /// Who owns what the agent creates in the tree, in the agent's own user namespace: uid = gid.
    /// 1 with a range of ids, 0 with a single id.
    pub owner: u32,
    /// What the sandbox may use, as far as the agent watches it.
    pub limits: Limits,
    /// Runs programs.
    pub spawner: Box<dyn Spawner>,
}

/// Serves the link until the host closes it.
///
/// # Errors
/// Where the link itself breaks.
pub fn serve(agent: Agent) -> std::io::Result<()> {
    drop(agent);
    Ok(())
}
