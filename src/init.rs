//! A first request for a project: looks at the files that say how it is built and tested, and writes no more than it
//! knows. Reads the names in one directory, and three small files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A request that was made up, and what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// TOML with comments that teach.
    pub text: String,
    /// What was recognised, for people: `Cargo.toml: a Rust project`. Nothing where nothing was.
    pub found: Option<String>,
}

/// How a kind of project is recognised and tested.
struct Kind {
    /// Any of these in the project's directory.
    marks: &'static [&'static str],
    what: &'static str,
    /// Steps: an id, and a command for the shell.
    steps: &'static [(&'static str, &'static str)],
    /// What building leaves behind; never worth a copy.
    exclude: &'static [&'static str],
    /// What to know, since there is no network inside.
    note: &'static str,
}

/// In the order in which they win.
const KINDS: [Kind; 10] = [
    Kind {
        marks: &["Cargo.toml"],
        what: "a Rust project",
        steps: &[("test", "cargo test --offline")],
        exclude: &["target/"],
        note: "There is no network inside: what Cargo.lock names must be in `vendor/` or in `~/.cargo` (`cargo fetch`).",
    },
    Kind {
        marks: &["go.mod"],
        what: "a Go project",
        steps: &[("test", "GOFLAGS=-mod=mod GOCACHE=/tmp/go go test ./...")],
        exclude: &["bin/"],
        note: "There is no network inside: what go.mod names must be in `vendor/`.",
    },
    Kind {
        marks: &["package.json"],
        what: "a Node project",
        steps: &[("test", "npm test")],
        exclude: &["dist/", ".cache/"],
        note: "There is no network inside: `node_modules` is copied along, so install it before.",
    },
    Kind {
        marks: &[
            "pyproject.toml",
            "setup.py",
            "setup.cfg",
            "tox.ini",
            "requirements.txt",
        ],
        what: "a Python project",
        steps: &[("test", "python3 -m unittest discover -v")],
        exclude: &["__pycache__/", ".venv/", "venv/", ".tox/", "*.egg-info/"],
        note: "There is no network inside: what is imported must be installed on this host, or lie in the project.",
    },
    Kind {
        marks: &["pom.xml"],
        what: "a Maven project",
        steps: &[("test", "mvn --offline --batch-mode test")],
        exclude: &["target/"],
        note: "There is no network inside: expose `~/.m2` with what the build needs.",
    },
    Kind {
        marks: &["build.gradle", "build.gradle.kts"],
        what: "a Gradle project",
        steps: &[("test", "gradle --offline test")],
        exclude: &["build/", ".gradle/"],
        note: "There is no network inside: expose `~/.gradle` with what the build needs.",
    },
    Kind {
        marks: &["CMakeLists.txt"],
        what: "a CMake project",
        steps: &[
            ("configure", "cmake -S . -B build"),
            ("build", "cmake --build build"),
            ("test", "ctest --test-dir build --output-on-failure"),
        ],
        exclude: &["build/"],
        note: "Compilers and libraries are those of this host.",
    },
    Kind {
        marks: &["configure"],
        what: "a project with a configure script",
        steps: &[
            ("configure", "./configure"),
            ("build", "make"),
            ("test", "make check"),
        ],
        exclude: &["*.o"],
        note: "Compilers and libraries are those of this host.",
    },
    Kind {
        marks: &["meson.build"],
        what: "a Meson project",
        steps: &[
            ("configure", "meson setup build"),
            ("test", "meson test -C build"),
        ],
        exclude: &["build/"],
        note: "Compilers and libraries are those of this host.",
    },
    Kind {
        marks: &["Makefile", "makefile", "GNUmakefile"],
        what: "a project with a Makefile",
        steps: &[("build", "make")],
        exclude: &["*.o"],
        note: "Compilers and libraries are those of this host.",
    },
];

/// Makes up a first request for the project in a directory. Relative paths in it begin there.
pub fn first_request(folder: &Path, home: Option<&Path>) -> First {
    let found = KINDS.iter().find_map(|kind| {
        let mut marks = kind.marks.iter();
        let mark = marks.find(|mark| folder.join(mark).is_file())?;
        Some((*mark, kind))
    });
    let Some((mark, kind)) = found else {
        return First {
            text: write(folder, None, &["list"], &[], None, &[]),
            found: None,
        };
    };
    let mut steps: Vec<(&str, String)> = kind
        .steps
        .iter()
        .map(|(id, command)| (*id, (*command).to_owned()))
        .collect();
    refine(folder, mark, &mut steps);
    let expose = expose(mark, home);
    let words: Vec<(&str, &str)> = steps
        .iter()
        .map(|(id, command)| (*id, &**command))
        .collect();
    First {
        text: write(
            folder,
            Some((mark, kind)),
            &[],
            &words,
            Some(kind.note),
            &expose,
        ),
        found: Some(format!("{mark}: {}", kind.what)),
    }
}

