//! One step, from its first attempt to its last.
//!
//! ```text
//!  values in --> attempt --passed, cancelled, lost--> report
//!                 ^   `--failed--> wait --.    (the last attempt: report)
//!                 `------------------------'
//! ```

use super::session::{Session, StepError};
use super::{Event, Lost, Progress, chain, expect, hide, show};
use crate::plan::{PlannedRetry, PlannedStep};
use crate::receipt::{AttemptReport, RefusalReport, StepOutcome, StepReport};
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Of an attempt before the last one, this much of each end of an output is kept.
const KEPT: usize = 2 << 10;

impl Progress<'_> {
    /// Runs a step until it does what it should, or has been tried often enough.
    pub(super) fn step(
        &mut self,
        session: &mut Session<'_>,
        step: &PlannedStep,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> StepReport {
        let clock = Instant::now();
        let step = match filled(step, session) {
            Ok(step) => step,
            Err(refusal) => {
                let mut report = show::begin(step);
                self.settle(step, Err(StepError::Refused(refusal)), &mut report);
                return self.ended(report, clock);
            }
        };
        let times = step.retry.map_or(1, |retry| retry.times);
        let mut attempts = Vec::new();
        for number in 1.. {
            let mut report = show::begin(&step);
            let began = Instant::now();
            let result = session.run(&step, &mut report, on_event);
            self.settle(&step, result, &mut report);
            report.duration_ms = millis(began);
            let again = step
                .retry
                .filter(|_| report.outcome == StepOutcome::Failed && number < times);
            let Some(PlannedRetry { every, .. }) = again else {
                if number > 1 {
                    let word = match report.outcome {
                        StepOutcome::Passed => "passed at",
                        StepOutcome::Failed
                        | StepOutcome::Cancelled
                        | StepOutcome::Lost
                        | StepOutcome::NotRun => "ended with",
                    };
                    report
                        .notes
                        .push(format!("{word} attempt {number} of {times}"));
                }
                report.attempts = attempts;
                return self.ended(report, clock);
            };
            on_event(Event::Retry {
                step: &step,
                attempt: number,
                report: &report,
            });
            attempts.push(attempt(report));
            if let Err(error) = session.pause(Duration::from_millis(every.as_millis())) {
                let mut report = show::begin(&step);
                self.settle(&step, Err(error), &mut report);
                report.attempts = attempts;
                return self.ended(report, clock);
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Says how an attempt ended.
    fn settle(
        &mut self,
        step: &PlannedStep,
        result: Result<(), StepError>,
        report: &mut StepReport,
    ) {
        report.outcome = match result {
            Ok(()) => expect::refusal_wanted(step, report),
            Err(StepError::Refused(refusal)) => {
                report.refusal = Some(refusal);
                if step.expect_fails {
                    StepOutcome::Passed
                } else {
                    StepOutcome::Failed
                }
            }
            Err(StepError::Cancelled) => {
                self.cancelled = true;
                StepOutcome::Cancelled
            }
            Err(StepError::Lost(error)) => {
                self.lost = Some(chain(&Lost::Died(error)));
                StepOutcome::Lost
            }
        };
        report.hide(self.secrets.redaction());
        log::debug!("step {}: {} {:?}", step.number, report.verb, report.outcome);
    }

    fn ended(&mut self, mut report: StepReport, clock: Instant) -> StepReport {
        report.duration_ms = millis(clock);
        self.failed |= report.outcome == StepOutcome::Failed;
        report
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The step with the values in it that earlier ones have captured.
fn filled<'a>(
    step: &'a PlannedStep,
    session: &Session<'_>,
) -> Result<Cow<'a, PlannedStep>, RefusalReport> {
    if step.late.is_empty() {
        return Ok(Cow::Borrowed(step));
    }
    match step.filled(&session.captured) {
        Ok(mut step) => {
            hide::step(&mut step, session.secrets.redaction());
            Ok(Cow::Owned(step))
        }
        Err(unfilled) => Err(RefusalReport {
            code: unfilled.code,
            message: unfilled.message,
            help: None,
            reasons: Vec::new(),
        }),
    }
}

/// What the receipt keeps of an attempt that was not the last one: little of its outputs, and no file of them.
fn attempt(report: StepReport) -> AttemptReport {
    let StepReport {
        duration_ms,
        exec,
        mut stdout,
        mut stderr,
        refusal,
        failures,
        ..
    } = report;
    for output in [&mut stdout, &mut stderr].into_iter().flatten() {
        if let Some(file) = output.file.take()
            && let Err(error) = std::fs::remove_file(&file)
        {
            log::debug!("could not remove {file}: {error}");
        }
        output.shorten(KEPT);
    }
    AttemptReport {
        duration_ms,
        exec,
        stdout,
        stderr,
        refusal,
        failures,
    }
}
