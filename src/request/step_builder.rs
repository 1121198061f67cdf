//! Steps in Rust code: a verb, then what stands beside it.

use super::builder::push;
use super::tree::{Node, Value};
use super::{CaptureSource, Step};
use base64::Engine as _;

/// A step under construction; begun by [`Step::exec`] and its like.
#[derive(Debug, Clone)]
#[must_use = "a step counts once a request has it"]
pub struct StepBuilder {
    pub(crate) tree: Node,
}

impl Step {
    fn verb(verb: &str, value: Node) -> StepBuilder {
        StepBuilder {
            tree: Node::table(),
        }
        .set(&[verb], value)
    }
    /// Runs a program with arguments, without a shell.
    pub fn exec<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> StepBuilder {
        Self::verb("exec", Node::texts(argv))
    }
    /// Runs a line in `/bin/sh -c`.
    pub fn shell(line: impl Into<String>) -> StepBuilder {
        Self::verb("exec", Node::text(line))
    }
    /// Writes a file.
    pub fn write(path: impl Into<String>, text: impl Into<String>) -> StepBuilder {
        Self::write_files([(path, text)])
    }
    /// Writes files, all of them or none.
    pub fn write_files<P: Into<String>, T: Into<String>>(
        files: impl IntoIterator<Item = (P, T)>,
    ) -> StepBuilder {
        let mut table = Node::table();
        for (path, text) in files {
            table.set(&[&path.into()], Node::text(text));
        }
        Self::verb("write", table)
    }
    /// Writes a file that is not text.
    pub fn write_bytes(path: impl Into<String>, bytes: impl AsRef<[u8]>) -> StepBuilder {
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        let mut table = Node::table();
        table.set(&[&path.into(), "base64"], Node::text(base64));
        Self::verb("write", table)
    }
    /// Writes a file, as text where it is text.
    pub fn write_content(path: impl Into<String>, bytes: impl AsRef<[u8]>) -> StepBuilder {
        let mut table = Node::table();
        table.set(&[&path.into()], content(bytes.as_ref(), true));
        Self::verb("write", table)
    }
    /// Adds bytes at the end of a file, as text where they are text; the file is made where it is missing.
    pub fn append_content(path: impl Into<String>, bytes: impl AsRef<[u8]>) -> StepBuilder {
        let mut table = Node::table();
        table.set(&[&path.into(), "append"], content(bytes.as_ref(), false));
        Self::verb("write", table)
    }
    /// Applies a patch that may hold other bytes than text.
    pub fn patch_content(bytes: impl AsRef<[u8]>) -> StepBuilder {
        Self::verb("patch", content(bytes.as_ref(), false))
    }
    /// Applies a unified diff.
    pub fn patch(text: impl Into<String>) -> StepBuilder {
        Self::verb("patch", Node::text(text))
    }
    /// Applies a unified diff from a host file.
    pub fn patch_from(path: impl Into<String>) -> StepBuilder {
        Self::verb("patch", Node::table()).set(&["patch", "from"], Node::text(path))
    }
    /// Deletes files, links or whole directories.
    pub fn delete<T: Into<String>>(paths: impl IntoIterator<Item = T>) -> StepBuilder {
        Self::verb("delete", Node::texts(paths))
    }
    /// Gives a file, a link or a whole directory another path, where nothing is yet.
    pub fn move_path(from: impl Into<String>, to: impl Into<String>) -> StepBuilder {
        Self::verb("move", Node::text(from)).set(&["to"], Node::text(to))
    }
    /// Reads a file.
    pub fn read(path: impl Into<String>) -> StepBuilder {
        Self::verb("read", Node::text(path))
    }
    /// Reads files.
    pub fn read_files<T: Into<String>>(paths: impl IntoIterator<Item = T>) -> StepBuilder {
        Self::verb("read", Node::texts(paths))
    }
    /// Lists a directory.
    pub fn list(path: impl Into<String>) -> StepBuilder {
        Self::verb("list", Node::text(path))
    }
    /// Finds the lines that a regular expression matches, in the files of the workspace.
    pub fn search(regex: impl Into<String>) -> StepBuilder {
        Self::verb("search", Node::text(regex))
    }
    /// Shows what changed since the workspace was filled.
    pub fn diff() -> StepBuilder {
        Self::verb("diff", Node::text("baseline"))
    }
    /// Shows what changed since a snapshot.
    pub fn diff_against(snapshot: impl Into<String>) -> StepBuilder {
        Self::verb("diff", Node::text(snapshot))
    }
    /// Keeps what the workspace is now.
    pub fn snapshot(name: impl Into<String>) -> StepBuilder {
        Self::verb("snapshot", Node::text(name))
    }
    /// Puts the workspace back to `baseline`, or to a snapshot.
    pub fn reset(to: impl Into<String>) -> StepBuilder {
        Self::verb("reset", Node::text(to))
    }
    /// Lays a host directory or archive over the workspace.
    pub fn sync(from: impl Into<String>) -> StepBuilder {
        Self::verb("sync", Node::text(from))
    }
    /// Copies a file or directory to the host.
    pub fn export(path: impl Into<String>, to: impl Into<String>) -> StepBuilder {
        Self::verb("export", Node::text(path)).set(&["to"], Node::text(to))
    }
    /// Brings what changed in the workspace home into a host directory, all of it or nothing.
    pub fn pull(to: impl Into<String>) -> StepBuilder {
        Self::verb("pull", Node::text(to))
    }
}

