//! pyro runs request documents against disposable Linux workspaces.

pub mod patch;
pub mod plan;
pub mod preflight;
pub mod render;
pub mod request;
