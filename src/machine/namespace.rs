//! stub
use super::{Link, LinkError};
use pyro_protocol::boot::{Boot, Ids};
use std::path::Path;
/// stub
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// stub
    #[error("stub")]
    Stub,
}
/// stub
#[derive(Debug)]
pub struct Namespace;
/// stub
#[derive(Debug)]
pub struct IdRangeLock;
/// stub
pub fn ids_for_this_user(_: &Path) -> std::io::Result<(Ids, Option<IdRangeLock>)> {
    Ok((Ids::Single, None))
}
impl Namespace {
    /// stub
    pub fn start(_: &Boot) -> Result<Self, MachineError> {
        Err(MachineError::Stub)
    }
    /// stub
    pub fn isolation(&self) -> Vec<String> {
        Vec::new()
    }
    /// stub
    pub fn link(&mut self) -> Result<Link, LinkError> {
        Err(LinkError::Closed)
    }
    /// stub
    pub fn stop(self) -> Result<(), MachineError> {
        Ok(())
    }
}
