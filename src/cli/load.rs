//! From a request file to a request, with everything that is wrong shown on the way.

use super::args::{Global, Source};
use super::terminal::Terminal;
use crate::execute::chain;
use crate::plan::Plan;
use crate::render::{Finding, findings, findings_json};
use crate::request::{Document, Request, Syntax, parse};
use crate::{Error, Exit, Options};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A request, and the text it came from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) request: Request,
    pub(super) document: Document,
    /// What the request does not say itself.
    pub(super) options: Options,
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

/// Reads the request. What is wrong has been shown where there is none.
pub(super) fn load(
    source: &Source,
    global: &Global,
    show: Findings,
    terminal: &Terminal,
) -> Result<Loaded, Exit> {
    let (name, bytes, base) = match read(&source.request) {
        Ok(read) => read,
        Err(error) => {
            let message = format!(
                "could not read the request {}: {error}",
                source.request.display()
            );
            fail(show, terminal, "request-unreadable", &message);
            return Err(Exit::Input);
        }
    };
    let syntax = Syntax::of(&name).unwrap_or_else(|| Syntax::guess(&bytes));
    let (request, document) = match parse(&name, &bytes, syntax) {
        Ok(parsed) => parsed,
        Err(errors) => {
            report(show, terminal, errors.document(), &Vec::from(&errors));
            return Err(Exit::Input);
        }
    };
    let options = Options {
        base_dir: base,
        vars: source.vars.iter().cloned().collect(),
        state_dir: global.state_dir.clone(),
        source: document.name.clone(),
        cancel: None,
    };
    Ok(Loaded {
        request,
        document,
        options,
    })
}

fn read(path: &Path) -> std::io::Result<(String, Vec<u8>, PathBuf)> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(("-".to_owned(), bytes, std::env::current_dir()?));
    }
    let bytes = std::fs::read(path)?;
    let base = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((path.display().to_string(), bytes, base.to_owned()))
}

impl Loaded {
    /// The plan for this host. What is wrong has been shown where there is none.
    pub(super) fn plan(&self, show: Findings, terminal: &Terminal) -> Result<Plan, Exit> {
        self.request
            .plan(&self.options)
            .map_err(|error| self.refuse(&error, show, terminal))
    }

    /// Shows why a request comes to nothing, and says how to exit.
    pub(super) fn refuse(&self, error: &Error, show: Findings, terminal: &Terminal) -> Exit {
        let report = |found: Vec<Finding>| report(show, terminal, &self.document, &found);
        match error {
            Error::Parse(errors) => {
                report(Vec::from(errors));
                Exit::Input
            }
            Error::References(errors) => {
                report(errors.as_slice().iter().map(Finding::from).collect());
                Exit::Input
            }
            Error::Plan(problems) => {
                report(problems.into_iter().map(Finding::from).collect());
                Exit::Plan
            }
            Error::State(_) | Error::Cancel(_) | Error::Execute(_) => {
                fail(show, terminal, "machine", &chain(error));
                Exit::Machine
            }
        }
    }
}

fn report(show: Findings, terminal: &Terminal, document: &Document, found: &[Finding]) {
    match show {
        Findings::Drawn => {
            terminal.err(findings(document, found, terminal.finding_style()).as_bytes())
        }
        Findings::Json => {
            let first = found.first();
            let value = serde_json::json!({
                "ok": false,
                "error": {
                    "code": first.map(|finding| &finding.code),
                    "message": first.map(|finding| &finding.message),
                    "help": first.and_then(|finding| finding.help.as_ref()),
                },
                "findings": findings_json(document, found),
            });
            terminal.print(&format!("{value:#}\n"));
        }
    }
}

/// Says that a command failed for a reason that is not in the document.
pub(super) fn fail(show: Findings, terminal: &Terminal, code: &str, message: &str) {
    match show {
        Findings::Drawn => terminal.error(message),
        Findings::Json => {
            let error = serde_json::json!({ "code": code, "message": message, "help": null });
            terminal.print(&format!(
                "{:#}\n",
                serde_json::json!({ "ok": false, "error": error })
            ));
        }
    }
}
