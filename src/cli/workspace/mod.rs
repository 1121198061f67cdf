//! `pyro workspace`: workspaces that live. Builds requests, asks for lifecycles, prints what came of it.

mod answer;
pub(super) mod args;
mod create;
mod disk;
mod enter;
mod exec;
mod export;
mod files;
mod fork;
mod history;
mod life;
mod list;
mod patch;
mod prune;
mod pull;
mod search;
mod snapshot;
mod summary;
mod sync;
mod used;

use super::args::Global;
use super::load::{Findings, fail};
use super::terminal::Terminal;
use crate::Exit;
use crate::execute::chain;
use crate::living::{LivingError, Workspaces};
use args::{
    DiskCommand, FileCommand, PatchCommand, SnapshotCommand, SyncCommand, WorkspaceCommand,
};

/// Where a command of the family is: what it was told, and where it prints.
#[derive(Debug, Clone, Copy)]
struct Here<'a> {
    global: &'a Global,
    terminal: &'a Terminal,
}

pub(super) fn workspace(command: &WorkspaceCommand, global: &Global, terminal: &Terminal) -> u8 {
    let here = Here { global, terminal };
    let exit = match command {
        WorkspaceCommand::Create(args) => create::create(args, here),
        WorkspaceCommand::List(args) => list::list(args, here),
        WorkspaceCommand::Status(args) => list::status(args, here),
        WorkspaceCommand::Update(args) => list::update(args, here),
        WorkspaceCommand::Exec(args) => return exec::exec(args, here),
        WorkspaceCommand::Enter(args) => return enter::enter(args, here),
        WorkspaceCommand::Logs(args) => history::logs(args, here),
        WorkspaceCommand::History(args) => history::history(args, here),
        WorkspaceCommand::Sync(SyncCommand::Push(args)) => sync::push(args, here),
        WorkspaceCommand::File(FileCommand::List(args)) => files::list(args, here),
        WorkspaceCommand::File(FileCommand::Read(args)) => files::read(args, here),
        WorkspaceCommand::File(FileCommand::Write(args)) => files::write(args, here),
        WorkspaceCommand::File(FileCommand::Search(args)) => search::search(args, here),
        WorkspaceCommand::File(FileCommand::Move(args)) => files::move_path(args, here),
        WorkspaceCommand::File(FileCommand::Delete(args)) => files::delete(args, here),
        WorkspaceCommand::Patch(PatchCommand::Apply(args)) => patch::apply(args, here),
        WorkspaceCommand::Diff(args) => patch::diff(args, here),
        WorkspaceCommand::Export(args) => export::export(args, here),
        WorkspaceCommand::Pull(args) => pull::pull(args, here),
        WorkspaceCommand::Snapshot(SnapshotCommand::Create(args)) => snapshot::create(args, here),
        WorkspaceCommand::Snapshot(SnapshotCommand::List(args)) => snapshot::list(args, here),
        WorkspaceCommand::Snapshot(SnapshotCommand::Delete(args)) => snapshot::delete(args, here),
        WorkspaceCommand::Reset(args) => snapshot::reset(args, here),
        WorkspaceCommand::Stop(args) => life::stop(args, here),
        WorkspaceCommand::Start(args) => life::start(args, here),
        WorkspaceCommand::Disk(DiskCommand::List(args)) => disk::list(args, here),
        WorkspaceCommand::Disk(DiskCommand::Read(args)) => disk::read(args, here),
        WorkspaceCommand::Disk(DiskCommand::Export(args)) => disk::export(args, here),
        WorkspaceCommand::Fork(args) => fork::fork(args, here),
        WorkspaceCommand::Delete(args) => life::delete(args, here),
        WorkspaceCommand::Prune(args) => prune::prune(args, here),
    };
    exit.code()
}

impl Here<'_> {
    /// Opens the registry and does something with it; what was put right on the way is said.
    fn with<T>(
        self,
        json: bool,
        act: impl FnOnce(&mut Workspaces) -> Result<T, LivingError>,
    ) -> Result<T, Exit> {
        let show = Findings::json(json);
        let mut workspaces = Workspaces::open(self.global.state_dir.as_deref())
            .map_err(|e| self.refuse(show, &e))?;
        let done = act(&mut workspaces);
        for mended in workspaces.mended() {
            self.terminal.note(&mended.to_string());
        }
        done.map_err(|error| self.refuse(show, &error))
    }

    /// Puts right what is not as it should be with a workspace that could not be used, and says so: a plan only looks.
    fn mend(self, name: &str) {
        if let Ok(mut workspaces) = Workspaces::open(self.global.state_dir.as_deref()) {
            // Why it cannot be used was said.
            let _found = workspaces.find(name);
            for mended in workspaces.mended() {
                self.terminal.note(&mended.to_string());
            }
        }
    }

    /// Says why something could not be done.
    fn refuse(self, show: Findings, error: &LivingError) -> Exit {
        let message = chain(error);
        match (show, error.help()) {
            (Findings::Json, help) => {
                let error =
                    serde_json::json!({"code": error.code(), "message": message, "help": help});
                let answer = serde_json::json!({"ok": false, "error": error});
                self.terminal.print(&format!("{answer:#}\n"));
            }
            (Findings::Drawn, help) => {
                fail(show, self.terminal, error.code(), &message);
                if let Some(help) = help {
                    self.terminal.help(&help);
                }
            }
        }
        Exit::Refused
    }

    /// Prints a payload, sorted and with two blanks for each level.
    fn payload(self, payload: &impl serde::Serialize) {
        let value = serde_json::to_value(payload).expect("payloads are data");
        self.terminal.print(&format!("{value:#}\n"));
    }

    /// Prints a line for people.
    fn say(self, line: &str) {
        if !self.terminal.quiet {
            let line = super::terminal::visible(line);
            self.terminal.print(&format!("{line}\n"));
        }
    }
}
