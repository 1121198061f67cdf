//! What a text of each kind must look like.

use super::check::{At, Checker, brief};
use super::reference::{Filled, substitute};
use super::shape::{Kind, either};
use super::suggest::did_you_mean;
use super::tree::Span;
use super::{
    Base, Digest, Duration, ErrorCode, GuestPath, Point, Pointer, ReferenceError, SecretSource,
    Signal, Size, SnapshotName, StepId,
};
use base64::Engine as _;

/// What a regular expression may take when it is compiled.
const REGEX_BYTES: usize = 1 << 20;

impl Checker<'_> {
    /// Checks a text of a kind, with the defaults of the variables in it.
    pub(crate) fn text(&mut self, kind: Kind, text: &str, span: &Span, at: &At) {
        let substituted;
        let mut text = text;
        // What kind of environment it is must be told without variables; its path may have some.
        let plain = (kind == Kind::Environment && environment(text).is_err())
            || (kind == Kind::SecretSource && !text.starts_with("file:"));
        if !plain && kind.interpolates(self.interpolate) {
            match substitute(text, kind, &self.scope) {
                Ok(Filled::Text(result)) => substituted = result,
                // Whether it fits its place is seen once its values are known.
                Ok(Filled::Late(_) | Filled::Unread) => return,
                Err(dangling) => {
                    for reference in dangling {
                        let span = self.narrow(&text[reference.range], span);
                        self.wrong(
                            ErrorCode::BadReference,
                            at,
                            &span,
                            reference.message,
                            |error| {
                                error
                                    .label(reference.label)
                                    .help(reference.help)
                                    .valid(reference.valid)
                            },
                        );
                    }
                    return;
                }
            }
            text = &substituted;
        }
        if let Err(wrong) = check(kind, text) {
            let message = wrong.message(&at.shown, text, kind);
            self.wrong(wrong.code, at, span, message, |mut error| {
                error.label = wrong.label;
                error.help = wrong.help;
                error.valid_here = wrong.valid;
                error
            });
        }
        if kind == Kind::StepId {
            self.unique(text, span, at);
        }
    }

    /// The place of `part` in the text at `span`, where it stands there as it is.
    fn narrow(&self, part: &str, span: &Span) -> Span {
        let source = self.text.get(span.clone()).unwrap_or_default();
        source.find(part).map_or_else(
            || span.clone(),
            |offset| span.start + offset..span.start + offset + part.len(),
        )
    }

    fn unique(&mut self, id: &str, span: &Span, at: &At) {
        let Some(first) = self.ids.get(id).cloned() else {
            self.ids.insert(id.to_owned(), span.clone());
            return;
        };
        let label = match self.text.get(..first.start) {
            Some(before) if !self.text.is_empty() => {
                format!("first used on line {}", before.matches('\n').count() + 1)
            }
            _ => "used before".to_owned(),
        };
        let message = format!("two steps have the id `{}`", brief(id));
        self.wrong(ErrorCode::DuplicateId, at, span, message, |error| {
            error
                .label(label)
                .help("give each step an id of its own, or none")
        });
    }
}

/// Checks a text whose last values came in when it ran; the reason completes "the text ...".
pub(crate) fn check_late(kind: Kind, text: &str) -> Result<(), (ErrorCode, String)> {
    check(kind, text).map_err(|wrong| {
        let because = match &wrong.because {
            Some(because) if kind == Kind::Regex => format!("{because}: {}", wrong.label),
            Some(because) => because.clone(),
            None => format!("must be {}, not `{}`", kind.wanted(), brief(text)),
        };
        (wrong.code, because)
    })
}

/// What is wrong with a text.
#[derive(Debug)]
pub(crate) struct Wrong {
    code: ErrorCode,
    /// Follows the name of the key; without it, the text is simply not what the key wants.
    because: Option<String>,
    label: String,
    help: Option<String>,
    valid: Vec<String>,
}

