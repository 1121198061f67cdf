//! Integration tests, in one binary: the way a reader would check.

mod every_key;
mod parse;
mod reference;
mod round_trip;
