//! `pyro plan`: shows exactly what a request would do, and does nothing.

use super::args::{Global, Plan};
use super::load::{Findings, load};
use super::terminal::Terminal;
use crate::{Exit, plan};

pub(super) fn plan(args: &Plan, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let planned =
        load(&args.source, global, show, terminal).and_then(|loaded| loaded.plan(show, terminal));
    match planned {
        Err(exit) => exit,
        Ok(planned) => {
            if args.json {
                terminal.print(&format!("{:#}\n", plan::to_json(&planned)));
            } else {
                terminal.print(&plan::describe(&planned, terminal.plan_style()));
            }
            Exit::Ok
        }
    }
}
