//! Requests in Rust code. A builder makes the tree that a document would, so that its mistakes are the same.

use super::tree::{Node, Value};
use super::{Document, ParseErrors, Request, Step, check, emit_toml, lower, parse};
use super::{ErrorCode, ParseError, Syntax};
use base64::Engine as _;

/// A request under construction; begun by [`Request::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is complete with `build`"]
pub struct RequestBuilder {
    tree: Node,
}

/// A step under construction; begun by [`Step::exec`] and its like.
#[derive(Debug, Clone)]
#[must_use = "a step counts once a request has it"]
pub struct StepBuilder {
    tree: Node,
}

impl Request {
    /// Begins a request: the environment is `host` or `dir:PATH`.
    ///
    /// Nothing is checked before [`RequestBuilder::build`], which tells every mistake at once. As in a document,
    /// `${vars.NAME}` counts in arguments, paths and expectations; [`literal`](super::literal) keeps a text as it is.
    ///
    /// ```
    /// use pyro::request::{Request, Step};
    ///
    /// let request = Request::new("host")
    ///     .step(Step::write("hello.txt", "hi\n"))
    ///     .step(Step::exec(["wc", "-c", "hello.txt"]).expect_stdout_equals("3 hello.txt\n"))
    ///     .build()?;
    /// assert_eq!(request.steps.len(), 2);
    /// # Ok::<(), pyro::request::ParseErrors>(())
    /// ```
    #[expect(clippy::new_ret_no_self, reason = "a request is complete with `build`")]
    pub fn new(environment: impl Into<String>) -> RequestBuilder {
        let mut tree = Node::table();
        tree.set(&["pyro"], Node::built(Value::Integer(1)));
        let environment = environment.into();
        if environment != "host" {
            tree.set(&["workspace", "environment"], Node::text(environment));
        }
        RequestBuilder { tree }
    }
}

impl RequestBuilder {
    /// What the request is called.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(&["name"], Node::text(name))
    }
    /// What the request is for.
    pub fn description(self, description: impl Into<String>) -> Self {
        self.set(&["description"], Node::text(description))
    }
    /// Declares a variable and its default.
    pub fn var(self, name: &str, default: impl Into<String>) -> Self {
        self.set(&["vars", name], Node::text(default))
    }
    /// The kind of machine: `auto` or `namespace`.
    pub fn machine(self, machine: impl Into<String>) -> Self {
        self.set(&["workspace", "machine"], Node::text(machine))
    }
    /// The host directory that `/workspace` is filled from.
    pub fn seed(self, path: impl Into<String>) -> Self {
        self.set(&["workspace", "seed"], Node::text(path))
    }
    /// Shows one more host path, read-only at the same place.
    pub fn expose(mut self, path: impl Into<String>) -> Self {
        push(&mut self.tree, &["workspace", "expose"], Node::text(path));
        self
    }
    /// Memory of all processes together, such as `1GiB`.
    pub fn memory(self, size: impl Into<String>) -> Self {
        self.set(&["workspace", "memory"], Node::text(size))
    }
    /// What the workspace may add to the disk, such as `1GiB`.
    pub fn disk(self, size: impl Into<String>) -> Self {
        self.set(&["workspace", "disk"], Node::text(size))
    }
    /// Processes and threads at the same time.
    pub fn processes(self, processes: u32) -> Self {
        let processes = Node::built(Value::Integer(i64::from(processes)));
        self.set(&["workspace", "processes"], processes)
    }
    /// Adds a step.
    pub fn step(mut self, step: StepBuilder) -> Self {
        push(&mut self.tree, &["step"], step.tree);
        self
    }
    /// Adds steps.
    pub fn steps(self, steps: impl IntoIterator<Item = StepBuilder>) -> Self {
        steps.into_iter().fold(self, Self::step)
    }

    /// The request.
    ///
    /// # Errors
    /// Everything that is wrong with it, as a document with the same content would be told.
    pub fn build(self) -> Result<Request, ParseErrors> {
        const NAME: &str = "request";
        let errors = check::check(&self.tree, "");
        if errors.is_empty() {
            return Ok(lower::lower(&self.tree));
        }
        // Shown in the document that would have been written.
        let text = emit_toml::document(&self.tree);
        match parse(NAME, text.as_bytes(), Syntax::Toml) {
            Err(shown) if codes(shown.as_slice()) == codes(&errors) => Err(shown),
            Err(_) | Ok(_) => ParseErrors::from_vec(errors, Document::built(NAME, self.tree))
                .map(|document| lower::lower(document.tree())),
        }
    }

    fn set(mut self, path: &[&str], node: Node) -> Self {
        self.tree.set(path, node);
        self
    }
}

