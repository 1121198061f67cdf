//! What the fuzz targets do with their input. `tests/it/corpus.rs` includes these modules and replays `corpus/`, so
//! a module here uses the crates that both have: `pyro`, `pyro-protocol`, `serde_json` and `tempfile`. Only `agent`
//! needs the agent, whose own tests replay its corpus.

pub mod agent;
pub mod archive;
pub mod document;
pub mod frames;
pub mod patch;
pub mod seed;
pub mod tar;
