//! Integration tests, in one binary: the way a reader would check.

mod docs;
mod every_key;
mod layers;
mod parse;
mod plan;
mod reference;
mod round_trip;
