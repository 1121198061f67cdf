//! Why something did not come to its result.

use crate::living::LivingError;
use crate::receipt::RefusalReport;

/// Why something did not come to its result. What a program ends with is a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong, or cannot work here.
    #[error(transparent)]
    Request(#[from] crate::Error),
    /// The workspace cannot be used.
    #[error(transparent)]
    Workspace(#[from] LivingError),
    /// A step was refused, and nothing of it done.
    #[error("{}", .0.message)]
    Refused(RefusalReport),
    /// The machine died; whether the step had an effect is not known.
    #[error("{0}")]
    Lost(String),
    /// It was cancelled.
    #[error("go on: it was cancelled")]
    Cancelled,
    /// A workspace is made by a request that has no steps and names none that lives.
    #[error(
        "make a workspace: the request has steps, or names one that lives; run those in the workspace"
    )]
    Steps,
}

impl Error {
    /// For programs: as `specs/errors.md` has it.
    pub fn code(&self) -> &str {
        match self {
            Self::Request(crate::Error::Plan(problems)) => problems
                .as_slice()
                .first()
                .map_or("machine", |problem| problem.code.as_str()),
            Self::Request(_) => "request",
            Self::Workspace(error) => error.code(),
            Self::Refused(refusal) => &refusal.code,
            Self::Lost(_) => "lost",
            Self::Cancelled => "cancelled",
            Self::Steps => "usage",
        }
    }
}
