//! `pyro plan`: shows exactly what a request would do, and does nothing. `--out` keeps it for `pyro apply --plan`.

use super::apply::combinations;
use super::args::{Global, Plan};
use super::load::{Findings, Loaded, load, refused};
use super::saved;
use super::terminal::Terminal;
use crate::execute::Goldens;
use crate::plan::Effect;
use crate::saved::SavedPlan;
use crate::{Exit, plan};
use std::path::Path;

pub(super) fn plan(args: &Plan, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let mut loaded = match load(&args.source, global, show, terminal) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    loaded.options.selection = args.choice.selection();
    if args.choice.update_goldens {
        loaded.options.goldens = Goldens::update();
    }
    let planned = match args.out.as_deref() {
        None => {
            let (runs, against) = combinations(&loaded);
            if !against.is_empty() {
                return refused(&against, show, terminal);
            }
            runs.into_iter().map(|run| run.plan).collect()
        }
        Some(path) => match save(&loaded, path, show, terminal) {
            Err(exit) => return exit,
            Ok((planned, saved)) => {
                let path = path.display();
                terminal.note(&format!(
                    "saved to {path} ({}); `pyro apply --plan {path}` runs exactly this",
                    saved.digest().short()
                ));
                vec![planned]
            }
        },
    };
    show_plans(&planned, !loaded.request.matrix.is_empty(), args, terminal);
    let effect = planned.iter().map(plan::Plan::effect).max();
    match effect.unwrap_or(Effect::Nothing) {
        Effect::Workspace | Effect::Host if args.detailed_exit_code => Exit::Changes,
        Effect::Nothing | Effect::Workspace | Effect::Host => Exit::Ok,
    }
}

/// One plan, or those of all combinations.
fn show_plans(plans: &[plan::Plan], several: bool, args: &Plan, terminal: &Terminal) {
    if args.json {
        let mut data: Vec<_> = plans.iter().map(plan::to_json).collect();
        let value = match data.pop() {
            Some(one) if !several => one,
            last => {
                data.extend(last);
                serde_json::json!({ "format_version": 1, "plans": data })
            }
        };
        terminal.print(&format!("{value:#}\n"));
        return;
    }
    for (index, plan) in plans.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let text = plan::describe(plan, terminal.plan_style());
        terminal.print(&format!("{gap}{text}"));
    }
}

/// The plan, and what was written of it.
fn save(
    loaded: &Loaded,
    path: &Path,
    show: Findings,
    terminal: &Terminal,
) -> Result<(plan::Plan, SavedPlan), Exit> {
    let (kept, planned) = SavedPlan::of(&loaded.document, loaded.file.as_deref(), &loaded.options)
        .map_err(|error| loaded.refuse(&error, show, terminal))?;
    match kept.save(path) {
        Ok(()) => Ok((planned, kept)),
        Err(error) => Err(saved::refused(&error, show, terminal)),
    }
}
