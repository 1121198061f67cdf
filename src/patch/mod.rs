//! Turns patch text into hunks and hunks into exact replacements. Pure: bytes in, bytes out.
