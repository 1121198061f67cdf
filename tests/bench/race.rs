//! Rounds that alternate between rivals, and a line for each comparison.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Something that is timed: does the work, and says how long the part took that counts.
pub(crate) type Rival<'a> = (&'a str, Box<dyn FnMut() -> Result<Duration> + 'a>);

/// How long the rounds of one rival took, sorted. Never empty.
#[derive(Debug)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Of a part of what the rounds did. Never of none.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn least(&self) -> Duration {
        self.0[0]
    }
}

/// After this long a comparison begins no further round, unless `PYRO_BENCH_SECONDS` says otherwise.
const BUDGET: Duration = Duration::from_secs(60);

fn budget() -> Result<Duration> {
    match std::env::var("PYRO_BENCH_SECONDS") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse()?)),
        Err(_) => Ok(BUDGET),
    }
}

/// Runs all rivals in turn, `rounds` times or as often as the time allows, after a round that does not count.
pub(crate) fn race(rounds: usize, rivals: &mut [Rival<'_>]) -> Result<Vec<Times>> {
    let mut times = vec![Vec::new(); rivals.len()];
    let (budget, started) = (budget()?, Instant::now());
    for round in 0..=rounds {
        if round > 1 && started.elapsed() > budget {
            break;
        }
        for ((name, work), times) in rivals.iter_mut().zip(&mut times) {
            let took = work().map_err(|error| format!("{name}: {error}"))?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    Ok(times.into_iter().map(Times::new).collect())
}

pub(crate) fn headings() {
    println!(
        "{:<44} {:>10} {:>10}   {:<28} {:>10} {:>10}   {:>6} {:>6} {:>6}   target",
        "pyro", "median", "least", "beside", "median", "least", "ratio", "least", "rounds"
    );
}

/// One comparison. `target` is the largest ratio of the medians that is wanted.
pub(crate) fn line(what: &str, ours: &Times, peer: &str, theirs: &Times, target: f64) {
    let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
    let medians = ratio(ours.median(), theirs.median());
    println!(
        "{what:<44} {:>10} {:>10}   {peer:<28} {:>10} {:>10}   {medians:>6.2} {:>6.2} {:>6}   <= {target} {}",
        millis(ours.median()),
        millis(ours.least()),
        millis(theirs.median()),
        millis(theirs.least()),
        ratio(ours.least(), theirs.least()),
        ours.0.len(),
        if medians <= target { "" } else { "MISSED" },
    );
}

/// A peer that this machine does not have.
pub(crate) fn absent(what: &str, peer: &str) {
    println!("{what:<44} {peer} is not here");
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// The time of a whole process that must succeed, its output thrown away.
pub(crate) fn process(command: &mut Command) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed();
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(took)
}

/// Whether a program is on the PATH.
pub(crate) fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
