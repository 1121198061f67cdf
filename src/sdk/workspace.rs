//! One workspace, and what can be done with it.

use super::{Error, Pyro, Status, Task};
use crate::execute::Ran;
use crate::living::Fork;
use crate::machine::Cancel;
use crate::receipt::{
    ChangeReport, EntryReport, FileReport, MoveReport, Outcome, OutputReport, PullReport,
    RestReport, SearchReport, SeedReport, StepReport, Text,
};
use crate::request::{Request, Step, StepBuilder, literal};
use crate::workspace::HostFile;
use crate::workspace::registry::{Change, HistoryEntry, Page, SnapshotRecord};

/// A workspace, by its name or id.
#[derive(Debug, Clone)]
pub struct Workspace {
    pyro: Pyro,
    name: String,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// As the receipt has it.
    pub report: StepReport,
    /// Its place in the history.
    pub sequence: Option<u64>,
}

/// What is in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of whole paths.
    pub entries: Vec<EntryReport>,
    /// What is not told, and where to go on.
    pub rest: Option<RestReport>,
}

impl Executed {
    /// Its exit code: 124 where its time was over, 128 + n where a signal ended it, 126 or 127 where it did not start.
    pub fn exit_code(&self) -> i32 {
        self.report.exec.as_ref().map_or(-1, |exec| exec.exit_code)
    }

    /// What it wrote to standard output, as far as the receipt keeps it.
    pub fn stdout(&self) -> Vec<u8> {
        kept(self.report.stdout.as_ref())
    }

    /// What it wrote to standard error, as far as the receipt keeps it.
    pub fn stderr(&self) -> Vec<u8> {
        kept(self.report.stderr.as_ref())
    }
}

fn kept(report: Option<&OutputReport>) -> Vec<u8> {
    report.map_or_else(Vec::new, |report| {
        let mut bytes = report.head.bytes();
        bytes.extend(report.tail.iter().flat_map(Text::bytes));
        bytes
    })
}

impl Workspace {
    pub(super) fn new(pyro: Pyro, name: String) -> Self {
        Self { pyro, name }
    }

    /// The name or id that it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs steps in it, one after the other; a step that fails is data in the receipt.
    pub fn run(&self, steps: impl IntoIterator<Item = StepBuilder>) -> Task<Result<Ran, Error>> {
        let request = Request::in_workspace(&self.name).steps(steps);
        let mut options = self.pyro.options();
        let cancel = Cancel::new();
        options.cancel = cancel.as_ref().ok().cloned();
        let guard = options.cancel.clone();
        Task::begin(guard, move || {
            cancel.map_err(crate::Error::Cancel)?;
            let request = request.build().map_err(crate::Error::Parse)?;
            let plan = request.plan(&options)?;
            Ok(plan.apply(&options, &mut |_| {})?)
        })
    }