impl Wrong {
    fn new(code: ErrorCode, label: &str) -> Self {
        Self {
            code,
            because: None,
            label: label.to_owned(),
            help: None,
            valid: Vec::new(),
        }
    }
    fn because(self, because: impl Into<String>) -> Self {
        Self {
            because: Some(because.into()),
            ..self
        }
    }
    fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl Wrong {
    /// As an error of a text whose variables got their final values.
    pub(crate) fn into_error(
        self,
        key: &str,
        text: &str,
        kind: Kind,
        pointer: Pointer,
    ) -> ReferenceError {
        let message = self.message(key, text, kind);
        ReferenceError {
            code: self.code,
            message,
            pointer,
            label: self.label,
            help: self.help,
            valid_here: self.valid,
        }
    }

    fn message(&self, shown: &str, text: &str, kind: Kind) -> String {
        match &self.because {
            Some(because) => format!("`{shown}` {because}"),
            None => format!("`{shown}` must be {}, not `{}`", kind.wanted(), brief(text)),
        }
    }
}

/// Checks a text in which nothing is left to be replaced.
pub(crate) fn check(kind: Kind, text: &str) -> Result<(), Wrong> {
    match kind {
        Kind::Prose | Kind::VarValue | Kind::Payload | Kind::Expected => Ok(()),
        Kind::Argument => no_nul(text),
        Kind::Regex => regex(text).map(|_| ()).map_err(|reason| {
            Wrong::new(ErrorCode::BadRegex, &reason).because("is no regular expression")
                .help("write `\\` before what stands for itself, such as `\\(`")
        }),
        Kind::HostPath => not_empty(text).and_then(|()| no_nul(text)),
        Kind::Environment => environment(text),
        Kind::Cwd => not_empty(text).and_then(|()| no_nul(text)).and_then(|()| {
            if text.starts_with('/') {
                return Ok(());
            }
            guest_path(text).map(|_| ())
        }),
        Kind::GuestPath => guest_path(text).map(|_| ()),
        Kind::GuestFile => match guest_path(text)?.is_root() {
            true => Err(Wrong::new(ErrorCode::BadPath, "the whole workspace")
                .because("names `/workspace` itself, not a path in it")),
            false => Ok(()),
        },
        Kind::Glob => not_empty(text),
        Kind::Duration => match Duration::parse(text) {
            Ok(duration) if duration.as_millis() == 0 => {
                Err(Wrong::new(ErrorCode::BadDuration, "no time at all")
                    .because("must be more than 0"))
            }
            Ok(_) => Ok(()),
            Err(near) => Err(Wrong::new(ErrorCode::BadDuration, &meant(near.as_deref()))
                .help("a duration is a whole number and `ms`, `s`, `m`, `h` or `d`")),
        },
        Kind::Size => match Size::parse(text) {
            Ok(size) if size.as_bytes() == 0 => {
                Err(Wrong::new(ErrorCode::BadSize, "nothing at all").because("must be more than 0"))
            }
            Ok(_) => Ok(()),
            Err(near) => Err(Wrong::new(ErrorCode::BadSize, &meant(near.as_deref()))
                .help("a size is a whole number and `B`, `KiB`, `MiB` or `GiB`")),
        },
        Kind::Digest => match Digest::parse(text) {
            Some(_) => Ok(()),
            None => Err(Wrong::new(ErrorCode::BadDigest, "not a digest")
                .help("a digest is `sha256:` and 64 hex digits, as `sha256sum FILE` prints them")),
        },
        Kind::Base if text == Base::ABSENT => Ok(()),
        Kind::Base => check(Kind::Digest, text),
        Kind::Mode => mode(text).map(|_| ()),
        Kind::GuestFileBase64 => {
            check(Kind::Base64, text)?;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            match GuestPath::parse(bytes.unwrap_or_default()) {
                Ok(path) if !path.is_root() => Ok(()),
                Ok(_) => Err(Wrong::new(ErrorCode::BadPath, "the whole workspace")
                    .because("names `/workspace` itself, not a path in it")),
                Err(error) => Err(Wrong::new(ErrorCode::BadPath, "not a path in the workspace")
                    .because(error.to_string())),
            }
        }
        Kind::Base64 => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(Wrong::new(ErrorCode::BadBase64, error.to_string().to_lowercase().trim_end_matches('.'))
                .because("is not base64")
                .help("`base64 -w0 FILE` prints it")),
        },
        Kind::StepId => match StepId::parse(text) {
            Some(_) => Ok(()),
            None => Err(Wrong::new(ErrorCode::BadId, "not a step id").help(
                "an id is a small letter, then small letters, digits, `_` or `-`, at most 64 in all",
            )),
        },
        Kind::SnapshotName if text == "baseline" => Err(Wrong::new(ErrorCode::BadName, "taken")
            .because("is the name of the workspace as it was before the first step")
            .help("name the snapshot after what was done by then, such as `built`")),
        Kind::SnapshotName => snapshot_name(text),
        Kind::Point => match Point::parse(text) {
            Some(_) => Ok(()),
            None => snapshot_name(text),
        },
        Kind::Signal => match Signal::parse(text) {
            Some(_) => Ok(()),
            None => Err(word(text.trim_start_matches("SIG"), &Signal::ALL.map(|signal| signal.name))),
        },
        Kind::ShortText => short_text(text),
        Kind::LabelKey => label_key(text),
        Kind::Word(words) => match words.contains(&text) {
            true => Ok(()),
            false => Err(word(text, words)),
        },
        Kind::VarName => var_name(text),
        Kind::HostVariable => host_variable(text),
        Kind::EnvName if text.is_empty() || text.contains(['=', '\0']) => {
            Err(Wrong::new(ErrorCode::BadName, "not a name")
                .because("is not the name of an environment variable")
                .help("a name is not empty and has no `=` and no NUL byte in it"))
        }
        Kind::EnvName => Ok(()),
        Kind::SecretName => secret_name(text),
        Kind::SecretSource => secret_source(text),
    }
}

/// Compiles a regular expression as the expectations do; `Err` is the reason in a few words.
pub(crate) fn regex(pattern: &str) -> Result<regex::bytes::Regex, String> {
    regex::bytes::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            if text.contains("size limit") {
                return "too large when compiled".to_owned();
            }
            let reason = text.rsplit("error: ").next().unwrap_or_default();
            reason.lines().next().unwrap_or_default().to_owned()
        })
}

