//! `pyro schema`: the JSON Schemas, for editors and for programs that write requests or read receipts.

use super::args::{Schema, SchemaOf};
use super::terminal::Terminal;
use crate::Exit;

pub(super) fn schema(args: &Schema, terminal: &Terminal) -> Exit {
    terminal.print(match args.of {
        SchemaOf::Request => include_str!("../../specs/schema/request.json"),
        SchemaOf::Plan => include_str!("../../specs/schema/plan.json"),
        SchemaOf::Plans => include_str!("../../specs/schema/plans.json"),
        SchemaOf::Receipts => include_str!("../../specs/schema/receipts.json"),
        SchemaOf::Receipt => include_str!("../../specs/schema/receipt.json"),
    });
    Exit::Ok
}
