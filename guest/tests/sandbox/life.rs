//! Beginning and end: nothing is left, whoever dies.

use super::Test;

pub(crate) const TESTS: &[Test] = &[];
