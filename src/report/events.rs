//! What happens while it happens, as JSON lines. The prose is `specs/events.md`.

use crate::batch::{Batch, BatchEnd, BatchEvent, RunEnd};
use crate::execute::{Event, Stream, chain};
use crate::plan::PlannedStep;
use crate::receipt::Text;
use crate::workspace::{Swept, Timestamp};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{self, Write};

/// Bytes of one output stream of one step that are told as events.
const MAX_OUTPUT: usize = 1 << 20;

/// Writes a line for each event, whole and at once, so that a reader never sees half of one.
pub struct EventLog {
    out: Box<dyn Write + Send>,
    error: Option<io::Error>,
    /// Bytes of the current step's outputs so far, by run and stream.
    told: Vec<[usize; 2]>,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl EventLog {
    /// Begins with a line about what is going to run.
    pub fn begin(out: Box<dyn Write + Send>, batch: &Batch) -> Self {
        let mut log = Self {
            out,
            error: None,
            told: vec![[0, 0]; batch.runs.len()],
        };
        let runs: Vec<Value> = batch
            .runs
            .iter()
            .map(|run| {
                json!({
                    "name": run.plan.name,
                    "source": run.plan.source,
                    "matrix": run.options.matrix,
                    "plan_digest": run.plan.digest,
                    "steps": run.plan.steps.len(),
                })
            })
            .collect();
        log.line(
            "begin",
            None,
            json!({
                "format_version": 1,
                "pyro_version": env!("CARGO_PKG_VERSION"),
                "runs": runs,
            }),
        );
        log
    }

    /// Writes what happened.
    pub fn event(&mut self, event: &BatchEvent<'_>) {
        let run = Some(event.run);
        match &event.event {
            Event::Mended(what) => {
                let value = json!({ "what": what });
                self.line("mended", run, value);
            }
            Event::Swept(swept) => {
                let Swept {
                    runs,
                    host_files,
                    stuck,
                    kept,
                    pulls,
                } = swept;
                let value = json!({
                    "runs": runs,
                    "host_files": host_files,
                    "stuck": stuck,
                    "kept": kept,
                    "pulls": pulls,
                });
                self.line("swept", run, value);
            }
            Event::Started { .. } => self.line("run_started", run, json!({})),
            Event::StepStarted { step } => {
                self.told[event.run] = [0, 0];
                let value = json!({
                    "verb": step.action.verb(),
                    "pointer": step.pointer,
                    "summary": crate::execute::summary(&step.action),
                });
                self.line("step_started", run, about(step, value));
            }
            Event::Output {
                step,
                stream,
                bytes,
            } => self.output(event.run, step, *stream, bytes),
            Event::Retry {
                step,
                attempt,
                report,
            } => {
                // Every attempt has its outputs told.
                self.told[event.run] = [0, 0];
                let value = json!({ "attempt": attempt, "report": report });
                self.line("step_retried", run, about(step, value));
            }
            Event::StepEnded { step, report } => {
                let value = json!({ "outcome": report.outcome, "report": report });
                self.line("step_ended", run, about(step, value));
            }
            Event::Ended { receipt, path } => {
                let value = json!({
                    "outcome": receipt.outcome,
                    "duration_ms": receipt.duration_ms,
                    "receipt": path.display().to_string(),
                    "lost": receipt.lost,
                });
                self.line("run_ended", run, value);
            }
        }
    }

    /// Ends with a line about everything, after one for each run that has no receipt.
    ///
    /// # Errors
    /// The first reason why a line could not be written; nothing was written after it.
    pub fn end(mut self, end: &BatchEnd) -> io::Result<()> {
        for (run, ended) in end.ends.iter().enumerate() {
            let (outcome, error) = match ended {
                RunEnd::Ran(_) => continue,
                RunEnd::Error(error) => ("lost", Some(chain(error))),
                RunEnd::NotRun => ("not_run", None),
            };
            let value = json!({ "outcome": outcome, "receipt": null, "lost": error });
            self.line("run_ended", Some(run), value);
        }
        let value = json!({
            "outcome": end.report.outcome,
            "duration_ms": end.report.duration_ms,
        });
        self.line("end", None, value);
        let flushed = self.out.flush();
        self.error.map_or(flushed, Err)
    }

    fn output(&mut self, run: usize, step: &PlannedStep, stream: Stream, bytes: &[u8]) {
        let (name, index) = match stream {
            Stream::Stdout => ("stdout", 0),
            Stream::Stderr => ("stderr", 1),
        };
        let told = &mut self.told[run][index];
        if *told > MAX_OUTPUT {
            return;
        }
        let room = MAX_OUTPUT - *told;
        *told = told.saturating_add(bytes.len());
        let cut = bytes.len() > room;
        let Text { text, base64 } = Text::from(&bytes[..bytes.len().min(room)]);
        let mut value = json!({ "stream": name, "text": text });
        if let Some(base64) = base64 {
            value["base64"] = base64.into();
        }
        if cut {
            value["truncated"] = true.into();
        }
        self.line("output", Some(run), about(step, value));
    }

    fn line(&mut self, kind: &str, run: Option<usize>, value: Value) {
        if self.error.is_some() {
            return;
        }
        let mut line = Map::new();
        line.insert("time".to_owned(), Timestamp::now().to_string().into());
        line.insert("kind".to_owned(), kind.into());
        if let Some(run) = run {
            line.insert("run".to_owned(), (run + 1).into());
        }
        if let Value::Object(value) = value {
            line.extend(value);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let written = self.out.write_all(text.as_bytes());
        self.error = written.and_then(|()| self.out.flush()).err();
    }
}

/// A step's number and name beside what is told of it.
fn about(step: &PlannedStep, mut value: Value) -> Value {
    value["step"] = step.number.into();
    value["id"] = step.id.as_ref().map(ToString::to_string).into();
    value
}
