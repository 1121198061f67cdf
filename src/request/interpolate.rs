//! Puts the values of variables into a request. Text that is data, not intention, stays as it is.

use super::capture::{HostVariable, Template};
use super::check_text;
use super::model::{
    Action, Command, Content, Environment, Exec, Expect, Pointer, Request, SecretSource, Step,
    TextExpect,
};
use super::reference::{Dangling, Filled, put_in, substitute};
use super::scope::Scope;
use super::shape::Kind;
use super::suggest::did_you_mean;
use super::{Capture, Combination, ErrorCode};
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

/// What references stand for, besides what the request says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// Values for the request's variables.
    pub vars: BTreeMap<String, String>,
    /// What the declared host variables hold. Without it they were not read: their references lead somewhere, but
    /// whether a text with one fits its place is not known.
    pub env: Option<BTreeMap<String, HostVariable>>,
    /// The combination of the request's matrix. Where it is empty, references to the matrix are like those to host
    /// variables that were not read.
    pub matrix: Combination,
}

/// The request with every reference replaced, where references count; those to captured values are kept apart in
/// [`Step::late`]. To be called once: what it returns may have text that looks like a reference.
///
/// # Errors
/// Every override of a variable that the request does not declare, every reference that leads nowhere, and every
/// text that no longer fits its place once the values are in.
pub fn resolve(request: &Request, values: &Values) -> Result<Request, Vec<ReferenceError>> {
    let mut resolved = request.clone();
    let mut errors = Vec::new();
    for (name, value) in &values.vars {
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
    resolved.combination = values.matrix.clone();
    let mut scope = scope(&resolved, values);
    let mut late = BTreeMap::new();
    visit_workspace(&mut resolved, &mut |kind, pointer, text| {
        fill(kind, pointer, text, &scope, &mut late, &mut errors);
    });
    for (name, regex) in &mut resolved.redact {
        let place = Pointer::default().at("redact").at(name);
        fill(Kind::Regex, place, regex, &scope, &mut late, &mut errors);
    }
    for (index, step) in resolved.steps.iter_mut().enumerate() {
        // What does not run needs no values.
        if resolved.left_out.contains(&index) {
            continue;
        }
        scope.here = Some(index);
        let mut late = BTreeMap::new();
        visit_step(step, &Pointer::step(index), &mut |kind, pointer, text| {
            fill(kind, pointer, text, &scope, &mut late, &mut errors);
        });
        step.late = late;
    }
    if errors.is_empty() {
        Ok(resolved)
    } else {
        Err(errors)
    }
}

/// The request as it would have been written without variables: a request of its own, which resolves to the same. Its
/// variables stay declared, with the values that they had. References to captured values and, where `values` has no
/// combination, to the matrix stay.
///
/// # Errors
/// As [`resolve`]; and every text in which a value that ends in `$` stands right before a reference that stays.
pub fn fill_in(request: &Request, values: &Values) -> Result<Request, Vec<ReferenceError>> {
    resolve(request, values)?;
    let mut filled = request.clone();
    for (name, value) in &values.vars {
        filled.vars.insert(name.clone(), value.clone());
    }
    let mut scope = scope(&filled, values);
    let mut errors = Vec::new();
    let mut put = |scope: &Scope, kind, pointer: Pointer, text: &mut String| match put_in(
        text, kind, scope,
    ) {
        Ok(new) => *text = new,
        Err(dangling) => errors.extend(told(dangling, &pointer)),
    };
    visit_workspace(&mut filled, &mut |kind, pointer, text| {
        put(&scope, kind, pointer, text);
    });
    for (name, regex) in &mut filled.redact {
        let place = Pointer::default().at("redact").at(name);
        put(&scope, Kind::Regex, place, regex);
    }
    for (index, step) in filled.steps.iter_mut().enumerate() {
        scope.here = Some(index);
        visit_step(step, &Pointer::step(index), &mut |kind, pointer, text| {
            put(&scope, kind, pointer, text);
        });
    }
    if errors.is_empty() {
        Ok(filled)
    } else {
        Err(errors)
    }
}

/// What references of a request lead to.
fn scope(request: &Request, values: &Values) -> Scope {
    let mut scope = Scope::of_request(request);
    if let Some(env) = &values.env {
        for (name, value) in &mut scope.env {
            *value = Some(env.get(name).cloned().unwrap_or(HostVariable::Unset));
        }
    }
    scope
}

/// Dangling references with the place of their text.
fn told(dangling: Vec<Dangling>, pointer: &Pointer) -> impl Iterator<Item = ReferenceError> {
    dangling.into_iter().map(|dangling| ReferenceError {
        code: ErrorCode::BadReference,
        message: dangling.message,
        pointer: pointer.clone(),
        label: dangling.label,
        help: Some(dangling.help),
        valid_here: dangling.valid,
    })
}

/// Puts the values into one text.
fn fill(
    kind: Kind,
    pointer: Pointer,
    text: &mut String,
    scope: &Scope,
    late: &mut BTreeMap<Pointer, Template>,
    errors: &mut Vec<ReferenceError>,
) {
    match substitute(text, kind, scope) {
        Ok(Filled::Text(new)) => {
            if let Err(wrong) = check_text::check(kind, &new) {
                errors.push(wrong.into_error(&shown(&pointer), &new, kind, pointer));
            }
            *text = new;
        }
        Ok(Filled::Late(template)) => {
            *text = template.to_string();
            late.insert(pointer, template);
        }
        Ok(Filled::Unread) => {}
        Err(dangling) => errors.extend(told(dangling, &pointer)),
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

pub(super) trait Visit: FnMut(Kind, Pointer, &mut String) {}
impl<F: FnMut(Kind, Pointer, &mut String)> Visit for F {}

pub(super) fn visit_workspace(request: &mut Request, visit: &mut impl Visit) {
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
    for (name, source) in &mut workspace.secrets {
        if let SecretSource::File(path) = source {
            visit(Kind::HostPath, at.at("secrets").at(name), path);
        }
    }
}

pub(super) fn visit_step(step: &mut Step, at: &Pointer, visit: &mut impl Visit) {
    let Step {
        id: _,
        action,
        expect,
        always: _,
        interpolate,
        capture,
        retry: _,
        late: _,
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
        Action::Sync(sync) => visit(Kind::HostPath, at.at("sync"), &mut sync.from),
        Action::Search(search) => visit(Kind::Regex, at.at("search"), &mut search.regex),
        Action::Export(export) => visit(Kind::HostPath, at.at("to"), &mut export.to),
        Action::Pull(pull) => visit(Kind::HostPath, at.at("pull"), &mut pull.to),
        Action::Delete(_)
        | Action::Move(_)
        | Action::Read(_)
        | Action::List(_)
        | Action::Diff(_)
        | Action::Snapshot(_)
        | Action::Reset(_) => {}
    }
    for (name, Capture { source, regex }) in capture {
        let place = at.at("capture").at(name).at(source.as_str()).at("regex");
        visit(Kind::Regex, place, regex);
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
        changed: _,
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
        secrets: _,
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
        golden,
    } = expect;
    if let Some(equals) = equals {
        visit_content(equals, Some(Kind::Expected), &at.at("equals"), visit);
    }
    if let Some(golden) = golden {
        visit(Kind::HostPath, at.at("golden"), golden);
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
    use super::{Values, resolve};
    use crate::request::{HostVariable, Pointer, Syntax, emit, parse};
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

    fn over(name: &str, value: &str) -> Values {
        Values {
            vars: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..Values::default()
        }
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

    const LATE: &str = r#"
pyro = 1
env = ["CI", "ODD", "GONE"]

[[step]]
id = "a"
exec = ["true", "${env.CI}"]
capture.n.stdout.regex = '\d+'

[[step]]
exec = ["echo", "$${step.a.n}", "<${step.a.n}>"]
"#;

    fn host(value: HostVariable) -> Values {
        let env = [("CI".to_owned(), value)];
        Values {
            env: Some(env.into()),
            ..Values::default()
        }
    }

    #[test]
    fn captured_values_wait_for_the_run_and_an_escape_is_none() {
        let (request, _) = parse("a.toml", LATE.as_bytes(), Syntax::Toml).expect("a request");
        let values = host(HostVariable::Text("yes".to_owned()));
        let resolved = resolve(&request, &values).expect("all are known");
        let [first, second] = &resolved.steps[..] else {
            panic!("two steps");
        };
        assert!(first.late.is_empty());
        let late: Vec<_> = second.late.iter().collect();
        let [(place, template)] = &late[..] else {
            panic!("one text waits: {late:?}");
        };
        assert_eq!(**place, Pointer::step(1).at("exec").at(2));
        let fill = |index: usize, name: &str| (index == 0 && name == "n").then_some("7");
        assert_eq!(template.fill(fill).as_deref(), Ok("<7>"));
        assert!(template.fill(|_, _| None).is_err());
        let text = emit(&resolved, Syntax::Toml);
        assert!(
            text.contains(r#"["echo", "${step.a.n}", "<${step.a.n}>"]"#),
            "{text}"
        );
        assert!(text.contains(r#"["true", "yes"]"#), "{text}");
    }

    #[test]
    fn host_variables_must_be_there_once_they_are_read() {
        let (request, _) = parse("a.toml", LATE.as_bytes(), Syntax::Toml).expect("a request");
        assert!(resolve(&request, &Values::default()).is_ok(), "not read");
        for (value, told) in [
            (HostVariable::Unset, "the host variable `CI` is not set"),
            (
                HostVariable::NotText,
                "the host variable `CI` holds bytes that are not UTF-8",
            ),
            (
                HostVariable::Text("\0".to_owned()),
                "`exec[1]` has a NUL byte",
            ),
        ] {
            let errors = resolve(&request, &host(value)).expect_err(told);
            assert_eq!(errors[0].message, told);
        }
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
