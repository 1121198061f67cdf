//! Where workspaces lie on the host: the state directory, the folder of each run and of each living workspace, seed and
//! baseline.

mod baseline;
mod baselines;
mod clock;
mod contents;
mod groups;
mod home;
mod homes;
mod host_file;
mod host_write;
mod kept;
mod owners;
mod pack;
mod past;
pub mod pull;
mod recipe;
pub mod registry;
mod remove;
mod replace;
mod secrets;
mod seed;
mod state;
mod store;

pub use baseline::Baseline;
pub use baselines::{Baselines, Sharing};
pub use clock::Timestamp;
pub use groups::{GroupError, IfMissing, NewGroup};
pub use home::{EndReason, Ended, Home, HomeError, Lifecycle};
pub use homes::SweptHomes;
pub use host_write::{HostFile, HostTarget, HostWriteError, unpack};
pub use kept::{Kept, KeptNote};
pub(crate) use owners::{last_base, settle};
pub use pack::{Hash, Pack, PackError, Packed, PackedKind};
pub(crate) use past::{copy_past, marks, remove_unfinished};
pub use recipe::{Recipe, RecipeGroup, RecipeSetting};
pub(crate) use remove::remove_tree;
pub use replace::replace_file;
pub(crate) use seed::unpack_source;
pub use seed::{Filled, KeepContents, Seed, SeedError, fill};
pub use state::{RunDir, StateDir, StateError, Swept};
pub use store::{Stored, StoredKind};
