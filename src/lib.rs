//! pyro runs request documents against disposable Linux workspaces.

pub mod machine;
pub mod patch;
