//! Several runs as one: each planned before any begins, one after the other or several at once, and one report for all of them.
//!
//! A run that fails does not keep the others from running. An interrupt does.

mod select;

pub use select::{SelectError, select};

use crate::execute::{Event, Ran, chain};
use crate::machine::{Cancel, Spare};
use crate::pipeline::{Error, Options};
use crate::plan::Plan;
use crate::receipt::{RunOutcome, RunReport, Runs};
use crate::request::Request;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A run that is planned: one request, or one combination of it.
#[derive(Debug)]
pub struct PlannedRun {
    /// What will happen.
    pub plan: Plan,
    /// What the request does not say itself.
    pub options: Options,
}

/// Something that happened in one of the runs.
#[derive(Debug)]
pub struct BatchEvent<'a> {
    /// Which run, from 0.
    pub run: usize,
    /// What.
    pub event: Event<'a>,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// It has a receipt.
    Ran(Box<Ran>),
    /// It could not begin, or its receipt not be written.
    Error(Error),
    /// It was not begun, because of an interrupt.
    NotRun,
}

/// Runs that were planned together.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they run.
    pub runs: Vec<PlannedRun>,
}

/// How all runs of a batch ended.
#[derive(Debug)]
pub struct BatchEnd {
    /// One for each run, in the same order.
    pub ends: Vec<RunEnd>,
    /// For keeping.
    pub report: Runs,
}

impl Batch {
    /// Every combination of a request, planned.
    ///
    /// # Errors
    /// What is wrong with the first combination that cannot be planned.
    pub fn of(request: &Request, options: &Options) -> Result<Self, Error> {
        let mut runs = Vec::new();
        for matrix in request.combinations() {
            let options = Options {
                matrix,
                ..options.clone()
            };
            let plan = request.plan(&options)?;
            runs.push(PlannedRun { plan, options });
        }
        Ok(Self { runs })
    }

    /// Does what the plans say, at most `jobs` of them at once, and tells `on_event` as it happens: of one run in
    /// order, of several as they come. `spare` becomes the first sandbox. After `cancel` no run begins any more.
    pub fn apply(
        &self,
        spare: Spare,
        jobs: usize,
        cancel: &Cancel,
        on_event: &mut (dyn FnMut(BatchEvent<'_>) + Send),
    ) -> BatchEnd {
        let clock = Instant::now();
        let spare = Mutex::new(Some(spare));
        let on_event = Mutex::new(on_event);
        let next = AtomicUsize::new(0);
        let ends: Vec<_> = self
            .runs
            .iter()
            .map(|_| Mutex::new(RunEnd::NotRun))
            .collect();
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(run) = self.runs.get(index) else {
                    break;
                };
                if cancel.is_cancelled() {
                    break;
                }
                let options = Options {
                    cancel: Some(cancel.clone()),
                    ..run.options.clone()
                };
                let spare = lock(&spare).take().unwrap_or_else(Spare::begin);
                let ran = run.plan.apply_with(spare, &options, &mut |event| {
                    lock(&on_event)(BatchEvent { run: index, event });
                });
                *lock(&ends[index]) = match ran {
                    Ok(ran) => RunEnd::Ran(Box::new(ran)),
                    Err(error) => RunEnd::Error(error),
                };
            }
        };
        let workers = jobs.clamp(1, self.runs.len().max(1));
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
        let ends = ends.into_iter().map(Mutex::into_inner);
        let ends: Vec<_> = ends
            .map(|end| end.unwrap_or_else(PoisonError::into_inner))
            .collect();
        let runs = self.runs.iter().zip(&ends);
        let runs = runs.map(|(run, end)| run.report(end)).collect();
        let report = Runs::new(
            runs,
            u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        BatchEnd { ends, report }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PlannedRun {
    fn report(&self, end: &RunEnd) -> RunReport {
        let mut report = RunReport {
            name: self.plan.name.clone(),
            source: self.plan.source.clone(),
            matrix: self.plan.matrix.clone(),
            outcome: RunOutcome::NotRun,
            error: None,
            path: None,
            receipt: None,
        };
        match end {
            RunEnd::Ran(ran) => {
                report.outcome = ran.receipt.outcome.into();
                report.path = Some(ran.path.display().to_string());
                report.receipt = Some(ran.receipt.clone());
            }
            RunEnd::Error(error) => {
                report.outcome = RunOutcome::Lost;
                report.error = Some(chain(error));
            }
            RunEnd::NotRun => {}
        }
        report
    }
}
