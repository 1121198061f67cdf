//! pyro runs request documents against disposable Linux workspaces: it plans on the host, executes in a sandbox, and
//! writes down what happened.
//!
//! ```
//! use pyro::{Request, Step, receipt::Outcome};
//!
//! let ran = Request::new("host")
//!     .step(Step::write("bug.sh", "exit 3\n"))
//!     .step(Step::exec(["sh", "bug.sh"]).id("reproduce").expect_exit(3))
//!     .step(Step::patch("--- a/bug.sh\n+++ b/bug.sh\n@@ -1 +1 @@\n-exit 3\n+exit 0\n").id("fix"))
//!     .step(Step::exec(["sh", "bug.sh"]).id("verify"))
//!     .apply()?;
//!
//! assert_eq!(ran.receipt.outcome, Outcome::Passed);
//! assert_eq!(ran.receipt.changes.len(), 1);
//! # Ok::<(), pyro::Error>(())
//! ```
//!
//! A request goes one way, whoever made it, and each module is a stage of it:
//!
//! - [`request`]: what was asked; a document or a builder becomes a [`Request`];
//! - [`preflight`]: what is there; looks at the host, once;
//! - [`mod@plan`]: what will happen; pure, and all problems at once;
//! - [`execute`], with [`machine`] and [`workspace`]: doing it, in a sandbox;
//! - [`receipt`]: what happened.
//!
//! [`batch`] does this with several requests, one after the other.
//! [`saved`] keeps a plan that was approved, to run exactly that one later.
//!
//! [`keeper`] keeps the machine of a workspace alive between commands.
//!
//! [`exclude`] says what of a host tree is left out, and [`secret`] takes out what nobody may see.
//!
//! [`patch`] turns patch text into exact replacements, and back. [`Request::plan`] and [`plan::Plan::apply`] take
//! [`Options`] where the shortcuts of the builder do not reach.

pub mod archive;
pub mod batch;
pub mod cli;
pub mod exclude;
pub mod execute;
mod exit;
pub mod explain;
pub mod init;
pub mod keeper;
pub mod living;
pub mod machine;
pub mod patch;
mod pipeline;
pub mod plan;
pub mod preflight;
pub mod receipt;
pub mod render;
pub mod report;
pub mod request;
pub mod saved;
pub mod sdk;
pub mod search;
pub mod secret;
pub mod workspace;

pub use execute::{Event, Goldens, Ran, Stream};
pub use exit::Exit;
pub use machine::Cancel;
pub use pipeline::{Error, Options, References};
pub use plan::Plan;
pub use receipt::Receipt;
pub use request::{Request, Step};
pub use saved::SavedPlan;
