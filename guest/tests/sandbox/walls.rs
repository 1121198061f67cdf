//! What programs cannot do.

use super::Test;

pub(crate) const TESTS: &[Test] = &[];
