//! Values that pass from step to step: what a step captures, and where later ones put it.

use super::draft::Draft;
use super::{PlannedAction, PlannedStep, PlannedText, Problem, ProblemCode, text};
use crate::patch;
use crate::request::{
    Capture, CaptureSource, Duration, ErrorCode, Kind, Piece, Pointer, Retry, Step, Template,
    check_late,
};
use pyro_protocol::Bytes;
use std::collections::BTreeMap;

/// Between two attempts, unless the step says otherwise.
const EVERY: Duration = Duration::from_millis(1000);
/// The longest time between two attempts.
const LONGEST: Duration = Duration::from_millis(10 * 60 * 1000);

/// A value that a step captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCapture {
    /// Its name.
    pub name: String,
    /// Where it is looked for.
    pub source: CaptureSource,
    /// What is looked for.
    pub regex: String,
    /// Where that stands in the document.
    pub pointer: Pointer,
}

/// How often a step is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRetry {
    /// The first time included.
    pub times: u64,
    /// From the end of one attempt to the next.
    pub every: Duration,
}

/// A text of a step that waits for captured values; until then it stands in the action as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// Where it goes.
    pub slot: Slot,
    /// Where it stands in the document.
    pub pointer: Pointer,
    /// The text.
    pub template: Template,
}

/// A place of an action that a text goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// The line for the shell.
    Line,
    /// A word of the command, counted from 0.
    Word(usize),
    /// The directory it runs in.
    Cwd,
    /// The value of a variable of the program's environment.
    Env(String),
    /// Standard input.
    Stdin,
    /// What a file of `write` holds, counted from 0.
    File(usize),
    /// The patch text.
    Patch,
    /// The regular expression of a search.
    Search,
    /// A check, counted from 0 among those of its text.
    Check(CaptureSource, usize),
    /// The regular expression of a captured value.
    Capture(usize),
}

/// What captured values are known, by the step's index and their name.
pub type Captured = BTreeMap<(usize, String), String>;

/// Lowers what a step captures.
pub(super) fn captures(step: &Step, draft: &mut Draft) -> Vec<PlannedCapture> {
    let place = draft.pointer.at("capture");
    let mut out = Vec::new();
    for (name, Capture { source, regex }) in &step.capture {
        let pointer = place.at(name).at(source.as_str()).at("regex");
        if step.expect.fails {
            let message = "a step that is refused (`fails`) has nothing to capture";
            draft.input(
                Problem::new(ProblemCode::ExpectConflict, pointer.clone(), message)
                    .help("take out `fails`, or this"),
            );
        }
        if !draft.is_late(&pointer)
            && let Err((_, why)) = check_late(Kind::Regex, regex)
        {
            let message = format!("this regular expression {why}");
            draft.input(
                Problem::new(ProblemCode::PatternInvalid, pointer.clone(), message)
                    .help("the syntax is that of Rust's `regex` crate"),
            );
        }
        out.push(PlannedCapture {
            name: name.clone(),
            source: *source,
            regex: regex.clone(),
            pointer,
        });
    }
    if let (crate::request::Action::Read(read), Some(first)) = (&step.action, out.first())
        && read.paths.len() != 1
    {
        let message = "a value is captured from one file, and this step reads several";
        draft.input(
            Problem::new(ProblemCode::ExpectConflict, first.pointer.clone(), message)
                .help("read the files in steps of their own"),
        );
    }
    out
}

/// Lowers how often a step is tried.
pub(super) fn retry(retry: Option<Retry>, draft: &mut Draft) -> Option<PlannedRetry> {
    let Retry { times, every } = retry?;
    let place = draft.pointer.at("retry");
    let every = every.unwrap_or(EVERY);
    if !(2..=Retry::MOST).contains(&times) {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                place.at("times"),
                format!("a step is tried 2 to {} times, or once", Retry::MOST),
            )
            .help("`times` counts the first attempt as well"),
        );
    }
    if every > LONGEST {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                place.at("every"),
                format!("at most {LONGEST} lie between two attempts"),
            )
            .help("give less, or more attempts"),
        );
    }
    Some(PlannedRetry { times, every })
}

/// The texts of a step that wait for values, each with its place in the action.
pub(super) fn late(step: &Step, action: &PlannedAction, draft: &mut Draft) -> Vec<Late> {
    let mut out = Vec::new();
    for (pointer, template) in &step.late {
        let Some(slot) = slot(step, action, &draft.pointer, pointer) else {
            continue;
        };
        let names: Vec<_> = template
            .captured()
            .map(|piece| format!("`{piece}`"))
            .collect();
        draft.note(format!(
            "{} in `{}` is known only when this step runs",
            names.join(" and "),
            shown(&draft.pointer, pointer)
        ));
        out.push(Late {
            slot,
            pointer: pointer.clone(),
            template: template.clone(),
        });
    }
    out
}

