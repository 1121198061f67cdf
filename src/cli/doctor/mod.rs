//! `pyro doctor`: really tries each step of making a sandbox, names the first that fails, why, and the way out.

mod cause;
mod host;

use super::args::{Doctor, Global};
use super::terminal::{Terminal, Tone};
use crate::Exit;
use crate::execute::chain;
use crate::machine::{self, CallEvent, Link, MachineError, Wake};
use crate::preflight::{GroupFacts, GroupVersion, Surroundings, gather};
use crate::request::Request;
use crate::workspace::{KeepContents, NewGroup, RunDir, StateDir, Timestamp, fill};
use cause::Cause;
use host::Host;
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, BootFailure, BootStep, Confine, Ids, Limits};
use pyro_protocol::message::{ExecEnd, ExecRun, Op, Reply};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// The steps in the order they are tried.
const STEPS: [BootStep; 11] = [
    BootStep::Rlimits,
    BootStep::OuterNamespaces,
    BootStep::IdMap,
    BootStep::AgentRoot,
    BootStep::SystemTree,
    BootStep::Loopback,
    BootStep::InnerNamespaces,
    BootStep::InnerMounts,
    BootStep::Pivot,
    BootStep::Privileges,
    BootStep::Seccomp,
];

/// One thing that was tried.
#[derive(Debug)]
struct Check {
    name: String,
    detail: String,
    failed: bool,
}

/// Everything that was found out.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    cause: Option<Cause>,
    isolation: Vec<String>,
}

impl Findings {
    fn passed(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push(Check {
            name: name.to_owned(),
            detail: detail.into(),
            failed: false,
        });
    }
    fn failed(&mut self, name: &str, detail: impl Into<String>, cause: Cause) {
        self.checks.push(Check {
            name: name.to_owned(),
            detail: detail.into(),
            failed: true,
        });
        self.cause = Some(cause);
    }
}

pub(super) fn doctor(args: &Doctor, global: &Global, terminal: &Terminal) -> Exit {
    let host = Host::look();
    let mut findings = Findings::default();
    examine(global, &host, &mut findings);
    if args.json {
        terminal.print(&format!("{:#}\n", as_json(&findings, &host)));
    } else {
        terminal.print(&as_text(&findings, &host, terminal));
    }
    if findings.cause.is_none() {
        Exit::Ok
    } else {
        Exit::Machine
    }
}

/// Tries one thing after the other until one fails.
fn examine(global: &Global, host: &Host, findings: &mut Findings) {
    let state = match StateDir::open(global.state_dir.as_deref()) {
        Ok(state) => state,
        Err(error) => return findings.failed("state-directory", chain(&error), Cause::state()),
    };
    let swept = state.sweep(Timestamp::now());
    let (swept, run) = match swept.and_then(|swept| Ok((swept, state.new_run()?))) {
        Ok(made) => made,
        Err(error) => return findings.failed("state-directory", chain(&error), Cause::state()),
    };
    let mut shown = state.path().display().to_string();
    if swept.runs > 0 || swept.kept > 0 {
        shown = format!("{shown} ({})", super::outcome::swept_text(swept));
    }
    findings.passed("state-directory", shown);
    groups(&state, &run, findings);
    sandbox(&run, host, findings);
    if let Err(error) = run.remove() {
        findings.failed("clean-up", chain(&error), Cause::state());
    }
}

/// Makes the control groups that a run would get.
fn groups(state: &StateDir, run: &RunDir, findings: &mut Findings) {
    let around = Surroundings {
        base_dir: state.path().to_owned(),
        state_dir: state.path().to_owned(),
        home: None,
    };
    let GroupFacts {
        version,
        memory,
        cpu,
        processes,
    } = gather(&Request::default(), &around).host.groups;
    let mut parents = Vec::new();
    let mut names = Vec::new();
    for (name, parent) in [("memory", memory), ("cpu", cpu), ("processes", processes)] {
        let Some(parent) = parent else { continue };
        names.push(name);
        if parents.contains(&parent) {
            continue;
        }
        let group = NewGroup {
            parent: &parent,
            settings: &[],
        };
        if let Err(error) = run.make_group(group) {
            return findings.failed("control-groups", chain(&error), Cause::unknown());
        }
        parents.push(parent);
    }
    let shown = match version {
        Some(version) if !names.is_empty() => {
            let version = match version {
                GroupVersion::One => 1,
                GroupVersion::Two => 2,
            };
            format!("version {version}: {}", names.join(", "))
        }
        Some(_) | None => "none that you may make: memory is watched instead".to_owned(),
    };
    findings.passed("control-groups", shown);
}

