//! Exit codes. They are an API: scripts and models act on them.

use std::process::ExitCode;

/// How a `pyro` command ended. `pyro run` passes the guest's own code through instead of `Ok` and `Failed`
/// (124 timed out, 125 pyro itself failed, 126 and 127 not started).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything was as expected.
    Ok = 0,
    /// A command about workspaces, environments or the state directory was refused or failed, or a comparison that was
    /// asked for a code found a difference.
    Refused = 1,
    /// The input is wrong: usage, document, nothing selected.
    Input = 2,
    /// The plan was refused: the request cannot work here.
    Plan = 3,
    /// A step failed, or an expectation does not hold.
    Failed = 4,
    /// The machine or the guest failed.
    Machine = 5,
    /// `pyro plan --detailed-exit-code`: the plan is fine, and would change something.
    Changes = 10,
    /// A bug in pyro.
    Bug = 70,
    /// Interrupted.
    Interrupted = 130,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Refused,
        Self::Input,
        Self::Plan,
        Self::Failed,
        Self::Machine,
        Self::Changes,
        Self::Bug,
        Self::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The worse of two, for a command that does several things: the higher number.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.code() > self.code() {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
