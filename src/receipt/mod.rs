//! What happened: plain data, written once, readable for ever. A failed step is data here, not an error.
//!
//! The prose is `specs/receipt.md`.

mod compare;
mod hide;
mod kept;
mod model;
mod paths;
mod pull;
mod refusal;
mod runs;
#[cfg(test)]
mod schema;
mod search;
mod step;
mod text;

pub use compare::{Difference, compare};
pub(crate) use hide::has_secret;
pub use kept::{FindError, Kept, ReadError, find, kept, read_receipt};
pub use model::{
    EnvironmentReport, KeptReport, LeftOutReport, Outcome, Receipt, RequestReport, SeedReport,
    WorkspaceReport,
};
pub use paths::{
    ChangeReport, CountsReport, EntryReport, FileReport, HunkReport, MoveReport, PathVersion,
};
pub use pull::{PullConflict, PullReport, PulledHow, PulledReport};
pub use refusal::{NearestReport, PatchReason, RefusalReport};
pub use runs::{RunOutcome, RunReport, Runs};
pub use search::{MatchReport, SearchReport};
pub use step::{
    AttemptReport, ExecReport, ExpectFailure, OutputReport, RestReport, StepOutcome, StepReport,
};
pub use text::Text;

use std::io;
use std::path::Path;

impl Receipt {
    /// The receipt as JSON text: two-space indent, sorted keys, a final newline.
    pub fn to_json(&self) -> String {
        json_text(self)
    }

    /// Writes the receipt so that `path` holds either what it held before or the whole receipt.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        crate::workspace::replace_file(path, self.to_json().as_bytes())
    }
}

/// JSON as every document of ours is written.
fn json_text(document: &impl serde::Serialize) -> String {
    // By way of `Value`, whose objects sort their keys.
    let value = serde_json::to_value(document).expect("a receipt holds nothing that JSON cannot");
    let mut text = serde_json::to_string_pretty(&value).expect("a value is JSON");
    text.push('\n');
    text
}