fn sandbox(run: &RunDir, host: &Host, findings: &mut Findings) {
    let (ids, _range) = match machine::ids_for_this_user() {
        Ok(ids) => ids,
        Err(error) => return findings.failed("ids", error.to_string(), Cause::ids(host)),
    };
    let owner = match ids {
        Ids::Single => None,
        Ids::Range { base } => Some(base + 1),
    };
    if let Err(error) = fill(None, run.path(), owner, KeepContents::No) {
        return findings.failed("work-tree", chain(&error), Cause::state());
    }
    let boot = Boot {
        run_dir: Bytes::from(run.path().as_os_str().as_bytes()),
        environment: BootEnvironment::Host,
        expose: Vec::new(),
        hostname: "pyro".to_owned(),
        ids,
        limits: Limits {
            processes: 64,
            memory: 1 << 30,
            disk: 1 << 30,
            disk_reserve: 0,
            open_files: 256,
        },
        confine: Confine::default(),
    };
    let mut machine = match machine::start(&boot) {
        Ok(machine) => machine,
        Err(MachineError::BootFailed(failure)) => return boot_failed(&failure, host, findings),
        Err(error) => return findings.failed("start-agent", chain(&error), Cause::unknown()),
    };
    for step in STEPS {
        findings.passed(machine::boot::name(step), "");
    }
    findings.isolation = crate::execute::isolation(ids, &machine.ready().notes);
    match machine
        .link()
        .try_clone()
        .map_err(|error| error.to_string())
        .and_then(run_true)
    {
        Ok(took) => findings.passed(
            "run-a-program",
            format!("/bin/sh -c true in {:.1} ms", took.as_secs_f64() * 1e3),
        ),
        Err(reason) => return findings.failed("run-a-program", reason, Cause::unknown()),
    }
    match machine.stop() {
        Ok(()) => findings.passed("end-the-sandbox", ""),
        Err(error) => findings.failed("end-the-sandbox", chain(&error), Cause::unknown()),
    }
}

fn boot_failed(failure: &BootFailure, host: &Host, findings: &mut Findings) {
    for step in STEPS.into_iter().filter(|step| *step < failure.step) {
        findings.passed(machine::boot::name(step), "");
    }
    let reason = if failure.errno == 0 {
        failure.detail.clone()
    } else {
        format!(
            "{}: {}",
            failure.detail,
            std::io::Error::from_raw_os_error(failure.errno)
        )
    };
    findings.failed(
        machine::boot::name(failure.step),
        reason,
        Cause::of(failure, host),
    );
}

/// Runs a program that does nothing.
fn run_true(stream: std::os::unix::net::UnixStream) -> Result<Duration, String> {
    let mut link = Link::open(stream).map_err(|error| chain(&error))?;
    let clock = Instant::now();
    let call = link.call(Op::ExecRun(ExecRun {
        argv: ["/bin/sh", "-c", "true"].map(Bytes::from).to_vec(),
        cwd: Bytes::default(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        timeout_ms: 10_000,
        grace_ms: 100,
        stdin: false,
        spool_limit: 4096,
        terminal: None,
        unnamed: false,
    }));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match link
            .wait(None, Some(deadline))
            .map_err(|error| chain(&error))?
        {
            Wake::Event(id, CallEvent::Done(Reply::Exec(report))) if id == call => {
                if report.end == (ExecEnd::Exited { code: 0 }) {
                    return Ok(clock.elapsed());
                }
                return Err(format!("/bin/sh -c true ended otherwise: {:?}", report.end));
            }
            Wake::Event(id, CallEvent::Failed(failure)) if id == call => {
                return Err(failure.message);
            }
            Wake::Event(..) => {}
            Wake::Interrupt | Wake::Timeout => {
                return Err("the agent did not answer in 30 s".to_owned());
            }
        }
    }
}

fn as_text(findings: &Findings, host: &Host, terminal: &Terminal) -> String {
    let mut out = String::new();
    for (name, value) in host.shown() {
        out.push_str(&format!("{name:<18}  {value}\n"));
    }
    out.push('\n');
    for Check {
        name,
        detail,
        failed,
    } in &findings.checks
    {
        let (tone, word) = if *failed {
            (Tone::Bad, "FAILED")
        } else {
            (Tone::Good, "ok")
        };
        out.push_str(format!("{name:<18}  {}  {detail}", terminal.tone(tone, word)).trim_end());
        out.push('\n');
    }
    out.push('\n');
    match &findings.cause {
        Some(cause) => {
            out.push_str(&format!("cause  {}\n", cause.why));
            for line in &cause.fix {
                out.push_str(&format!("fix    {line}\n"));
            }
        }
        None => {
            let line = format!("pyro works here: {}", findings.isolation.join("; "));
            out.push_str(&format!("{}\n", terminal.tone(Tone::Good, &line)));
        }
    }
    out
}

fn as_json(findings: &Findings, host: &Host) -> Value {
    let checks: Vec<Value> = findings
        .checks
        .iter()
        .map(|check| json!({ "name": check.name, "ok": !check.failed, "detail": check.detail }))
        .collect();
    let facts: serde_json::Map<String, Value> = host
        .shown()
        .into_iter()
        .map(|(name, value)| (name.replace(' ', "_"), Value::String(value)))
        .collect();
    json!({
        "ok": findings.cause.is_none(),
        "checks": checks,
        "host": facts,
        "isolation": findings.isolation,
        "cause": findings.cause.as_ref().map(|cause| &cause.why),
        "fix": findings.cause.as_ref().map(|cause| &cause.fix),
    })
}
