//! Waiting for one child, with what it used. The one thing rustix has no safe call for.
#![expect(
    unsafe_code,
    reason = "wait4 is the only call that tells one child's resource use"
)]

/// A child that has ended and is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// The code of a program that ended by itself.
    pub(crate) code: Option<i32>,
    /// The signal that ended it otherwise.
    pub(crate) signal: i32,
    /// Largest resident set, in KiB.
    pub(crate) max_rss_kib: u64,
    /// User plus system time, in microseconds.
    pub(crate) cpu_us: u64,
}

/// Reaps the child if it has ended.
///
/// # Errors
/// Where there is no such child (somebody else reaped it).
pub(crate) fn reap(pid: i32) -> std::io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live local variables of the types that wait4 fills in.
    let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match found {
        0 => Ok(None),
        -1 => Err(std::io::Error::last_os_error()),
        _ => {
            let micros = |time: libc::timeval| {
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                seconds * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
            };
            Ok(Some(Ended {
                code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                signal: libc::WTERMSIG(status),
                max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
                cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            }))
        }
    }
}
