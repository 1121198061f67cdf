//! From a request file to a request, with everything that is wrong shown on the way.

use super::args::{Global, Source};
use super::saved;
use super::terminal::Terminal;
use crate::execute::chain;
use crate::render::{Finding, findings, findings_json};
use crate::request::{Document, MAX_DOCUMENT, Request, Syntax, parse};
use crate::secret::ReadError;
use crate::{Error, Exit, Options};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A request, and the text it came from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) request: Request,
    pub(super) document: Document,
    /// What the request does not say itself.
    pub(super) options: Options,
    /// Where it was read from, unless from standard input.
    pub(super) file: Option<PathBuf>,
}

/// Where findings go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Findings {
    /// Drawn, on standard error.
    Drawn,
    /// `{ok: false, error: {code, message, help}, findings: [...]}` on standard output.
    Json,
}

impl Findings {
    pub(super) fn json(wanted: bool) -> Self {
        if wanted { Self::Json } else { Self::Drawn }
    }
}

/// Why a request comes to nothing, not shown yet.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Something is wrong with the document, or it cannot work here.
    Document {
        /// For pointing into.
        document: Document,
        /// What is wrong.
        found: Vec<Finding>,
        /// How to exit.
        exit: Exit,
    },
    /// A reason that is not in the document.
    Failure {
        /// As `specs/errors.md` has it.
        code: &'static str,
        /// One sentence.
        message: String,
        /// How to exit.
        exit: Exit,
    },
}

impl Refusal {
    /// Whether the same is wrong.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Document { found, .. }, Self::Document { found: theirs, .. }) => found == theirs,
            (
                Self::Failure { message, .. },
                Self::Failure {
                    message: theirs, ..
                },
            ) => message == theirs,
            (Self::Document { .. }, Self::Failure { .. })
            | (Self::Failure { .. }, Self::Document { .. }) => false,
        }
    }

    /// Says something more about it.
    pub(super) fn note(&mut self, note: &str) {
        match self {
            Self::Document { found, .. } => found
                .iter_mut()
                .for_each(|finding| finding.notes.push(note.to_owned())),
            Self::Failure { message, .. } => message.push_str(&format!(" ({note})")),
        }
    }
}

/// Reads the request. What is wrong has been shown where there is none.
pub(super) fn load(
    source: &Source,
    global: &Global,
    show: Findings,
    terminal: &Terminal,
) -> Result<Loaded, Exit> {
    let vars = source.vars.iter().cloned().collect();
    read_request(&source.request, vars, global)
        .map_err(|refusal| refused(&[refusal], show, terminal))
}

/// Reads a request.
pub(super) fn read_request(
    path: &Path,
    vars: BTreeMap<String, String>,
    global: &Global,
) -> Result<Loaded, Refusal> {
    let (name, bytes, base) = read(path).map_err(|error| Refusal::Failure {
        code: "request-unreadable",
        message: format!("could not read the request {}: {error}", path.display()),
        exit: Exit::Input,
    })?;
    let syntax = Syntax::of(&name).unwrap_or_else(|| Syntax::guess(&bytes));
    let (request, document) = parse(&name, &bytes, syntax).map_err(|errors| Refusal::Document {
        document: errors.document().clone(),
        found: Vec::from(&errors),
        exit: Exit::Input,
    })?;
    let options = Options {
        base_dir: base,
        vars,
        state_dir: global.state_dir.clone(),
        source: document.name.clone(),
        ..Options::default()
    };
    let file = (path.as_os_str() != "-").then(|| path.to_owned());
    Ok(Loaded {
        request,
        document,
        options,
        file,
    })
}

/// A document's name, its bytes and the directory that it speaks from. Of a document that is too large only as much
/// is read as proves it: it may have no end.
fn read(path: &Path) -> std::io::Result<(String, Vec<u8>, PathBuf)> {
    let mut bytes = Vec::new();
    let mark = 3;
    let enough = (MAX_DOCUMENT + mark + 1) as u64;
    if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(enough)
            .read_to_end(&mut bytes)?;
        return Ok(("-".to_owned(), bytes, std::env::current_dir()?));
    }
    std::fs::File::open(path)?
        .take(enough)
        .read_to_end(&mut bytes)?;
    let base = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((path.display().to_string(), bytes, base.to_owned()))
}

impl Loaded {
    /// Shows why a request comes to nothing, and says how to exit.
    pub(super) fn refuse(&self, error: &Error, show: Findings, terminal: &Terminal) -> Exit {
        match error {
            Error::Saved(error) => saved::refused(error, show, terminal),
            Error::Parse(_)
            | Error::References(_)
            | Error::Plan(_)
            | Error::GoldensInCi
            | Error::State(_)
            | Error::Cancel(_)
            | Error::Secret { .. }
            | Error::Secrets(_)
            | Error::Living(_)
            | Error::Execute(_) => refused(&[self.refusal(error)], show, terminal),
        }
    }

