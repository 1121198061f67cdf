//! What happened: plain data, written once, readable for ever. A failed step is data here, not an error.
//!
//! The prose is `specs/receipt.md`.

mod model;

pub use model::{
    ChangeReport, EnvironmentReport, ExecReport, ExpectFailure, FileReport, HunkReport, Outcome,
    OutputReport, PathVersion, Receipt, RefusalReport, RequestReport, SeedReport, StepOutcome,
    StepReport, Text,
};

use std::io;
use std::path::Path;

impl Receipt {
    /// The receipt as JSON text: two-space indent, sorted keys, a final newline.
    ///
    /// # Panics
    /// Never: a receipt holds nothing that JSON cannot.
    pub fn to_json(&self) -> String {
        // By way of `Value`, whose objects sort their keys.
        let value = serde_json::to_value(self).expect("a receipt is JSON");
        let mut text = serde_json::to_string_pretty(&value).expect("a value is JSON");
        text.push('\n');
        text
    }

    /// Writes the receipt so that `path` holds either what it held before or the whole receipt.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        crate::workspace::replace_file(path, self.to_json().as_bytes())
    }
}