impl StepBuilder {
    /// The step may change what one more gitignore pattern names, and nothing else.
    pub fn expect_changed_only(mut self, pattern: impl Into<String>) -> Self {
        push(
            &mut self.tree,
            &["expect", "changed", "only"],
            Node::text(pattern),
        );
        self
    }
    /// The step changes nothing in the workspace.
    pub fn expect_nothing_changed(self) -> Self {
        self.flag(&["expect", "changed", "none"])
    }
    /// The step's name, unique in the request.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.set(&["id"], Node::text(id))
    }
    /// Runs after an earlier failure too.
    pub fn always(self) -> Self {
        self.flag(&["always"])
    }
    /// Lets `${...}` count in the text of `write`, `patch` and `stdin` as well.
    pub fn interpolate(self) -> Self {
        self.flag(&["interpolate"])
    }
    /// `exec`: the directory it runs in.
    pub fn cwd(self, path: impl Into<String>) -> Self {
        self.set(&["cwd"], Node::text(path))
    }
    /// `exec`: one more variable of its environment.
    pub fn env(self, name: &str, value: impl Into<String>) -> Self {
        self.set(&["env", name], Node::text(value))
    }
    /// `exec`: one more secret of the workspace, and the variable that the program finds it in.
    pub fn secret_env(self, name: &str, variable: impl Into<String>) -> Self {
        self.set(&["secrets", name], Node::text(variable))
    }
    /// `exec`: standard input.
    pub fn stdin(self, text: impl Into<String>) -> Self {
        self.set(&["stdin"], Node::text(text))
    }
    /// `exec`: standard input that may hold other bytes than text.
    pub fn stdin_content(self, bytes: impl AsRef<[u8]>) -> Self {
        self.set(&["stdin"], content(bytes.as_ref(), false))
    }
    /// `write`: the permission bits of a file, such as `0755`.
    pub fn mode(self, path: &str, mode: impl Into<String>) -> Self {
        self.set(&["write", path, "mode"], Node::text(mode))
    }
    /// `exec`: how long it may take, such as `60s`.
    pub fn timeout(self, duration: impl Into<String>) -> Self {
        self.set(&["timeout"], Node::text(duration))
    }
    /// `exec`: how long it may take, in milliseconds.
    pub fn timeout_ms(self, millis: u64) -> Self {
        self.timeout(super::Duration::from_millis(millis).to_string())
    }
    /// `exec`: how much of each output stream is kept, such as `64KiB`.
    pub fn max_output(self, size: impl Into<String>) -> Self {
        self.set(&["max_output"], Node::text(size))
    }
    /// `patch`: hunks may land at the stated line only.
    pub fn match_exact(self) -> Self {
        self.set(&["match"], Node::text("exact"))
    }
    /// `patch`, `write`: what a file must be beforehand, `sha256:` and 64 hex digits, or, of `write`, `absent`.
    pub fn base(self, path: &str, digest: impl Into<String>) -> Self {
        self.set(&["base", path], Node::text(digest))
    }
    /// `delete`: paths that are not there are no mistake.
    pub fn ignore_missing(self) -> Self {
        self.set(&["missing"], Node::text("ignore"))
    }
    /// `read`: the first byte of each file that is read, from 0.
    pub fn offset(self, byte: u32) -> Self {
        self.set(&["offset"], Node::built(Value::Integer(byte.into())))
    }
    /// `read`: how much of each file is read, such as `64KiB`; `search`: how many bytes of lines are told.
    pub fn max_bytes(self, size: impl Into<String>) -> Self {
        self.set(&["max_bytes"], Node::text(size))
    }
    /// `list`: descends.
    pub fn recursive(self) -> Self {
        self.flag(&["recursive"])
    }
    /// `list`: how many paths are told at most.
    pub fn max_entries(self, paths: u32) -> Self {
        self.set(&["max_entries"], Node::built(Value::Integer(paths.into())))
    }
    /// `sync`: the directory of the workspace that it is laid over.
    pub fn to(self, path: impl Into<String>) -> Self {
        self.set(&["to"], Node::text(path))
    }
    /// `search`: one more file, or directory with all that is below it.
    pub fn search_in(mut self, path: impl Into<String>) -> Self {
        push(&mut self.tree, &["in"], Node::text(path));
        self
    }
    /// `search`: one more gitignore pattern of the files that are searched.
    pub fn include(self, pattern: impl Into<String>) -> Self {
        self.add(&["include"], pattern)
    }
    /// `search`: how many lines are told at most.
    pub fn max_matches(self, lines: u32) -> Self {
        self.set(&["max_matches"], Node::built(Value::Integer(lines.into())))
    }
    /// `list`, `search`: goes on after this path, in the order of paths.
    pub fn after(self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        match std::str::from_utf8(path) {
            Ok(text) => self.set(&["after"], Node::text(text)),
            Err(_) => {
                let base64 = base64::engine::general_purpose::STANDARD.encode(path);
                self.set(&["after", "base64"], Node::text(base64))
            }
        }
    }
    /// `search`: goes on in the file that it goes on after, after this line.
    pub fn after_line(self, line: u64) -> Self {
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        self.set(&["after_line"], Node::built(Value::Integer(line)))
    }
    /// `diff`, `search`, `sync`: one more gitignore pattern of paths to leave out.
    pub fn exclude(self, pattern: impl Into<String>) -> Self {
        self.add(&["exclude"], pattern)
    }
    /// `pull`: writes nothing, and tells what it would do.
    pub fn dry_run(self) -> Self {
        self.flag(&["dry_run"])
    }
    /// `export`: replaces what is at the host path.
    pub fn overwrite(self) -> Self {
        self.flag(&["overwrite"])
    }

    /// Captures a value for later steps: the first group of a regular expression, or its whole match.
    pub fn capture(self, name: &str, source: CaptureSource, regex: impl Into<String>) -> Self {
        self.set(
            &["capture", name, source.as_str(), "regex"],
            Node::text(regex),
        )
    }
    /// Tries the step again while it fails: `times` in all, `every` so long, such as `200ms`.
    pub fn retry(self, times: u32, every: impl Into<String>) -> Self {
        let times = Node::built(Value::Integer(i64::from(times)));
        self.set(&["retry", "times"], times)
            .set(&["retry", "every"], Node::text(every))
    }
    /// The exit code must be this, or one of those given so.
    pub fn expect_exit(mut self, code: i32) -> Self {
        let code = Node::built(Value::Integer(i64::from(code)));
        push(&mut self.tree, &["expect", "exit"], code);
        self
    }
    /// Standard output must be this.
    pub fn expect_stdout_equals(self, text: impl Into<String>) -> Self {
        self.set(&["expect", "stdout", "equals"], Node::text(text))
    }
    /// Standard output must have this in it.
    pub fn expect_stdout_contains(self, text: impl Into<String>) -> Self {
        self.add(&["expect", "stdout", "contains"], text)
    }
    /// A regular expression must be found in standard output.
    pub fn expect_stdout_matches(self, regex: impl Into<String>) -> Self {
        self.add(&["expect", "stdout", "matches"], regex)
    }
    /// Standard output must be what this host file holds.
    pub fn expect_stdout_golden(self, path: impl Into<String>) -> Self {
        self.set(&["expect", "stdout", "golden"], Node::text(path))
    }
    /// Standard error must be what this host file holds.
    pub fn expect_stderr_golden(self, path: impl Into<String>) -> Self {
        self.set(&["expect", "stderr", "golden"], Node::text(path))
    }
    /// `read`: what was read must be what this host file holds.
    pub fn expect_content_golden(self, path: impl Into<String>) -> Self {
        self.set(&["expect", "content", "golden"], Node::text(path))
    }
    /// `diff`, `list`: the text must be what this host file holds.
    pub fn expect_text_golden(self, path: impl Into<String>) -> Self {
        self.set(&["expect", "text", "golden"], Node::text(path))
    }
    /// Standard error must be this.
    pub fn expect_stderr_equals(self, text: impl Into<String>) -> Self {
        self.set(&["expect", "stderr", "equals"], Node::text(text))
    }
    /// Standard error must have this in it.
    pub fn expect_stderr_contains(self, text: impl Into<String>) -> Self {
        self.add(&["expect", "stderr", "contains"], text)
    }
    /// A regular expression must be found in standard error.
    pub fn expect_stderr_matches(self, regex: impl Into<String>) -> Self {
        self.add(&["expect", "stderr", "matches"], regex)
    }
    /// `read`: what was read must be this.
    pub fn expect_content_equals(self, text: impl Into<String>) -> Self {
        self.set(&["expect", "content", "equals"], Node::text(text))
    }
    /// `read`: what was read must have this in it.
    pub fn expect_content_contains(self, text: impl Into<String>) -> Self {
        self.add(&["expect", "content", "contains"], text)
    }
    /// `diff`, `list`: the text must have this in it.
    pub fn expect_text_contains(self, text: impl Into<String>) -> Self {
        self.add(&["expect", "text", "contains"], text)
    }
    /// `exec`: must be ended by the timeout.
    pub fn expect_timed_out(self) -> Self {
        self.flag(&["expect", "timed_out"])
    }
    /// `exec`: must be ended by this signal, such as `TERM`.
    pub fn expect_signal(self, name: impl Into<String>) -> Self {
        self.set(&["expect", "signal"], Node::text(name))
    }
    /// `exec`: must take less than this, such as `2s`.
    pub fn expect_duration_under(self, duration: impl Into<String>) -> Self {
        self.set(&["expect", "duration_under"], Node::text(duration))
    }
    /// pyro must refuse the step.
    pub fn expect_fails(self) -> Self {
        self.flag(&["expect", "fails"])
    }

    fn set(mut self, path: &[&str], node: Node) -> Self {
        self.tree.set(path, node);
        self
    }
    fn flag(self, path: &[&str]) -> Self {
        self.set(path, Node::built(Value::Flag(true)))
    }
    fn add(mut self, path: &[&str], text: impl Into<String>) -> Self {
        push(&mut self.tree, path, Node::text(text));
        self
    }
}

/// Text where it can stand in a document as it is, else base64; in a table where more keys may come beside it.
fn content(bytes: &[u8], table: bool) -> Node {
    let shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(shown));
    let mut out = Node::table();
    match text {
        Some(text) if !table => return Node::text(text),
        Some(text) => out.set(&["text"], Node::text(text)),
        None => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
            out.set(&["base64"], Node::text(base64));
        }
    }
    out
}
