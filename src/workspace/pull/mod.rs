//! Brings the changes of a workspace home into a directory of the host: all of them, or none.
//!
//! ```text
//!  base, theirs --decide--> Take | Merge | Conflict     per path, with what the host has there now (`HostTree`)
//!  changes --Writer--> stage, journal, renames, commit  all or nothing, whatever is killed (`StateDir::sweep_pulls`)
//!  Pulled                                               what was brought home: the base of the next pull
//! ```

mod decide;
mod error;
mod fault;
mod journal;
mod node;
mod pulled;
mod recover;
#[cfg(test)]
mod tests;
mod tree;
mod write;

pub use decide::{Contents, Decision, Sides, decide};
pub use error::PullError;
pub use node::Node;
pub(crate) use pulled::copy_pulled;
pub use pulled::{Pulled, PulledPath};
pub use recover::{MendedPull, PullEnd};
pub use tree::{Found, HostTree, is_below};
pub use write::{Afterwards, Brought, Change, NotBrought, Staged, Writer};