fn slot(step: &Step, action: &PlannedAction, base: &Pointer, pointer: &Pointer) -> Option<Slot> {
    let parts: Vec<String> = pointer.parts().skip(base.parts().count()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["exec"] => Some(Slot::Line),
        ["exec", index] => index.parse().ok().map(Slot::Word),
        ["cwd"] => Some(Slot::Cwd),
        ["env", name] => Some(Slot::Env((*name).to_owned())),
        ["stdin"] => Some(Slot::Stdin),
        ["patch"] => Some(Slot::Patch),
        ["search"] => Some(Slot::Search),
        ["write", path] => match action {
            PlannedAction::Write(write) => write
                .files
                .iter()
                .position(|file| file.path.to_string() == *path)
                .map(Slot::File),
            PlannedAction::Exec(_)
            | PlannedAction::Patch(_)
            | PlannedAction::Delete(_)
            | PlannedAction::Move(_)
            | PlannedAction::Read(_)
            | PlannedAction::List(_)
            | PlannedAction::Search(_)
            | PlannedAction::Diff(_)
            | PlannedAction::Sync(_)
            | PlannedAction::Export(_)
            | PlannedAction::Pull(_)
            | PlannedAction::Snapshot(_)
            | PlannedAction::Reset(_)
            | PlannedAction::Refused(_) => None,
        },
        ["capture", name, ..] => step
            .capture
            .keys()
            .position(|key| key == name)
            .map(Slot::Capture),
        ["expect", source, ..] => {
            let source = CaptureSource::ALL
                .into_iter()
                .find(|known| known.as_str() == *source)?;
            // A list of one may stand without brackets, so its check has the place of the key.
            let place = |check: &Pointer| check == pointer || check.at(0) == *pointer;
            checks(action, source)?
                .iter()
                .position(|(check, _)| place(check))
                .map(|index| Slot::Check(source, index))
        }
        _ => None,
    }
}

fn checks(action: &PlannedAction, source: CaptureSource) -> Option<&PlannedText> {
    match (action, source) {
        (PlannedAction::Exec(exec), CaptureSource::Stdout) => Some(&exec.stdout),
        (PlannedAction::Exec(exec), CaptureSource::Stderr) => Some(&exec.stderr),
        (PlannedAction::Read(read), CaptureSource::Content) => Some(&read.content),
        (PlannedAction::List(list), CaptureSource::Text) => Some(&list.text),
        (PlannedAction::Search(search), CaptureSource::Text) => Some(&search.text),
        (PlannedAction::Diff(diff), CaptureSource::Text) => Some(&diff.text),
        (
            PlannedAction::Exec(_)
            | PlannedAction::Write(_)
            | PlannedAction::Patch(_)
            | PlannedAction::Delete(_)
            | PlannedAction::Move(_)
            | PlannedAction::Read(_)
            | PlannedAction::List(_)
            | PlannedAction::Search(_)
            | PlannedAction::Diff(_)
            | PlannedAction::Sync(_)
            | PlannedAction::Export(_)
            | PlannedAction::Pull(_)
            | PlannedAction::Snapshot(_)
            | PlannedAction::Reset(_)
            | PlannedAction::Refused(_),
            _,
        ) => None,
    }
}

