//! Puts the values of variables into a request. Text that is data, not intention, stays as it is.

use super::ErrorCode;
use super::check_text;
use super::model::{
    Action, Command, Content, Environment, Exec, Expect, Pointer, Request, Step, TextExpect,
};
use super::reference::substitute;
use super::shape::Kind;
use super::suggest::did_you_mean;
use std::collections::BTreeMap;
use std::fmt;

/// A reference or an override that leads nowhere, or to a value that does not fit its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// One sentence, without a full stop.
    pub message: String,
    /// Where in the document.
    pub pointer: Pointer,
    /// A few words for the place itself; may be empty.
    pub label: String,
    /// One thing to try.
    pub help: Option<String>,
    /// What could have stood here.
    pub valid_here: Vec<String>,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReferenceError {}

/// The request with every reference replaced, where references count. To be called once: what it returns may
/// have text that looks like a reference.
///
/// # Errors
/// Every override of a variable that the request does not declare, every reference that leads nowhere, and every
/// text that no longer fits its place once the values are in.
pub fn resolve(
    request: &Request,
    overrides: &BTreeMap<String, String>,
) -> Result<Request, Vec<ReferenceError>> {
    let mut resolved = request.clone();
    let mut errors = Vec::new();
    for (name, value) in overrides {
        if let Some(default) = resolved.vars.get_mut(name) {
            default.clone_from(value);
            continue;
        }
        let known = request.vars.keys().map(String::as_str);
        errors.push(ReferenceError {
            code: ErrorCode::BadReference,
            message: format!("the request has no variable `{name}`"),
            pointer: Pointer::default().at("vars"),
            label: did_you_mean(name, known)
                .map(|near| format!("did you mean `{near}`?"))
                .unwrap_or_default(),
            help: Some(format!(
                "a variable is declared with its default: `vars.{name} = \"...\"`"
            )),
            valid_here: request.vars.keys().cloned().collect(),
        });
    }
    let vars = resolved.vars.clone();
    let mut visit = |kind: Kind, pointer: Pointer, text: &mut String| match substitute(text, &vars)
    {
        Ok(new) => {
            if let Err(wrong) = check_text::check(kind, &new) {
                errors.push(wrong.into_error(&shown(&pointer), &new, kind, pointer));
            }
            *text = new;
        }
        Err(dangling) => errors.extend(dangling.into_iter().map(|dangling| ReferenceError {
            code: ErrorCode::BadReference,
            message: dangling.message,
            pointer: pointer.clone(),
            label: dangling.label,
            help: Some(dangling.help),
            valid_here: dangling.valid,
        })),
    };
    visit_workspace(&mut resolved, &mut visit);
    for (index, step) in resolved.steps.iter_mut().enumerate() {
        visit_step(step, &Pointer::step(index), &mut visit);
    }
    if errors.is_empty() {
        Ok(resolved)
    } else {
        Err(errors)
    }
}

/// A place as the keys of its step spell it: `expect.stdout.matches[0]`.
fn shown(pointer: &Pointer) -> String {
    let mut parts = pointer.parts().collect::<Vec<_>>();
    if parts.first().is_some_and(|part| part == "step") {
        parts.drain(..2.min(parts.len()));
    }
    let mut shown = String::new();
    for part in parts {
        if part.bytes().all(|c| c.is_ascii_digit()) {
            shown.push_str(&format!("[{part}]"));
        } else {
            shown.push_str(if shown.is_empty() { "" } else { "." });
            shown.push_str(&part);
        }
    }
    shown
}

trait Visit: FnMut(Kind, Pointer, &mut String) {}
impl<F: FnMut(Kind, Pointer, &mut String)> Visit for F {}

fn visit_workspace(request: &mut Request, visit: &mut impl Visit) {
    let workspace = &mut request.workspace;
    let at = Pointer::default().at("workspace");
    match &mut workspace.environment {
        Environment::Host => {}
        Environment::Dir(path) => visit(Kind::HostPath, at.at("environment"), path),
    }
    if let Some(seed) = &mut workspace.seed {
        visit(Kind::HostPath, at.at("seed"), seed);
    }
    for (index, path) in workspace.expose.iter_mut().enumerate() {
        visit(Kind::HostPath, at.at("expose").at(index), path);
    }
}

