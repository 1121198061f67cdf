//! Runs the real binary the way a person would: in a folder of its own, with a state directory of its own, looking
//! at what appears on the screen. What differs from run to run or from user to user is replaced by a word.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The checkout; with `PYRO_TEST_BIN` (a copied test binary, another user) it is the current directory.
pub(crate) fn root() -> PathBuf {
    if std::env::var_os("PYRO_TEST_BIN").is_some() {
        std::env::current_dir().expect("a current directory")
    } else {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }
}

/// The `pyro` under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("PYRO_TEST_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pyro")), PathBuf::from)
}

/// Whether these tests run as root: then the sandbox has a range of ids, else one.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder with a request in it, and a state directory beside it.
#[derive(Debug)]
pub(crate) struct World {
    base: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let base = tempfile::Builder::new()
            .prefix("pyro-it-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder");
        fs::create_dir(base.path().join("work")).expect("a new folder");
        Self { base }
    }

    /// With this request in it.
    pub(crate) fn with(request: &str) -> Self {
        let world = Self::new();
        world.write("request.pyro.toml", request);
        world
    }

    /// Where everything of this test is.
    pub(crate) fn base(&self) -> &Path {
        self.base.path()
    }

    /// Where commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.base().join("work")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.base().join("state")
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a new folder");
        fs::write(path, text).expect("writes");
    }

    /// `pyro` with arguments, ready to start.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .current_dir(self.work())
            .env("PYRO_STATE_DIR", self.state())
            .env_remove("PYRO_LOG")
            .env_remove("CI")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `pyro` to its end.
    pub(crate) fn pyro<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.ran(self.command(args).output().expect("pyro starts"))
    }

    /// Runs `pyro` with something on its standard input.
    pub(crate) fn pyro_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Ran {
        let mut file = tempfile::tempfile().expect("a temporary file");
        std::io::Write::write_all(&mut file, input).expect("writes");
        std::io::Seek::rewind(&mut file).expect("rewinds");
        let output = self.command(args).stdin(file).output();
        self.ran(output.expect("pyro starts"))
    }

    pub(crate) fn ran(&self, output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
            base: self.base().to_owned(),
        }
    }

    /// The newest receipt.
    pub(crate) fn receipt(&self) -> Value {
        let mut all: Vec<PathBuf> = fs::read_dir(self.state().join("receipts"))
            .expect("a state directory")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        all.sort();
        let newest = all.last().expect("a receipt").join("receipt.json");
        let receipt = fs::read(newest).expect("a receipt");
        let receipt = serde_json::from_slice(&receipt).expect("JSON");
        crate::schema::is_receipt(&receipt, "a receipt");
        receipt
    }

    /// Folders of runs in the state directory, also of those being removed.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        fs::read_dir(self.state().join("runs"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever lives on would outlive the test.
        let homes = fs::read_dir(self.state().join("workspaces"));
        for home in homes.into_iter().flatten().flatten() {
            let id = home.file_name();
            let args = [OsStr::new("workspace"), OsStr::new("delete"), &id];
            let _ended = self.command(args).status();
        }
    }
}

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    base: PathBuf,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What was printed; a plan, a receipt or several of them are held against their schema.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let printed = serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()));
        crate::schema::looked_at(&printed);
        printed
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.text());
        self
    }

    /// Everything that appeared, as one text.
    pub(crate) fn text(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
        let mut text = self.normal(&self.stdout());
        if !self.stderr.is_empty() {
            text.push_str("--- stderr\n");
            text.push_str(&self.normal(&self.stderr()));
        }
        text.push_str(&format!("--- exit {code}\n"));
        text
    }

    pub(crate) fn normal(&self, text: &str) -> String {
        normal(text, &self.base)
    }
}

/// One command and everything that appeared.
pub(crate) fn shown(world: &World, args: &[&str]) -> String {
    format!("$ pyro {}\n{}", args.join(" "), world.pyro(args).text())
}

/// Text without what differs from run to run.
///
/// Ids of runs are replaced where they stand after a time at the end of a line.
pub(crate) fn normal(text: &str, base: &Path) -> String {
    let mut text = text.replace(&*base.to_string_lossy(), "$DIR");
    for (pattern, word) in [
        (r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{12}", "[run]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "[moment]"),
        (r"\b\d+\.\d+ m?s\b", "[time]"),
        (r"\btook \d+m?s\b", "took [time]"),
        (r"(?m)\[time\]  [0-9a-f]{12}$", "[time]  [run]"),
    ] {
        let regex = regex::Regex::new(pattern).expect("a regex");
        text = regex.replace_all(&text, word).into_owned();
    }
    text
}

/// Waits for something that will happen soon, but nobody knows when.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Copies a tree as git knows it: links stay links, files are executable or not.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy_tree(&old, &new);
        } else if kind.is_symlink() {
            let target = fs::read_link(&old).expect("a link");
            std::os::unix::fs::symlink(target, new).expect("a new link");
        } else {
            fs::copy(&old, &new).expect("a new file");
            let executable = old.metadata().expect("metadata").permissions().mode() & 0o100 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(new, fs::Permissions::from_mode(mode)).expect("a mode");
        }
    }
}

/// Compares with the snapshot of this name, beside the tests.
pub(crate) fn snapshot(name: &str, text: &str) {
    compare(&root().join("tests/it/snapshots"), name, text);
}

/// Compares with `expected.snap` in this folder.
pub(crate) fn assert_beside(folder: &Path, text: &str) {
    compare(folder, "expected", text);
}

fn compare(folder: &Path, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_snapshot_suffix("");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_input_file("");
    settings.bind(|| insta::assert_snapshot!(name, text));
}
