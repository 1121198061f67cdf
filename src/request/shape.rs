//! The words the table of verbs is written in: keys, places and the shapes of values.

/// A key at its place.
#[derive(Debug)]
pub(crate) struct Key {
    /// As it is written.
    pub(crate) name: &'static str,
    /// What it may be set to.
    pub(crate) shape: Shape,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// What holds without it, in words.
    pub(crate) default: Option<&'static str>,
    /// Whether it must be there.
    pub(crate) required: bool,
}

/// A table with fixed keys.
#[derive(Debug)]
pub(crate) struct Place {
    /// What is true of the whole of it, for the reference.
    pub(crate) doc: &'static str,
    /// In the order of the reference.
    pub(crate) keys: &'static [Key],
    /// Exactly one of these is there.
    pub(crate) one_of: &'static [&'static str],
}

/// A verb: the key that says what a step does.
#[derive(Debug)]
pub(crate) struct Verb {
    /// The verb itself.
    pub(crate) key: Key,
    /// What may stand beside it.
    pub(crate) siblings: &'static [Key],
    /// What may be expected of it, besides `fails`.
    pub(crate) expect: &'static [Key],
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The number 1.
    Version,
    /// Text of a kind.
    Text(Kind),
    /// `true` or `false`.
    Flag,
    /// A whole number of a range.
    Number(i64, i64),
    /// A list, possibly empty.
    List(&'static Self),
    /// One, or a list that is not empty.
    OneOrMore(&'static Self),
    /// A list that is not empty.
    Some(&'static Self),
    /// Keys of a kind that are not fixed, each with such a value.
    Map(Kind, &'static Self),
    /// Like a map, and not empty.
    SomeMap(Kind, &'static Self),
    /// A list of names of a kind, or a table of such names, each with another one.
    Names(Kind),
    /// A table with fixed keys.
    Table(&'static Place),
    /// Text of a kind, or a table with fixed keys.
    TextOr(Kind, &'static Place),
    /// A line for the shell, or a program and its arguments.
    Command,
    /// A share of processors: a whole number, or text with a fraction.
    Cpus,
    /// A list of steps.
    Steps,
    /// What is expected of the step's verb.
    Expect,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything, for people.
    Prose,
    /// The value of a variable.
    VarValue,
    /// What a program receives: an argument or a value of its environment.
    Argument,
    /// The content of a file or stream.
    Payload,
    /// What is compared with an output.
    Expected,
    /// A regular expression.
    Regex,
    /// A path on the host.
    HostPath,
    /// `host` or `dir:PATH`.
    Environment,
    /// The directory of a program.
    Cwd,
    /// A path in the workspace.
    GuestPath,
    /// A path in the workspace other than `/workspace` itself.
    GuestFile,
    /// A gitignore pattern.
    Glob,
    /// An integer and a unit of time; not 0.
    Duration,
    /// An integer and a unit of bytes; not 0.
    Size,
    /// `sha256:` and 64 hex digits.
    Digest,
    /// A digest, or `absent`.
    Base,
    /// Three or four octal digits.
    Mode,
    /// Base64.
    Base64,
    /// Base64 of a path in the workspace other than `/workspace` itself.
    GuestFileBase64,
    /// The name of a step.
    StepId,
    /// The name of a snapshot.
    SnapshotName,
    /// `baseline`, or the name of a snapshot.
    Point,
    /// The name of a signal.
    Signal,
    /// 1 to 120 characters on one line.
    ShortText,
    /// The key of a label.
    LabelKey,
    /// The name of a variable of the request.
    VarName,
    /// The name of a variable of a program's environment.
    EnvName,
    /// The name of a variable of the host that references may read.
    HostVariable,
    /// The name of a secret, or of the variable that a program finds it in.
    SecretName,
    /// `env:NAME` or `file:PATH`.
    SecretSource,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl Kind {
    /// Whether `${...}` counts in it; `payload` says whether it does in the text of this step.
    pub(crate) const fn interpolates(self, payload: bool) -> bool {
        match self {
            Self::Argument
            | Self::Expected
            | Self::Regex
            | Self::HostPath
            | Self::Environment
            | Self::SecretSource
            | Self::Cwd => true,
            Self::Payload => payload,
            Self::Prose
            | Self::VarValue
            | Self::GuestPath
            | Self::GuestFile
            | Self::Glob
            | Self::Duration
            | Self::Size
            | Self::Digest
            | Self::Base
            | Self::Mode
            | Self::Base64
            | Self::GuestFileBase64
            | Self::StepId
            | Self::SnapshotName
            | Self::Point
            | Self::Signal
            | Self::ShortText
            | Self::LabelKey
            | Self::VarName
            | Self::EnvName
            | Self::HostVariable
            | Self::SecretName
            | Self::Word(_) => false,
        }
    }

    /// With its article; completes "must be".
    pub(crate) fn wanted(self) -> String {
        match self {
            Self::Prose
            | Self::VarValue
            | Self::Argument
            | Self::Payload
            | Self::Expected
            | Self::ShortText
            | Self::LabelKey
            | Self::VarName
            | Self::EnvName => "text".into(),
            Self::HostVariable => "the name of a host variable".into(),
            Self::SecretName => "the name of a secret such as `\"TOKEN\"`".into(),
            Self::SecretSource => "`\"env:NAME\"` or `\"file:PATH\"`".into(),
            Self::Regex => "a regular expression".into(),
            Self::HostPath => "a path on the host".into(),
            Self::Environment => "`\"host\"` or `\"dir:PATH\"`".into(),
            Self::Cwd => "a directory in the sandbox".into(),
            Self::GuestPath | Self::GuestFile => "a path in the workspace".into(),
            Self::Glob => "a gitignore pattern".into(),
            Self::Duration => "a duration such as `\"5m\"`".into(),
            Self::Size => "a size such as `\"64KiB\"`".into(),
            Self::Digest => "a digest such as `\"sha256:...\"`".into(),
            Self::Base => "`\"absent\"` or a digest such as `\"sha256:...\"`".into(),
            Self::Mode => "a mode such as `\"0755\"`".into(),
            Self::Base64 | Self::GuestFileBase64 => "base64 text".into(),
            Self::SnapshotName => "the name of a snapshot such as `\"built\"`".into(),
            Self::Point => "`\"baseline\"` or the name of a snapshot".into(),
            Self::StepId => "a step id such as `\"build\"`".into(),
            Self::Signal => "a signal such as `\"TERM\"`".into(),
            Self::Word(words) => either(words.iter().map(|word| format!("`\"{word}\"`"))),
        }
    }

    /// Several of it; completes "a list of".
    fn plural(self) -> &'static str {
        match self {
            Self::GuestPath | Self::GuestFile => "paths in the workspace",
            Self::HostPath => "paths on the host",
            Self::Glob => "gitignore patterns",
            Self::Regex => "regular expressions",
            Self::HostVariable => "names of host variables",
            Self::SecretName => "names of secrets",
            Self::Prose
            | Self::VarValue
            | Self::Argument
            | Self::Payload
            | Self::Expected
            | Self::Environment
            | Self::Cwd
            | Self::Duration
            | Self::Size
            | Self::Digest
            | Self::Base
            | Self::Mode
            | Self::Base64
            | Self::GuestFileBase64
            | Self::StepId
            | Self::SnapshotName
            | Self::Point
            | Self::Signal
            | Self::ShortText
            | Self::LabelKey
            | Self::VarName
            | Self::EnvName
            | Self::SecretSource
            | Self::Word(_) => "texts",
        }
    }
}

impl Shape {
    /// With its article; completes "must be".
    pub(crate) fn wanted(&self) -> String {
        match self {
            Self::Version => "the number 1".into(),
            Self::Text(kind) => kind.wanted(),
            Self::Flag => "`true` or `false`".into(),
            Self::Number(..) => "a whole number".into(),
            Self::List(of) | Self::Some(of) => format!("a list of {}", of.plural()),
            Self::OneOrMore(of) => format!("{} or a list of {}", of.wanted(), of.plural()),
            Self::Map(key, of) | Self::SomeMap(key, of) => {
                let path = matches!(key, Kind::GuestPath | Kind::GuestFile);
                let key = if path { "PATH" } else { "NAME" };
                format!("a table of {key} = {}", of.wanted())
            }
            Self::Names(of) => format!("a list of {}, or a table of NAME = variable", of.plural()),
            Self::Table(_) | Self::Expect => "a table".into(),
            Self::TextOr(_, place) if place.one_of.is_empty() => "a name, or a table".into(),
            Self::TextOr(kind, place) => format!(
                "{}, or a table with {}",
                kind.wanted(),
                either(place.one_of.iter().map(|key| format!("`{key}`")))
            ),
            Self::Command => {
                "a list of a program and its arguments, or one line for the shell".into()
            }
            Self::Cpus => "a number of processors such as `2` or `\"1.5\"`".into(),
            Self::Steps => "a list of tables".into(),
        }
    }

    fn plural(&self) -> &'static str {
        match self {
            Self::Text(kind) => kind.plural(),
            Self::Version | Self::Number(..) => "whole numbers",
            Self::Flag => "booleans",
            Self::List(_)
            | Self::OneOrMore(_)
            | Self::Some(_)
            | Self::Command
            | Self::Cpus
            | Self::Steps => "lists",
            Self::Map(..)
            | Self::SomeMap(..)
            | Self::Names(_)
            | Self::Table(_)
            | Self::TextOr(..)
            | Self::Expect => "tables",
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either(items: impl IntoIterator<Item = String>) -> String {
    let mut items = items.into_iter().collect::<Vec<_>>();
    let last = items.pop().unwrap_or_default();
    if items.is_empty() {
        last
    } else {
        format!("{} or {last}", items.join(", "))
    }
}

impl Key {
    pub(crate) const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self {
            name,
            shape,
            doc,
            default: None,
            required: false,
        }
    }
    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }
    pub(crate) const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}
