//! Workspaces that live, from the outside: whole commands, and the memory of those that wait.

use super::Size;
use super::files::{change, planted};
use super::race::{Rival, line, process, race};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A state directory and commands in it.
pub(crate) struct Here {
    state: PathBuf,
}

impl Here {
    pub(crate) fn new(state: PathBuf) -> Self {
        Self { state }
    }

    fn pyro(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyro"));
        command.arg("workspace").args(args);
        command.env("PYRO_STATE_DIR", &self.state);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Result<Duration> {
        process(&mut self.pyro(args))
    }

    pub(crate) fn create(&self, seed: Option<&Path>) -> Result<String> {
        let mut command = self.pyro(&["create", "host", "--id-only"]);
        if let Some(seed) = seed {
            command.arg("--seed-path").arg(seed);
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // Whatever failed: no machine outlives the benchmark.
        for home in fs::read_dir(self.state.join("workspaces"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Some(id) = home.file_name().to_str() {
                let _gone = self.run(&["delete", id]);
            }
        }
    }
}

pub(crate) fn living(size: Size, folder: &Path) -> Result<()> {
    let here = Here::new(folder.join("living"));
    exec(size, &here)?;
    whole_trees(size, &here, folder)?;
    memory(size, &here)
}

fn exec(size: Size, here: &Here) -> Result<()> {
    let id = here.create(None)?;
    let ours = || here.run(&["exec", &id, "--", "/bin/true"]);
    let theirs = || process(&mut Command::new("/bin/true"));
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("spawn", Box::new(theirs))];
    let times = race(size.pick(200, 5), &mut rivals)?;
    drop(rivals);
    line(
        "workspace exec /bin/true, whole process",
        &times[0],
        "posix_spawn + wait",
        &times[1],
        3.0,
    );
    here.run(&["delete", &id])?;
    Ok(())
}

fn whole_trees(size: Size, here: &Here, folder: &Path) -> Result<()> {
    let count = 1000;
    let seed = planted(folder, count)?;
    let mut copies = 0;
    let copy = || {
        copies += 1;
        let to = folder.join(format!("living-copy{copies}"));
        process(Command::new("cp").arg("-a").arg(&seed).arg(to))
    };
    let made = std::cell::RefCell::new(Vec::new());
    let create = || {
        let started = Instant::now();
        let id = here.create(Some(&seed))?;
        let took = started.elapsed();
        made.borrow_mut().push(id);
        Ok(took)
    };
    let mut rivals: [Rival<'_>; 2] = [("create", Box::new(create)), ("cp", Box::new(copy))];
    let times = race(size.pick(15, 1), &mut rivals)?;
    drop(rivals);
    let what = format!("workspace create, {count} files");
    line(&what, &times[0], "cp -a", &times[1], 2.0);
    let mut made = made.into_inner();
    let id = made.pop().ok_or("none was made")?;
    for other in made {
        here.run(&["delete", &other])?;
    }
    here.run(&["snapshot", "create", &id, "first"])?;
    // The same changes beside it, for git.
    let beside = folder.join("living-git");
    process(Command::new("cp").arg("-a").arg(&seed).arg(&beside))?;
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&beside).args(args);
        process(&mut command)
    };
    git(&["init", "-q"])?;
    git(&["add", "-A"])?;
    let commit = [
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@x",
        "commit",
        "-qm",
        "x",
    ];
    git(&commit)?;
    let script = "for f in part*/file0*.txt; do echo more >> $f; done";
    let changed = || here.run(&["exec", &id, "--", "sh", "-c", script]);
    changed()?;
    change(&beside, 100, count)?;
    let ours = || here.run(&["diff", &id, "--json"]);
    let theirs = || Ok(git(&["status", "--short"])? + git(&["diff"])?);
    let mut rivals: [Rival<'_>; 2] = [("diff", Box::new(ours)), ("git", Box::new(theirs))];
    let times = race(size.pick(40, 2), &mut rivals)?;
    drop(rivals);
    let what = format!("workspace diff, 100 of {count} files");
    line(&what, &times[0], "git status + git diff", &times[1], 3.0);
    let ours = || {
        changed()?;
        here.run(&["reset", &id, "--snapshot", "first"])
    };
    let theirs = || {
        change(&beside, 100, count)?;
        git(&["reset", "-q", "--hard"])
    };
    let mut rivals: [Rival<'_>; 2] = [("reset", Box::new(ours)), ("git", Box::new(theirs))];
    let times = race(size.pick(40, 2), &mut rivals)?;
    drop(rivals);
    let what = format!("workspace reset, 100 of {count} files");
    line(&what, &times[0], "git reset --hard", &times[1], 3.0);
    let ours = || Ok(here.run(&["stop", &id])? + here.run(&["start", &id])?);
    let theirs = || process(&mut Command::new("/bin/true"));
    let mut rivals: [Rival<'_>; 2] = [("stop, start", Box::new(ours)), ("spawn", Box::new(theirs))];
    let times = race(size.pick(30, 2), &mut rivals)?;
    drop(rivals);
    line(
        "workspace stop + start",
        &times[0],
        "posix_spawn + wait",
        &times[1],
        100.0,
    );
    here.run(&["delete", &id])?;
    Ok(())
}

/// What workspaces that wait add to the memory of the host.
fn memory(size: Size, here: &Here) -> Result<()> {
    let count = size.pick(50, 3);
    let state = here.state.to_string_lossy().into_owned();
    let mut all = Vec::new();
    for number in 1..=count {
        let id = here.create(None)?;
        here.run(&["exec", &id, "--", "/bin/true"])?;
        all.push(id);
        if number == 1 || number == count {
            let (processes, kib) = resident(&state);
            println!(
                "{:<44} {:.1} MiB in {processes} processes, {:.1} MiB each   target <= 10 MiB each",
                format!("{number} idle workspaces (PSS)"),
                mib(kib),
                mib(kib) / f64::from(u32::try_from(number).unwrap_or(1)),
            );
        }
    }
    for id in all {
        here.run(&["delete", &id])?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// How many processes have to do with a state directory (keepers by their arguments, sandboxes by their mounts, zygotes
/// as their parents), and what they add to the memory of the host, in KiB.
fn resident(state: &str) -> (usize, u64) {
    let has = |pid: i32, file: &str| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        memchr::memmem::find(&text, state.as_bytes()).is_some()
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<i32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let is_ours = |pid: &i32| *pid != own && (has(*pid, "cmdline") || has(*pid, "mountinfo"));
    let mut ours: Vec<i32> = all.into_iter().filter(is_ours).collect();
    let parents: Vec<i32> = ours.iter().filter_map(|pid| parent(*pid)).collect();
    ours.extend(parents.into_iter().filter(|pid| *pid > 1 && *pid != own));
    ours.sort_unstable();
    ours.dedup();
    let pss = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
        figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
    };
    (ours.len(), ours.iter().map(pss).sum())
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}
