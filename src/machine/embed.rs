//! The guest agent, inside this program; executed from memory, so that no file of the host is involved.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

static AGENT: &[u8] = include_bytes!(env!("PYRO_GUEST"));

static SEALED: OnceLock<OwnedFd> = OnceLock::new();

/// The agent as a sealed file in memory, made once for each process.
///
/// # Errors
/// Where the kernel has no memory files, or forbids executable ones.
pub fn agent() -> io::Result<BorrowedFd<'static>> {
    if let Some(sealed) = SEALED.get() {
        return Ok(sealed.as_fd());
    }
    let made = seal()?;
    Ok(SEALED.get_or_init(|| made).as_fd())
}

/// Takes the file that another process of the same program has sealed in the place of an own one: what is embedded here
/// need not even be read then.
pub(crate) fn adopt(sealed: OwnedFd) {
    // Where there is one already, it is as good.
    let _other = SEALED.set(sealed);
}

fn seal() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create(c"pyro-agent", flags | MemfdFlags::EXEC) {
        // Before 6.3 there was no such flag, and every one was executable.
        Err(Errno::INVAL) => memfd_create(c"pyro-agent", flags)?,
        made => made?,
    };
    let mut file = File::from(memory);
    file.write_all(AGENT)?;
    // Nobody changes it any more, a program that reaches it through /proc included.
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
