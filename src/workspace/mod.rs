//! Where workspaces lie on the host: the state directory, the folder of each run, its seed and baseline.

mod baseline;
mod clock;
mod groups;
mod host_file;
mod host_write;
mod kept;
pub mod registry;
mod remove;
mod replace;
mod seed;
mod state;
mod store;

pub use baseline::Baseline;
pub use clock::Timestamp;
pub use groups::{GroupError, IfMissing, NewGroup};
pub use host_write::{HostFile, HostTarget, HostWriteError, unpack};
pub use kept::{Kept, KeptNote};
pub use replace::replace_file;
pub use seed::{Filled, KeepContents, Seed, SeedError, fill};
pub use state::{RunDir, StateDir, StateError, Swept};
pub use store::{Stored, StoredKind};
