//! The secrets of a workspace while something is done with it.

use super::{Redaction, Secret};
use std::collections::BTreeMap;
use std::fmt;

/// The secrets of a workspace by their names, and what takes them out of texts.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, Secret>,
    redaction: Redaction,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Holds these.
    ///
    /// # Errors
    /// Where there is more of them than can be looked for in texts.
    pub fn new(values: BTreeMap<String, Secret>) -> Result<Self, String> {
        let named = values.iter().map(|(name, secret)| (name.as_str(), secret));
        Ok(Self {
            redaction: Redaction::of(named)?,
            values,
        })
    }

    /// The secret of that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.values
            .iter()
            .map(|(name, secret)| (name.as_str(), secret))
    }

    /// What takes them out of texts.
    pub fn redaction(&self) -> &Redaction {
        &self.redaction
    }
}
