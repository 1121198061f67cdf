//! pyro runs request documents against disposable Linux workspaces.

pub mod cli;
pub mod execute;
mod exit;
pub mod machine;
pub mod patch;
pub mod plan;
pub mod preflight;
pub mod receipt;
pub mod render;
pub mod request;
pub mod workspace;

pub use exit::Exit;
