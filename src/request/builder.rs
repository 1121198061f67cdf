//! Requests in Rust code. A builder makes the tree that a document would, so that its mistakes are the same.

use super::tree::{Node, Value};
use super::{
    Document, ErrorCode, ParseError, ParseErrors, Request, StepBuilder, Syntax, check, emit_toml,
    lower, parse,
};

/// A request under construction; begun by [`Request::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is complete with `build`"]
pub struct RequestBuilder {
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

impl Request {
    /// A request whose steps run in a workspace that lives, by its name or id.
    pub fn in_workspace(name_or_id: impl Into<String>) -> RequestBuilder {
        let mut tree = Node::table();
        tree.set(&["pyro"], Node::built(Value::Integer(1)));
        tree.set(&["workspace"], Node::text(name_or_id));
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
    /// Lets the request read one more variable of the host, as `${env.NAME}`.
    pub fn env(mut self, name: impl Into<String>) -> Self {
        push(&mut self.tree, &["env"], Node::text(name));
        self
    }
    /// Runs the request once for each of these values, as `${matrix.NAME}`, combined with those of other names.
    pub fn matrix<T: Into<String>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.set(&["matrix", name], Node::texts(values))
    }
    /// Takes what differs each time out of a text before it is compared with a golden.
    pub fn redact(self, name: &str, regex: impl Into<String>) -> Self {
        self.set(&["redact", name], Node::text(regex))
    }
    /// The kind of machine: `auto` or `namespace`.
    pub fn machine(self, machine: impl Into<String>) -> Self {
        self.set(&["workspace", "machine"], Node::text(machine))
    }
    /// The host directory or archive that `/workspace` is filled from.
    pub fn seed(self, path: impl Into<String>) -> Self {
        self.set(&["workspace", "seed"], Node::text(path))
    }
    /// Leaves out what one more gitignore pattern names of the seed.
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        push(
            &mut self.tree,
            &["workspace", "exclude"],
            Node::text(pattern),
        );
        self
    }
    /// Leaves out what the seed's own `.gitignore` files name.
    pub fn respect_gitignore(self) -> Self {
        let yes = Node::built(Value::Flag(true));
        self.set(&["workspace", "respect_gitignore"], yes)
    }
    /// Shows one more host path, read-only at the same place.
    pub fn expose(mut self, path: impl Into<String>) -> Self {
        push(&mut self.tree, &["workspace", "expose"], Node::text(path));
        self
    }
    /// One more secret, and where its value comes from: `env:NAME` or `file:PATH`.
    pub fn secret(self, name: &str, source: impl Into<String>) -> Self {
        self.set(&["workspace", "secrets", name], Node::text(source))
    }
    /// Processors that all processes together may keep busy, such as `2` or `1.5`.
    pub fn cpus(self, cpus: impl ToString) -> Self {
        self.set(&["workspace", "cpus"], Node::text(cpus.to_string()))
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
    /// What the workspace is called.
    pub fn workspace_name(self, name: impl Into<String>) -> Self {
        self.set(&["workspace", "name"], Node::text(name))
    }
    /// What else is to be known of it.
    pub fn label(self, key: &str, value: impl Into<String>) -> Self {
        self.set(&["workspace", "labels", key], Node::text(value))
    }
    /// When `/workspace` is kept after the run: `never`, `on-failure` or `always`.
    pub fn keep(self, when: impl Into<String>) -> Self {
        self.set(&["workspace", "keep"], Node::text(when))
    }
    /// For how long it is kept, such as `2h`.
    pub fn ttl(self, time: impl Into<String>) -> Self {
        self.set(&["workspace", "ttl"], Node::text(time))
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
pub(crate) fn push(tree: &mut Node, path: &[&str], node: Node) {
    let found = path.iter().try_fold(&*tree, |tree, key| tree.get(key));
    let mut items = found.map(Node::elements).unwrap_or_default().to_vec();
    items.push(node);
    tree.set(path, Node::built(Value::List(items)));
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