fn codes(errors: &[ParseError]) -> Vec<ErrorCode> {
    let mut codes = errors.iter().map(|error| error.code).collect::<Vec<_>>();
    codes.sort_unstable();
    codes
}

/// Adds to the list at a path.
fn push(tree: &mut Node, path: &[&str], node: Node) {
    let found = path.iter().try_fold(&*tree, |tree, key| tree.get(key));
    let mut items = found.map(Node::elements).unwrap_or_default().to_vec();
    items.push(node);
    tree.set(path, Node::built(Value::List(items)));
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
    /// Shows what changed since the workspace was filled.
    pub fn diff() -> StepBuilder {
        Self::verb("diff", Node::text("baseline"))
    }
    /// Copies a file or directory to the host.
    pub fn export(path: impl Into<String>, to: impl Into<String>) -> StepBuilder {
        Self::verb("export", Node::text(path)).set(&["to"], Node::text(to))
    }
}

impl StepBuilder {
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
    /// `exec`: standard input.
    pub fn stdin(self, text: impl Into<String>) -> Self {
        self.set(&["stdin"], Node::text(text))
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
    /// `patch`: what a file must be beforehand, `sha256:` and 64 hex digits.
    pub fn base(self, path: &str, digest: impl Into<String>) -> Self {
        self.set(&["base", path], Node::text(digest))
    }
    /// `delete`: paths that are not there are no mistake.
    pub fn ignore_missing(self) -> Self {
        self.set(&["missing"], Node::text("ignore"))
    }
    /// `read`: how much of each file is read, such as `64KiB`.
    pub fn max_bytes(self, size: impl Into<String>) -> Self {
        self.set(&["max_bytes"], Node::text(size))
    }
    /// `list`: descends.
    pub fn recursive(self) -> Self {
        self.flag(&["recursive"])
    }
    /// `diff`: one more gitignore pattern of paths to leave out.
    pub fn exclude(self, pattern: impl Into<String>) -> Self {
        self.add(&["exclude"], pattern)
    }
    /// `export`: replaces what is at the host path.
    pub fn overwrite(self) -> Self {
        self.flag(&["overwrite"])
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

#[cfg(test)]
mod tests {
    use crate::request::{ErrorCode, Request, Step, Syntax, parse};

    #[test]
    fn code_and_document_are_one_request() {
        let document = r#"
pyro = 1
vars.n = "1"

[workspace]
environment = "dir:rootfs"
seed = "repo"
expose = ["~/.cargo", "~/.rustup"]

[[step]]
id = "reproduce"
exec = ["python3", "-m", "unittest"]
timeout = "60s"
env.A = "${vars.n}"
expect.exit = [1, 2]
expect.stderr.contains = ["IndexError", "errors=1"]

[[step]]
patch = { from = "fix.patch" }

[[step]]
diff = "baseline"
exclude = ["*.pyc"]

[[step]]
export = "out"
to = "out"
overwrite = true
always = true
"#;
        let (read, _) = parse("a.toml", document.as_bytes(), Syntax::Toml).expect("a request");
        let built = Request::new("dir:rootfs")
            .var("n", "1")
            .seed("repo")
            .expose("~/.cargo")
            .expose("~/.rustup")
            .step(
                Step::exec(["python3", "-m", "unittest"])
                    .id("reproduce")
                    .timeout_ms(60_000)
                    .env("A", "${vars.n}")
                    .expect_exit(1)
                    .expect_exit(2)
                    .expect_stderr_contains("IndexError")
                    .expect_stderr_contains("errors=1"),
            )
            .step(Step::patch_from("fix.patch"))
            .step(Step::diff().exclude("*.pyc"))
            .step(Step::export("out", "out").overwrite().always())
            .build();
        assert_eq!(built.expect("a request"), read);
    }

    #[test]
    fn mistakes_in_code_are_told_as_those_of_a_document() {
        let errors = Request::new("debian:12")
            .step(Step::exec([""; 0]).id("Not An Id").timeout("0s"))
            .step(Step::write("../up", "x").overwrite())
            .build()
            .expect_err("five mistakes");
        let codes = errors.iter().map(|error| error.code).collect::<Vec<_>>();
        assert_eq!(
            codes,
            [
                ErrorCode::BadValue,
                ErrorCode::EmptyList,
                ErrorCode::BadId,
                ErrorCode::BadDuration,
                ErrorCode::BadPath,
                ErrorCode::UnknownKey,
            ]
        );
        assert!(errors.document().text.contains("exec = []"));
    }
}
