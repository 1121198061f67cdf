//! Programs on the bare host, for tests only: the product runs them in a sandbox or not at all.

use pyro_guest::spawn::{Child, Lookout, Process, Program, SpawnError, Spawner};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every process carries this variable; that is how `processes` knows them.
const MARK: &str = "PYRO_TEST_SANDBOX";

/// Shows `tree` as `/workspace`, as far as a working directory goes.
#[derive(Debug)]
pub(crate) struct BareSpawner {
    pub(crate) tree: PathBuf,
    pub(crate) mark: String,
}

impl Spawner for BareSpawner {
    fn spawn(
        &mut self,
        program: &Program,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Child, SpawnError> {
        let cwd = Path::new(OsStr::from_bytes(program.cwd.as_bytes()));
        let cwd = cwd
            .strip_prefix("/workspace")
            .map_or(cwd.to_owned(), |rest| self.tree.join(rest));
        let name = OsStr::from_bytes(program.argv[0].as_bytes());
        let mut command = Command::new(name);
        command.args(
            program.argv[1..]
                .iter()
                .map(|arg| OsStr::from_bytes(arg.as_bytes())),
        );
        command
            .env_clear()
            .env(MARK, &self.mark)
            .current_dir(&cwd)
            .process_group(0);
        for variable in &program.env {
            let (name, value) = variable
                .to_str()
                .expect("text")
                .split_once('=')
                .expect("an assignment");
            command.env(name, value);
        }
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map(Stdio::from)
                .map_err(SpawnError::Agent)
        };
        let [stdin, stdout, stderr] = stdio;
        command
            .stdin(copy(stdin)?)
            .stdout(copy(stdout)?)
            .stderr(copy(stderr)?);
        let child = command.spawn().map_err(|error| SpawnError::NotStarted {
            code: if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            },
            reason: format!("{}: {error}", name.display()),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
        let pid = i32::try_from(child.id()).expect("a process id");
        let raw = rustix::process::Pid::from_raw(pid).expect("a process id");
        let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty());
        Ok(Child {
            pid,
            pidfd: pidfd.map_err(|errno| SpawnError::Agent(errno.into()))?,
        })
    }

    fn processes(&self) -> std::io::Result<Vec<Process>> {
        Ok(processes(&self.mark))
    }

    fn lookout(&self) -> Lookout {
        let mark = self.mark.clone();
        Box::new(move || Ok(processes(&mark)))
    }

    fn reap_others(&mut self, _keep: &[i32]) {
        // The test binary has children of its own.
    }
}

/// Processes with the mark that are no zombies.
pub(crate) fn processes(mark: &str) -> Vec<Process> {
    let wanted = OsString::from_vec([MARK.as_bytes(), b"=", mark.as_bytes()].concat());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environ
            .split(|&b| b == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            continue;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields[index].parse::<u64>().unwrap_or(0);
        let id = |index: usize| i32::try_from(number(index)).unwrap_or(0);
        if fields[0] != "Z" && fields[0] != "X" {
            found.push(Process {
                pid,
                parent: id(1),
                group: id(2),
                session: id(3),
                started: number(19),
                memory: number(21) * 4096,
                stopped: fields[0] == "T",
            });
        }
    }
    found
}
