//! The guest agent: an interpreter of ops. It decides nothing; the host does.
//!
//! - [`serve`]: the loop over the link: frames in, calls, frames out;
//! - [`spawn`]: what the loop needs from a sandbox in order to run programs;
//! - [`sandbox`]: the namespace sandbox, made by the zygote;
//! - `calls`: one file an op; `tree`: paths that cannot leave the work tree; `watch`: limits that nobody else enforces.

mod calls;
pub mod sandbox;
pub mod serve;
pub mod spawn;
mod tree;
mod watch;

pub use calls::journal::Recovered;
pub use calls::recover;
