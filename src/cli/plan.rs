//! `pyro plan`: shows exactly what a request would do, and does nothing. `--out` keeps it for `pyro apply --plan`.

use super::args::{Global, Plan};
use super::load::{Findings, Loaded, load};
use super::saved;
use super::terminal::Terminal;
use crate::execute::Goldens;
use crate::plan::Effect;
use crate::saved::SavedPlan;
use crate::{Exit, plan};
use std::path::Path;

pub(super) fn plan(args: &Plan, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let planned = load(&args.source, global, show, terminal).and_then(|mut loaded| {
        loaded.options.selection = args.choice.selection();
        if args.choice.update_goldens {
            loaded.options.goldens = Goldens::update();
        }
        match args.out.as_deref() {
            None => Ok((loaded.plan(show, terminal)?, None)),
            Some(path) => save(&loaded, path, show, terminal)
                .map(|(planned, saved)| (planned, Some((path, saved)))),
        }
    });
    let (planned, saved) = match planned {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    if args.json {
        terminal.print(&format!("{:#}\n", plan::to_json(&planned)));
    } else {
        terminal.print(&plan::describe(&planned, terminal.plan_style()));
    }
    if let Some((path, saved)) = saved {
        let path = path.display();
        terminal.note(&format!(
            "saved to {path} ({}); `pyro apply --plan {path}` runs exactly this",
            saved.digest().short()
        ));
    }
    match planned.effect() {
        Effect::Workspace | Effect::Host if args.detailed_exit_code => Exit::Changes,
        Effect::Nothing | Effect::Workspace | Effect::Host => Exit::Ok,
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
