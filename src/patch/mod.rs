//! Turns patch text into hunks and hunks into exact replacements. Pure: bytes in, bytes out.

/// A whole patch text.
#[derive(Debug, Clone)]
pub struct Patch;

/// What a patch makes of the files.
#[derive(Debug, Clone)]
pub struct Applied;
