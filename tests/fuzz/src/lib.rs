//! What the fuzz targets do with their input. `tests/it/corpus.rs` includes these modules and replays `corpus/`, so
//! a module here uses the crates that both have: `pyro` and the standard library.

pub mod patch;
