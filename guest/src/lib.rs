//! The guest agent: an interpreter of ops. It decides nothing; the host does.
//!
//! - [`serve`]: the loop over the link: frames in, calls, frames out;
//! - [`spawn`]: what the loop needs from a sandbox in order to run programs;
//! - [`sandbox`]: the namespace sandbox, made by the zygote;

pub mod sandbox;
pub mod serve;
pub mod spawn;
