//! Integration tests, in one binary: the way a reader would check.

mod parse;
mod round_trip;