    /// Runs one step, and takes of its report what is wanted.
    fn step<T: Send + 'static>(
        &self,
        step: StepBuilder,
        take: impl FnOnce(StepReport, Option<u64>) -> T + Send + 'static,
    ) -> Task<Result<T, Error>> {
        let this = self.clone();
        let cancel = Cancel::new();
        let guard = cancel.as_ref().ok().cloned();
        Task::begin(guard.clone(), move || {
            cancel.map_err(crate::Error::Cancel)?;
            let mut options = this.pyro.options();
            options.cancel = guard;
            let request = Request::in_workspace(&this.name).step(step);
            let request = request.build().map_err(crate::Error::Parse)?;
            let Ran {
                receipt, sequence, ..
            } = request.plan(&options)?.apply(&options, &mut |_| {})?;
            if receipt.outcome == Outcome::Cancelled {
                return Err(Error::Cancelled);
            }
            let lost = receipt.lost;
            let report = receipt.steps.into_iter().next();
            match (lost, report) {
                (Some(lost), _) => Err(Error::Lost(lost)),
                (None, None) => Err(Error::Lost("the step was not run".to_owned())),
                (None, Some(mut report)) => match report.refusal.take() {
                    Some(refusal) => Err(Error::Refused(refusal)),
                    None => Ok(take(report, sequence)),
                },
            }
        })
    }

    /// Runs a program; it may take 30 seconds.
    pub fn exec<T: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = T>,
    ) -> Task<Result<Executed, Error>> {
        let argv: Vec<String> = argv.into_iter().map(|word| literal(&word.into())).collect();
        self.exec_step(Step::exec(argv).timeout("30s"))
    }

    /// Runs the program of an `exec` step, with everything that such a step can say.
    pub fn exec_step(&self, step: StepBuilder) -> Task<Result<Executed, Error>> {
        self.step(step, |report, sequence| Executed { report, sequence })
    }

    /// Reads a file, at most `max_bytes` from `offset` on.
    pub fn read_file(
        &self,
        path: &str,
        offset: u32,
        max_bytes: u32,
    ) -> Task<Result<FileReport, Error>> {
        let step = Step::read(path)
            .offset(offset)
            .max_bytes(format!("{max_bytes}B"));
        self.step(step, |report, _| first(report.files))
    }

    /// Writes a file; parents are made.
    pub fn write_file(
        &self,
        path: &str,
        bytes: impl AsRef<[u8]>,
    ) -> Task<Result<FileReport, Error>> {
        self.step(Step::write_content(path, bytes), |report, _| {
            first(report.files)
        })
    }

    /// Adds bytes at the end of a file, which is made where it is missing.
    pub fn append_file(
        &self,
        path: &str,
        bytes: impl AsRef<[u8]>,
    ) -> Task<Result<FileReport, Error>> {
        self.step(Step::append_content(path, bytes), |report, _| {
            first(report.files)
        })
    }

    /// Writes a file if it is still the one of a digest, `sha256:` and 64 hex digits, or if nothing is there:
    /// `absent`.
    pub fn write_file_if(
        &self,
        path: &str,
        bytes: impl AsRef<[u8]>,
        base: &str,
    ) -> Task<Result<FileReport, Error>> {
        let step = Step::write_content(path, bytes).base(path, base);
        self.step(step, |report, _| first(report.files))
    }

    /// Lists a directory: 10 000 paths at most, and what is not told.
    pub fn list_files(&self, path: &str, recursive: bool) -> Task<Result<Listing, Error>> {
        let step = Step::list(path);
        self.list_step(if recursive { step.recursive() } else { step })
    }

    /// The same, with everything that a `list` step can say.
    pub fn list_step(&self, step: StepBuilder) -> Task<Result<Listing, Error>> {
        self.step(step, |StepReport { entries, rest, .. }, _| Listing {
            entries,
            rest,
        })
    }

    /// Deletes paths, all of them or none.
    pub fn delete_files<T: Into<String>>(
        &self,
        paths: impl IntoIterator<Item = T>,
    ) -> Task<Result<Vec<FileReport>, Error>> {
        self.step(Step::delete(paths), |report, _| report.files)
    }

    /// Finds the lines that a regular expression matches, in these files and below these directories; everywhere where
    /// there are none.
    pub fn search_files<T: Into<String>>(
        &self,
        regex: &str,
        paths: impl IntoIterator<Item = T>,
    ) -> Task<Result<SearchReport, Error>> {
        let step = Step::search(literal(regex));
        self.search_step(paths.into_iter().fold(step, StepBuilder::search_in))
    }

    /// The same with everything that a `search` step can say.
    pub fn search_step(&self, step: StepBuilder) -> Task<Result<SearchReport, Error>> {
        self.step(step, |report, _| report.search.unwrap_or_default())
    }

    /// Gives a file, a link or a whole directory another path, where nothing is yet.
    pub fn move_file(&self, from: &str, to: &str) -> Task<Result<Option<MoveReport>, Error>> {
        self.step(Step::move_path(from, to), |report, _| report.moved)
    }

    /// Applies a patch, all of it or nothing.
    pub fn apply_patch(&self, patch: impl AsRef<[u8]>) -> Task<Result<Vec<FileReport>, Error>> {
        self.step(Step::patch_content(patch), |report, _| report.files)
    }

    /// What changed since it was made, or since a snapshot: the paths, and the patch.
    pub fn diff(&self, against: &str) -> Task<Result<(Vec<ChangeReport>, Text), Error>> {
        self.step(Step::diff_against(against), |report, _| {
            (report.changes, report.text.unwrap_or_default())
        })
    }

    /// Copies a file or directory to the host, where nothing may be yet.
    pub fn export(&self, path: &str, to: &str) -> Task<Result<Vec<HostFile>, Error>> {
        self.step(Step::export(path, literal(to)), |report, _| {
            report.host_files
        })
    }

    /// Brings what changed in it home into a directory of the host, all of it or nothing. What does not go together with what
    /// is there is an [`Error::Refused`].
    pub fn pull(&self, to: &str) -> Task<Result<Option<PullReport>, Error>> {
        self.pull_step(Step::pull(literal(to)))
    }

    /// The same, with everything that a `pull` step can say.
    pub fn pull_step(&self, step: StepBuilder) -> Task<Result<Option<PullReport>, Error>> {
        self.step(step, |report, _| report.pull)
    }

    /// Lays a directory or tar of the host over a directory of it, all of it or nothing.
    pub fn sync_push(&self, source: &str, dest: &str) -> Task<Result<Option<SeedReport>, Error>> {
        let step = Step::sync(literal(source)).to(dest);
        self.step(step, |report, _| report.sync)
    }

    /// Keeps what it is now.
    pub fn create_snapshot(&self, name: &str) -> Task<Result<(), Error>> {
        self.step(Step::snapshot(name), |_, _| ())
    }

    /// Puts it back to `baseline`, or to a snapshot.
    pub fn reset(&self, to: &str) -> Task<Result<(), Error>> {
        self.step(Step::reset(to), |_, _| ())
    }

    /// What was kept, the baseline first.
    pub fn list_snapshots(&self) -> Task<Result<Vec<SnapshotRecord>, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| {
            let record = workspaces.find(&name)?;
            Ok(workspaces.registry().snapshots(&record.id)?)
        })
    }

    /// Forgets what was kept.
    pub fn delete_snapshot(&self, snapshot: &str) -> Task<Result<(), Error>> {
        let (name, snapshot) = (self.name.clone(), snapshot.to_owned());
        self.pyro
            .ask(move |workspaces| workspaces.forget_snapshot(&name, &snapshot).map(|_| ()))
    }

    /// What is known of it.
    pub fn status(&self) -> Task<Result<Status, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| workspaces.find(&name))
    }

    /// Changes name, labels and time to live.
    pub fn update(&self, change: Change) -> Task<Result<Status, Error>> {
        let name = self.name.clone();
        self.pyro
            .ask(move |workspaces| workspaces.update(&name, &change))
    }

    /// The commands since the last reset.
    pub fn logs(&self) -> Task<Result<Vec<HistoryEntry>, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| {
            let record = workspaces.find(&name)?;
            Ok(workspaces.registry().logs(&record.id, Page::All)?)
        })
    }

    /// Everything that was done to it.
    pub fn history(&self) -> Task<Result<Vec<HistoryEntry>, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| {
            let record = workspaces.find(&name)?;
            Ok(workspaces.registry().history(&record.id, Page::All)?)
        })
    }

    /// The request that does everything again in a fresh workspace.
    pub fn as_request(&self) -> Task<Result<Request, Error>> {
        let name = self.name.clone();
        self.pyro
            .ask(move |workspaces| workspaces.as_request(&name))
    }

    /// Ends everything that runs in it; its files stay.
    pub fn stop(&self) -> Task<Result<Status, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| workspaces.stop(&name))
    }

    /// Starts it again.
    pub fn start(&self) -> Task<Result<Status, Error>> {
        let name = self.name.clone();
        self.pyro.ask(move |workspaces| workspaces.start(&name))
    }

    /// Makes a second workspace from what it is now. It goes on meanwhile.
    pub fn fork(&self, fork: Fork) -> Task<Result<Self, Error>> {
        let (name, pyro) = (self.name.clone(), self.pyro.clone());
        self.pyro.ask(move |workspaces| {
            let forked = workspaces.fork(&name, &fork)?;
            Ok(pyro.workspace(forked.record.id.as_str()))
        })
    }

    /// Removes it with all its files.
    pub fn delete(&self) -> Task<Result<(), Error>> {
        let name = self.name.clone();
        self.pyro
            .ask(move |workspaces| workspaces.delete(&name).map(|_| ()))
    }
}

/// Steps about one file report one.
fn first(files: Vec<FileReport>) -> FileReport {
    files.into_iter().next().unwrap_or_default()
}
