//! Trees to work on, and a sandbox to work in.

use pyro::machine::{self, IdRangeLock, Link, Namespace};
use pyro::workspace::{KeepContents, RunDir, StateDir, fill};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, Confine, Ids, Limits};
use pyro_protocol::message::ExecRun;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Files in each folder.
const EACH: usize = 100;

/// The path of file `number` below its top.
pub(crate) fn name(number: usize) -> String {
    format!("part{:03}/file{:02}.txt", number / EACH, number % EACH)
}

/// Lines that differ from file to file; about 1 KiB.
pub(crate) fn text(number: usize) -> String {
    (0..30).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "line {line:02} of file {number:05}, like others");
        text
    })
}

/// Makes `count` files below `top`.
pub(crate) fn plant(top: &Path, count: usize) -> Result<()> {
    for number in 0..count {
        let path = top.join(name(number));
        if let (0, Some(folder)) = (number % EACH, path.parent()) {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text(number))?;
    }
    Ok(())
}

/// A tree of `count` files in `folder`, made once.
pub(crate) fn planted(folder: &Path, count: usize) -> Result<PathBuf> {
    let top = folder.join(format!("seed{count}"));
    if !top.exists() {
        plant(&top, count)?;
    }
    Ok(top)
}

/// Changes `count` of the files, evenly spread over all of them.
pub(crate) fn change(top: &Path, count: usize, of: usize) -> Result<()> {
    for number in (0..of).step_by(of / count) {
        let path = top.join(name(number));
        fs::write(&path, text(number) + "one line more\n")?;
    }
    Ok(())
}

/// What runs `argv` with nothing special.
pub(crate) fn program(argv: &[&str]) -> ExecRun {
    ExecRun {
        argv: argv
            .iter()
            .map(|word| Bytes::from(word.as_bytes()))
            .collect(),
        cwd: Bytes::default(),
        env: vec![(Bytes::from("PATH"), Bytes::from("/usr/bin:/bin"))],
        timeout_ms: 60_000,
        grace_ms: 1000,
        stdin: false,
        spool_limit: 1 << 20,
        terminal: None,
        unnamed: false,
    }
}

/// A sandbox with an agent that listens.
pub(crate) struct Live {
    pub(crate) link: Link,
    pub(crate) tree: PathBuf,
    namespace: Namespace,
    _run: RunDir,
    _ids: Option<IdRangeLock>,
}

impl Live {
    /// With a copy of `seed` as its tree, and its state in `folder`.
    pub(crate) fn start(folder: &Path, seed: Option<&Path>) -> Result<Self> {
        let state = StateDir::open(Some(folder))?;
        let run = state.new_run()?;
        let (ids, lock) = machine::ids_for_this_user()?;
        fill(
            seed.map(Into::into),
            run.path(),
            owner(ids),
            KeepContents::No,
        )?;
        let boot = Boot {
            run_dir: Bytes::from(run.path().as_os_str().as_bytes()),
            environment: BootEnvironment::Host,
            expose: Vec::new(),
            hostname: "bench".to_owned(),
            ids,
            limits: limits(),
            confine: Confine::default(),
        };
        let mut namespace = machine::start(&boot)?;
        let link = Link::open(namespace.link().try_clone()?)?;
        Ok(Self {
            link,
            tree: run.path().join("tree"),
            namespace,
            _run: run,
            _ids: lock,
        })
    }

    pub(crate) fn stop(self) -> Result<()> {
        Ok(self.namespace.stop()?)
    }
}

/// Limits that nothing here comes near.
pub(crate) fn limits() -> Limits {
    Limits {
        processes: 256,
        memory: 4 << 30,
        disk: 4 << 30,
        disk_reserve: 0,
        open_files: 1024,
    }
}

/// Who owns the tree.
pub(crate) fn owner(ids: Ids) -> Option<u32> {
    match ids {
        Ids::Single => None,
        Ids::Range { base } => Some(base + 1),
    }
}