fn visit_step(step: &mut Step, at: &Pointer, visit: &mut impl Visit) {
    let Step {
        id: _,
        action,
        expect,
        always: _,
        interpolate,
    } = step;
    let payload = interpolate.then_some(Kind::Payload);
    match action {
        Action::Exec(exec) => visit_exec(exec, payload, at, visit),
        Action::Write(write) => {
            for (path, file) in &mut write.files {
                visit_content(&mut file.content, payload, &at.at("write").at(path), visit);
            }
        }
        Action::Patch(patch) => visit_content(&mut patch.patch, payload, &at.at("patch"), visit),
        Action::Export(export) => visit(Kind::HostPath, at.at("to"), &mut export.to),
        Action::Delete(_) | Action::Read(_) | Action::List(_) | Action::Diff(_) => {}
    }
    let Expect {
        stdout,
        stderr,
        content,
        text,
        exit: _,
        duration_under: _,
        timed_out: _,
        signal: _,
        fails: _,
    } = expect;
    for (name, text) in [
        ("stdout", stdout),
        ("stderr", stderr),
        ("content", content),
        ("text", text),
    ] {
        if let Some(text) = text {
            visit_expectation(text, &at.at("expect").at(name), visit);
        }
    }
}

fn visit_exec(exec: &mut Exec, payload: Option<Kind>, at: &Pointer, visit: &mut impl Visit) {
    let Exec {
        command,
        cwd,
        env,
        stdin,
        timeout: _,
        max_output: _,
    } = exec;
    match command {
        Command::Shell(line) => visit(Kind::Argument, at.at("exec"), line),
        Command::Argv(argv) => {
            for (index, argument) in argv.iter_mut().enumerate() {
                visit(Kind::Argument, at.at("exec").at(index), argument);
            }
        }
    }
    if let Some(cwd) = cwd {
        visit(Kind::Cwd, at.at("cwd"), cwd);
    }
    for (name, value) in env {
        visit(Kind::Argument, at.at("env").at(name), value);
    }
    if let Some(stdin) = stdin {
        visit_content(stdin, payload, &at.at("stdin"), visit);
    }
}

/// `text` says whether references count in text, and as what.
fn visit_content(content: &mut Content, text: Option<Kind>, at: &Pointer, visit: &mut impl Visit) {
    match (content, text) {
        (Content::Text(content), Some(kind)) => visit(kind, at.clone(), content),
        (Content::From(path), _) => visit(Kind::HostPath, at.at("from"), path),
        (Content::Text(_), None) | (Content::Bytes(_), _) => {}
    }
}

fn visit_expectation(expect: &mut TextExpect, at: &Pointer, visit: &mut impl Visit) {
    let TextExpect {
        equals,
        contains,
        matches,
        lines: _,
        empty: _,
    } = expect;
    if let Some(equals) = equals {
        visit_content(equals, Some(Kind::Expected), &at.at("equals"), visit);
    }
    for (index, text) in contains.iter_mut().enumerate() {
        visit(Kind::Expected, at.at("contains").at(index), text);
    }
    for (index, regex) in matches.iter_mut().enumerate() {
        visit(Kind::Regex, at.at("matches").at(index), regex);
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::request::{Syntax, emit, parse};
    use std::collections::BTreeMap;

    const DOCUMENT: &str = r#"
pyro = 1
vars.name = "world"
vars.pattern = "h.*o"
workspace.seed = "seeds/${vars.name}"

[[step]]
exec = ["echo", "hello ${vars.name}", "${HOME}", "$${vars.name}"]
cwd = "${vars.name}"
env.GREETING = "${vars.name}!"
stdin = "${vars.name}"
expect.stdout.matches = "^${vars.pattern}"

[[step]]
write."a" = "${vars.name}"
interpolate = true
"#;

    fn over(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn values_land_where_references_count_and_nowhere_else() {
        let (request, _) = parse("a.toml", DOCUMENT.as_bytes(), Syntax::Toml).expect("a request");
        let resolved = resolve(&request, &over("name", "moon")).expect("all are known");
        let resolved = emit(&resolved, Syntax::Toml);
        let (_, resolved) = resolved.split_once("[[step]]\n").expect("a step");
        assert_eq!(
            resolved,
            r#"exec = ["echo", "hello moon", "${HOME}", "${vars.name}"]
cwd = "moon"
env.GREETING = "moon!"
stdin = "${vars.name}"
expect.stdout.matches = "^h.*o"

[[step]]
write.a = "moon"
interpolate = true
"#
        );
    }

    #[test]
    fn an_override_must_be_known_and_its_value_must_fit() {
        let (request, _) = parse("a.toml", DOCUMENT.as_bytes(), Syntax::Toml).expect("a request");
        for (overrides, told) in [
            (over("nmae", "x"), "the request has no variable `nmae`"),
            (
                over("pattern", "("),
                "`expect.stdout.matches[0]` is no regular expression",
            ),
            (
                over("name", "../.."),
                "`cwd` has a `..` part; write the path it leads to",
            ),
        ] {
            let errors = resolve(&request, &overrides).expect_err(told);
            assert_eq!(errors[0].message, told);
        }
    }
}