/// Reads three or four octal digits; only the nine permission bits are taken.
pub(crate) fn mode(text: &str) -> Result<u32, Wrong> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|c| (b'0'..b'8').contains(&c));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal);
    match mode {
        None => Err(Wrong::new(ErrorCode::BadMode, "not a mode")
            .help("a mode is three or four octal digits: `\"0644\"`, `\"755\"`")),
        Some(mode) if mode > 0o777 => Err(Wrong::new(ErrorCode::BadMode, "refused")
            .because("has the setuid, setgid or sticky bit")
            .help(format!("write `\"{:04o}\"`", mode & 0o777))),
        Some(mode) => Ok(mode),
    }
}

fn environment(text: &str) -> Result<(), Wrong> {
    if text == "host" {
        return Ok(());
    }
    let wrong = |label: &str| {
        let mut wrong = Wrong::new(ErrorCode::BadValue, label);
        wrong.valid = vec!["host".into(), "dir:PATH".into()];
        wrong
    };
    match text.strip_prefix("dir:") {
        Some("") => Err(wrong("no path").because("names no directory after `dir:`")),
        Some(path) => no_nul(path),
        None => Err(wrong("not an environment")),
    }
}

fn secret_name(text: &str) -> Result<(), Wrong> {
    if text.len() <= 64 && host_variable(text).is_ok() {
        return Ok(());
    }
    Err(Wrong::new(ErrorCode::BadName, "not a name")
        .because("is not the name of a secret, or of a variable for one")
        .help("a name is a letter or `_`, then letters, digits or `_`, at most 64 in all"))
}

fn secret_source(text: &str) -> Result<(), Wrong> {
    if let Some(path) = text.strip_prefix("file:") {
        no_nul(path)?;
    }
    if SecretSource::parse(text).is_some() {
        return Ok(());
    }
    // A value in its place is not repeated.
    let mut wrong = Wrong::new(ErrorCode::BadValue, "not a source")
        .because("must say where the secret comes from: `env:NAME` or `file:PATH`")
        .help("a request holds no values of secrets: put the value into a variable of the host, or into a file");
    wrong.valid = vec!["env:NAME".into(), "file:PATH".into()];
    Err(wrong)
}

/// Names and values of labels: 1 to 120 characters on one line.
fn short_text(text: &str) -> Result<(), Wrong> {
    let because = if text.is_empty() {
        "is empty"
    } else if text.chars().count() > 120 {
        "has more than 120 characters"
    } else if text.contains(char::is_control) {
        "has a line break or another control character"
    } else {
        return Ok(());
    };
    Err(Wrong::new(ErrorCode::BadName, "not a name")
        .because(because)
        .help("1 to 120 characters on one line"))
}

fn label_key(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
    if first && rest && text.len() <= 64 {
        return Ok(());
    }
    Err(Wrong::new(ErrorCode::BadName, "not the key of a label")
        .because("is not the key of a label")
        .help("a letter or digit, then letters, digits, `.`, `_` or `-`, at most 64 in all"))
}

fn guest_path(text: &str) -> Result<GuestPath, Wrong> {
    GuestPath::parse(text).map_err(|error| {
        Wrong::new(ErrorCode::BadPath, "not a path in the workspace")
            .because(error.to_string())
            .help("paths are relative to `/workspace` and stay in it")
    })
}

fn not_empty(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(ErrorCode::BadPath, "empty").because("is empty"));
    }
    Ok(())
}

fn no_nul(text: &str) -> Result<(), Wrong> {
    if text.contains('\0') {
        return Err(Wrong::new(ErrorCode::NulByte, "a NUL byte")
            .because("has a NUL byte")
            .help("no argument, variable or path can hold one; give such bytes in a file or as `stdin`"));
    }
    Ok(())
}

fn var_name(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if first && rest {
        return Ok(());
    }
    Err(Wrong::new(ErrorCode::BadName, "not a name")
        .because("is not the name of a variable")
        .help("a name is a letter, then letters, digits, `_` or `-`"))
}

fn host_variable(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Wrong::new(ErrorCode::BadName, "not a name")
        .because("is not the name of a host variable")
        .help("a name is a letter or `_`, then letters, digits or `_`: `env = [\"CI\"]`"))
}

fn snapshot_name(text: &str) -> Result<(), Wrong> {
    match SnapshotName::parse(text) {
        Some(_) => Ok(()),
        None => Err(Wrong::new(ErrorCode::BadName, "not a name").help(
            "a name is a small letter, then small letters, digits, `_` or `-`, at most 64 in all",
        )),
    }
}

fn word(text: &str, words: &[&'static str]) -> Wrong {
    let label = match did_you_mean(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "not {}",
            either(words.iter().take(4).map(|word| format!("`{word}`")))
        ),
    };
    let mut wrong = Wrong::new(ErrorCode::BadValue, &label);
    wrong.valid = words.iter().map(ToString::to_string).collect();
    wrong
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(
        || "not understood".to_owned(),
        |near| format!("did you mean `{near}`?"),
    )
}