    /// Why a request comes to nothing.
    pub(super) fn refusal(&self, error: &Error) -> Refusal {
        let because = |found, exit| Refusal::Document {
            document: self.document.clone(),
            found,
            exit,
        };
        match error {
            Error::Parse(errors) => because(Vec::from(errors), Exit::Input),
            Error::References(errors) => {
                let found = errors.as_slice().iter().map(Finding::from);
                because(found.collect(), Exit::Input)
            }
            Error::Plan(problems) => {
                let found = problems.into_iter().map(Finding::from);
                because(found.collect(), Exit::Plan)
            }
            Error::Saved(error) => Refusal::Failure {
                code: error.code(),
                message: chain(error),
                exit: saved::exit(error),
            },
            Error::GoldensInCi => Refusal::Failure {
                code: "goldens-in-ci",
                message: format!(
                    "{}: look at the differences where you can see them, and check the files in",
                    chain(error)
                ),
                exit: Exit::Input,
            },
            // As the planner says it where it can see it already.
            Error::Secret { why, .. } => Refusal::Failure {
                code: match why {
                    ReadError::NotSet(_) => "secret-missing",
                    ReadError::File(..) | ReadError::Unfit(_) => "secret-unusable",
                },
                message: format!("{}; {}", chain(error), why.help()),
                exit: Exit::Plan,
            },
            Error::Secrets(_) => Refusal::Failure {
                code: "secret-unusable",
                message: chain(error),
                exit: Exit::Plan,
            },
            Error::Living(error) => Refusal::Failure {
                code: error.code(),
                message: chain(error),
                exit: Exit::Refused,
            },
            Error::State(_) | Error::Cancel(_) | Error::Execute(_) => Refusal::Failure {
                code: "machine",
                message: chain(error),
                exit: Exit::Machine,
            },
        }
    }
}

/// Shows why requests come to nothing, all of it, and says how to exit: with the worst of them.
pub(super) fn refused(refusals: &[Refusal], show: Findings, terminal: &Terminal) -> Exit {
    let mut worst = Exit::Ok;
    let mut data = Vec::new();
    let mut first = None;
    let mut documents = false;
    for (index, refusal) in refusals.iter().enumerate() {
        let exit = match refusal {
            Refusal::Document {
                document,
                found,
                exit,
            } => {
                documents = true;
                if show == Findings::Drawn {
                    let drawn = findings(document, found, terminal.finding_style());
                    let gap = if index > 0 { "\n" } else { "" };
                    terminal.err(format!("{gap}{drawn}").as_bytes());
                }
                if let serde_json::Value::Array(list) = findings_json(document, found) {
                    data.extend(list);
                }
                let finding = found.first();
                first.get_or_insert_with(|| {
                    serde_json::json!({
                        "code": finding.map(|finding| &finding.code),
                        "message": finding.map(|finding| &finding.message),
                        "help": finding.and_then(|finding| finding.help.as_ref()),
                    })
                });
                *exit
            }
            Refusal::Failure {
                code,
                message,
                exit,
            } => {
                if show == Findings::Drawn {
                    terminal.error(message);
                }
                first.get_or_insert_with(
                    || serde_json::json!({ "code": code, "message": message, "help": null }),
                );
                *exit
            }
        };
        worst = worst.worse(exit);
    }
    if let (Findings::Drawn, Some(code)) = (show, first_code(refusals)) {
        terminal.hint(&format!("`pyro explain {code}` has more"));
    }
    if show == Findings::Json {
        let mut value = serde_json::json!({ "ok": false, "error": first });
        if documents {
            value["findings"] = data.into();
        }
        terminal.print(&format!("{value:#}\n"));
    }
    worst
}

/// The code of the first reason.
fn first_code(refusals: &[Refusal]) -> Option<&str> {
    refusals.iter().find_map(|refusal| match refusal {
        Refusal::Document { found, .. } => found.first().map(|finding| &*finding.code),
        Refusal::Failure { code, .. } => Some(*code),
    })
}

/// Says that a command failed for a reason that is not in the document.
pub(super) fn fail(show: Findings, terminal: &Terminal, code: &str, message: &str) {
    match show {
        Findings::Drawn => {
            terminal.error(message);
            terminal.hint(&format!("`pyro explain {code}` has more"));
        }
        Findings::Json => {
            let error = serde_json::json!({ "code": code, "message": message, "help": null });
            terminal.print(&format!(
                "{:#}\n",
                serde_json::json!({ "ok": false, "error": error })
            ));
        }
    }
}