fn checks_mut(action: &mut PlannedAction, source: CaptureSource) -> Option<&mut PlannedText> {
    match action {
        PlannedAction::Exec(exec) => match source {
            CaptureSource::Stdout => Some(&mut exec.stdout),
            CaptureSource::Stderr => Some(&mut exec.stderr),
            CaptureSource::Content | CaptureSource::Text => None,
        },
        PlannedAction::Read(read) => Some(&mut read.content),
        PlannedAction::List(list) => Some(&mut list.text),
        PlannedAction::Search(search) => Some(&mut search.text),
        PlannedAction::Diff(diff) => Some(&mut diff.text),
        PlannedAction::Write(_)
        | PlannedAction::Patch(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Sync(_)
        | PlannedAction::Export(_)
        | PlannedAction::Pull(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => None,
    }
}

/// Why a step cannot have its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfilled {
    /// Kebab-case; see `specs/errors.md`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

impl Unfilled {
    fn new(code: ErrorCode, message: String) -> Self {
        Self {
            code: code.to_string(),
            message: text::escape(message),
        }
    }
}

impl PlannedStep {
    /// The step with the captured values in its texts, each checked again at its place.
    ///
    /// # Errors
    /// The first value that is missing or does not fit.
    pub fn filled(&self, captured: &Captured) -> Result<Self, Unfilled> {
        let mut step = self.clone();
        for Late {
            slot,
            pointer,
            template,
        } in &self.late
        {
            let value = |index: usize, name: &str| {
                captured.get(&(index, name.to_owned())).map(String::as_str)
            };
            let text = template.fill(value).map_err(|missing| {
                let message = match missing {
                    Piece::Captured { step, name, .. } => format!(
                        "step `{step}` has not captured `{name}`, which `{}` needs",
                        shown(&self.pointer, pointer)
                    ),
                    Piece::Text(_) => unreachable!("what is known is never missing"),
                };
                Unfilled::new(ErrorCode::BadReference, message)
            })?;
            put(
                &mut step,
                slot,
                text,
                &shown(&self.pointer, pointer),
                template,
            )?;
        }
        step.late = Vec::new();
        Ok(step)
    }
}

/// A place as the keys of its step spell it.
fn shown(step: &Pointer, place: &Pointer) -> String {
    let parts: Vec<_> = place.parts().skip(step.parts().count()).collect();
    parts.join(".")
}

/// Puts one text into its slot.
fn put(
    step: &mut PlannedStep,
    slot: &Slot,
    text: String,
    place: &str,
    template: &Template,
) -> Result<(), Unfilled> {
    let fits = |kind: Kind| {
        check_late(kind, &text).map_err(|(code, why)| {
            Unfilled::new(
                code,
                format!("with the value of `{template}` in it, `{place}` {why}"),
            )
        })
    };
    match (slot, &mut step.action) {
        (Slot::Line, PlannedAction::Exec(exec)) => {
            fits(Kind::Argument)?;
            if let Some(last) = exec.argv.last_mut() {
                *last = Bytes::from(&*text);
            }
            exec.shown = text;
        }
        (Slot::Word(index), PlannedAction::Exec(exec)) => {
            fits(Kind::Argument)?;
            if *index == 0 && text.is_empty() {
                let message = format!("with the value of `{template}`, `{place}` names no program");
                return Err(Unfilled::new(ErrorCode::BadValue, message));
            }
            if let Some(word) = exec.argv.get_mut(*index) {
                *word = Bytes::from(text);
            }
            let words = exec.argv.iter().map(|word| word.lossy().into_owned());
            exec.shown = text::command_line(&words.collect::<Vec<_>>());
        }
        (Slot::Cwd, PlannedAction::Exec(exec)) => {
            fits(Kind::Cwd)?;
            exec.cwd = match crate::request::GuestPath::parse(&text) {
                Ok(path) => path.absolute().into(),
                Err(_) => Bytes::from(text),
            };
        }
        (Slot::Env(name), PlannedAction::Exec(exec)) => {
            fits(Kind::Argument)?;
            let mut env = exec.env.iter_mut();
            if let Some((_, value)) = env.find(|(known, _)| *known.0 == *name.as_bytes()) {
                *value = Bytes::from(text);
            }
        }
        (Slot::Stdin, PlannedAction::Exec(exec)) => exec.stdin = Some(text.into_bytes()),
        (Slot::File(index), PlannedAction::Write(write)) => {
            if let Some(file) = write.files.get_mut(*index) {
                file.bytes = text.into_bytes();
            }
        }
        (Slot::Patch, PlannedAction::Patch(planned)) => {
            planned.patch = patch::parse(text.as_bytes()).map_err(|refusals| {
                let code = refusals.first().map(|refusal| refusal.code.as_str());
                let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
                Unfilled {
                    code: code.unwrap_or_default().to_owned(),
                    message: format!(
                        "with the value of `{template}` in it, the text is no patch: {}",
                        text::escape(reasons.join("; "))
                    ),
                }
            })?;
        }
        (Slot::Search, PlannedAction::Search(search)) => {
            fits(Kind::Regex)?;
            search.regex = text;
        }
        (Slot::Check(source, index), action) => {
            let check = checks_mut(action, *source).and_then(|checks| checks.get_mut(*index));
            if let Some((_, check)) = check {
                if matches!(check, super::TextCheck::Matches(_)) {
                    fits(Kind::Regex)?;
                }
                check.set_text(text);
            }
        }
        (Slot::Capture(index), _) => {
            fits(Kind::Regex)?;
            if let Some(capture) = step.captures.get_mut(*index) {
                capture.regex = text;
            }
        }
        // A patch that was refused already takes no text; other slots were made for their action.
        (
            Slot::Line
            | Slot::Word(_)
            | Slot::Cwd
            | Slot::Env(_)
            | Slot::Stdin
            | Slot::File(_)
            | Slot::Patch
            | Slot::Search,
            _,
        ) => {}
    }
    Ok(())
}
