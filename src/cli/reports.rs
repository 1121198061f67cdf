//! Where `pyro apply` writes what other programs read: `--report` and `--events`.

use super::apply::can_keep;
use super::args::{Apply, ReportKind};
use super::terminal::Terminal;
use crate::Exit;
use crate::batch::{Batch, BatchEnd, BatchEvent};
use crate::report::{EventLog, junit};
use crate::workspace::replace_file;
use std::fs::File;
use std::io;
use std::path::Path;

/// The log of events, open where one is wanted.
#[derive(Debug)]
pub(super) struct Reports<'a> {
    args: &'a Apply,
    log: Option<EventLog>,
}

/// Says before anything runs that a report could not be written where the user wants it.
pub(super) fn can_report(args: &Apply, terminal: &Terminal) -> bool {
    let mut reports = args.report.iter();
    reports.all(|(_, path)| can_keep("report", Some(path), terminal))
}

impl<'a> Reports<'a> {
    /// Opens the log of events. What is wrong has been shown where it cannot be.
    pub(super) fn begin(args: &'a Apply, batch: &Batch, terminal: &Terminal) -> Result<Self, Exit> {
        let log = match args.events.as_deref() {
            None => None,
            Some(path) if path == Path::new("-") => {
                Some(EventLog::begin(Box::new(io::stdout()), batch))
            }
            Some(path) => {
                let file = File::create(path).map_err(|error| {
                    unwritten("events", path, &error, terminal);
                    Exit::Input
                })?;
                Some(EventLog::begin(Box::new(file), batch))
            }
        };
        Ok(Self { args, log })
    }

    /// Writes the event, if events are wanted.
    pub(super) fn event(&mut self, event: &BatchEvent<'_>) {
        if let Some(log) = &mut self.log {
            log.event(event);
        }
    }

    /// Writes all reports, however the runs ended.
    pub(super) fn end(self, end: &BatchEnd, terminal: &Terminal) -> Exit {
        let mut exit = Exit::Ok;
        if let (Some(log), Some(path)) = (self.log, &self.args.events)
            && let Err(error) = log.end(end)
            // A reader that went away is not our failure.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            unwritten("events", path, &error, terminal);
            exit = Exit::Machine;
        }
        for (kind, path) in &self.args.report {
            let text = match kind {
                ReportKind::Junit => junit(&end.report),
            };
            if let Err(error) = replace_file(path, text.as_bytes()) {
                unwritten("report", path, &error, terminal);
                exit = Exit::Machine;
            }
        }
        exit
    }
}

fn unwritten(what: &str, path: &Path, error: &io::Error, terminal: &Terminal) {
    terminal.error(&format!(
        "could not write the {what} {}: {error}",
        path.display()
    ));
}
