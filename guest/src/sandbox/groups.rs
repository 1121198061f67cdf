//! Control groups that the host has made for programs. The agent opens them and stays outside: a program that uses up
//! what there is must not take the agent along.

use super::report::{At as _, refusal};
use pyro_protocol::boot::{BootFailure, BootStep, Confine};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Opened with the rights of whoever started us, which is what the kernel asks for when somebody joins.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    join: Vec<OwnedFd>,
    events: Option<OwnedFd>,
}

impl Groups {
    pub(crate) fn open(confine: &Confine) -> Result<Self, BootFailure> {
        let open = |path: &[u8], flags| {
            let shown = String::from_utf8_lossy(path);
            if !Path::new(OsStr::from_bytes(path)).is_absolute() {
                return Err(refusal(BootStep::Rlimits, format!("open {shown}")));
            }
            rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
                .at(BootStep::Rlimits, format!("open {shown}"))
        };
        Ok(Self {
            join: confine
                .join
                .iter()
                .map(|path| open(path, OFlags::WRONLY))
                .collect::<Result<_, _>>()?,
            events: confine
                .events
                .as_ref()
                .map(|path| open(path, OFlags::RDONLY))
                .transpose()?,
        })
    }

    /// Moves the calling process, which has one thread and has entered nothing yet. No allocation.
    pub(crate) fn join(&self) -> rustix::io::Result<()> {
        for group in &self.join {
            rustix::io::write(group, b"0")?;
        }
        Ok(())
    }

    /// How many processes the kernel has ended because the group had no memory left.
    pub(crate) fn kills(&self) -> Option<u64> {
        let mut text = [0; 1024];
        let length = rustix::io::pread(self.events.as_ref()?, &mut text, 0).ok()?;
        kills(text.get(..length)?)
    }
}

/// Both versions have a line `oom_kill N`.
fn kills(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::kills;

    #[test]
    fn both_versions_are_read() {
        let first = b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let second = b"low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!((kills(first), kills(second)), (Some(3), Some(1)));
        assert_eq!(kills(b"oom_kill_disable 0\n"), None);
    }
}