/// What the project's own files say about testing.
fn refine(folder: &Path, mark: &str, steps: &mut Vec<(&str, String)>) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let Some(last) = steps.last_mut() else { return };
    if mark == "package.json" {
        let package: serde_json::Value = serde_json::from_str(&text(mark)).unwrap_or_default();
        let script = |name: &str| package["scripts"][name].is_string();
        if !script("test") && script("build") {
            *last = ("build", "npm run build".to_owned());
        }
    } else if mark.ends_with("akefile") {
        let makefile = text(mark);
        let target = |name: &str| {
            let mut lines = makefile.lines();
            lines.any(|line| {
                let rule = line.strip_prefix(name).map(str::trim_start);
                rule.is_some_and(|rest| rest.starts_with(':') && !rest.starts_with(":="))
            })
        };
        if let Some(test) = ["test", "check"].into_iter().find(|name| target(name)) {
            steps.push(("test", format!("make {test}")));
        }
    } else if last.1.starts_with("python3") {
        let pytest = ["pytest.ini", "conftest.py", "tests/conftest.py"];
        let configured = text("pyproject.toml").contains("[tool.pytest");
        if configured || pytest.iter().any(|name| folder.join(name).exists()) {
            "python3 -m pytest".clone_into(&mut last.1);
        } else if folder.join("tests").is_dir() && !folder.join("tests/__init__.py").exists() {
            // From the top, nothing is found in a directory that is no package, and nothing is a success.
            last.1.push_str(" -s tests");
        }
    }
}

/// What lies in the home directory and is needed to build.
fn expose(mark: &str, home: Option<&Path>) -> Vec<&'static str> {
    let tools: &[&str] = match mark {
        // Not all of `~/.cargo`: it may hold a token.
        "Cargo.toml" => &[
            "~/.cargo/bin",
            "~/.cargo/registry",
            "~/.cargo/git",
            "~/.rustup",
        ],
        "pom.xml" => &["~/.m2"],
        "build.gradle" | "build.gradle.kts" => &["~/.gradle"],
        _ => &[],
    };
    // The sandbox has a `/tmp` of its own.
    let Some(home) = home.filter(|home| !home.starts_with("/tmp")) else {
        return Vec::new();
    };
    let there = |path: &&&str| home.join(path.trim_start_matches("~/")).is_dir();
    tools.iter().filter(there).copied().collect()
}

/// The document.
fn write(
    folder: &Path,
    project: Option<(&str, &Kind)>,
    verbs: &[&str],
    steps: &[(&str, &str)],
    note: Option<&str>,
    expose: &[&str],
) -> String {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| !name.is_empty());
    let rust = project.is_some_and(|(mark, _)| mark == "Cargo.toml") && !expose.is_empty();
    let mut out = String::from(
        "# A request: what to do in a fresh sandbox with a copy of this directory.\n\
         # `pyro plan FILE` shows what will happen, `pyro apply FILE` does it.\n\
         pyro = 1\n",
    );
    if let Some(name) = name {
        let _infallible = writeln!(out, "name = {}", quoted(&name));
    }
    if rust {
        out.push_str("# Variables of this host that the request may use.\nenv = [\"HOME\"]\n");
    }
    out.push_str(
        "\n[workspace]\n\
         # Programs come from this host, read-only; `dir:PATH` is an unpacked root file system.\n\
         environment = \"host\"\n\
         # Copied into /workspace; your files are never written to.\n\
         seed = \".\"\n",
    );
    if let Some((_, kind)) = project {
        let exclude: Vec<String> = kind.exclude.iter().map(|pattern| quoted(pattern)).collect();
        let _infallible = writeln!(
            out,
            "# Left out of the copy, as in a .gitignore file.\nexclude = [{}]",
            exclude.join(", ")
        );
    }
    if !expose.is_empty() {
        let expose: Vec<String> = expose.iter().map(|path| quoted(path)).collect();
        let _infallible = writeln!(
            out,
            "# Host paths that are shown read-only at the same place inside.\nexpose = [{}]",
            expose.join(", ")
        );
    }
    if let Some(note) = note {
        let _infallible = write!(out, "\n# {note}\n");
    }
    for (index, (id, command)) in steps.iter().enumerate() {
        if index > 0 || note.is_none() {
            out.push('\n');
        }
        let _infallible = write!(
            out,
            "[[step]]\nid = {}\nexec = {}\n",
            quoted(id),
            quoted(command)
        );
        if rust {
            out.push_str(
                "env.PATH = \"${env.HOME}/.cargo/bin:/usr/local/bin:/usr/bin:/bin\"\n\
                 env.CARGO_HOME = \"${env.HOME}/.cargo\"\n\
                 env.RUSTUP_HOME = \"${env.HOME}/.rustup\"\n",
            );
        }
        out.push_str("timeout = \"30m\"\n");
        if index + 1 == steps.len() {
            out.push_str(
                "# Without an expectation, a step wants exit 0. More can be asked for:\n\
                 # expect.stdout.contains = \"passed\"\n",
            );
        }
    }
    for verb in verbs {
        let _infallible = write!(
            out,
            "\n# What is there. Put the command that shows your problem in its place:\n\
             # exec = [\"make\", \"test\"]\n\
             # expect.exit = 2\n\
             [[step]]\n{verb} = \".\"\n"
        );
    }
    out.push_str(
        "\n# What the steps changed.\n[[step]]\nid = \"changes\"\nalways = true\ndiff = \"baseline\"\n",
    );
    if let Some((_, kind)) = project {
        let exclude: Vec<String> = kind.exclude.iter().map(|pattern| quoted(pattern)).collect();
        let _infallible = writeln!(out, "exclude = [{}]", exclude.join(", "));
    }
    out
}

/// Text as TOML and as a request have it: nothing in it is a reference.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
