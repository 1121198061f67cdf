//! The namespace sandbox: outer namespaces with the agent, inner ones with the programs.
//!
//! - [`zygote`]: the process between host and sandbox;
//! - `outer`: the agent's namespaces and root; `inner`: init's; `sources`, `system`: what goes into the tree;
//! - `exec`: running a program inside; `caps`, `seccomp`: what it is denied;
//! - `mounts`, `idmap`, `report`, `sys`: the tools.

mod caps;
pub mod detach;
mod exec;
mod groups;
mod idmap;
mod inner;
mod layer;
mod mounts;
mod outer;
mod processes;
mod report;
mod seccomp;
mod sources;
mod sys;
mod syscalls;
mod system;
mod terminal;
pub mod zygote;

pub use exec::Sandbox;
pub(crate) use layer::settle as settle_layer;
