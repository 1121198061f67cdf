//! `pyro workspace create`.

use super::Here;
use super::args::Create;
use super::summary;
use super::used::{built, refused_as_command};
use crate::cli::load::{Findings, Loaded};
use crate::living::Asked;
use crate::request::{Document, Request, RequestBuilder, emit, literal};
use crate::{Exit, Options};

/// How the request is called that the command line stands for.
const NAME: &str = "pyro workspace create";

pub(super) fn create(args: &Create, here: Here<'_>) -> Exit {
    let show = Findings::json(args.json);
    let request = match built(NAME, request(args), show, here) {
        Ok(request) => request,
        Err(end) => return end.exit(),
    };
    if let Some(format) = args.emit {
        here.terminal.print(&emit(&request, format.syntax()));
        return Exit::Ok;
    }
    if args.allow_host_compat {
        here.terminal
            .note("`--allow-host-compat` is ignored: pyro never runs programs on the bare host");
    }
    let loaded = Loaded {
        document: Document::of(NAME, &request),
        options: Options {
            state_dir: here.global.state_dir.clone(),
            source: NAME.to_owned(),
            ..Options::default()
        },
        file: None,
        request,
    };
    let plan = match loaded.request.plan(&loaded.options) {
        Ok(plan) => plan,
        Err(error) => {
            return refused_as_command(loaded.refuse(&error, show, here.terminal));
        }
    };
    let asked = Asked {
        request: &loaded.request,
        plan: &plan,
        base_dir: &loaded.options.base_dir,
    };
    let record = match here.with(args.json, |workspaces| workspaces.create(asked)) {
        Ok(record) => record,
        Err(exit) => return exit,
    };
    if args.id_only {
        here.terminal.print(&format!("{}\n", record.id));
    } else {
        summary::workspace("created", &record, args.json, here);
    }
    Exit::Ok
}

fn request(args: &Create) -> RequestBuilder {
    let mut builder = Request::new(literal(&args.environment));
    if let Some(seed) = &args.seed_path {
        builder = builder.seed(literal(seed));
    }
    for pattern in &args.exclude {
        builder = builder.exclude(pattern);
    }
    if args.respect_gitignore {
        builder = builder.respect_gitignore();
    }
    if let Some(name) = &args.name {
        builder = builder.workspace_name(name);
    }
    for (key, value) in &args.label {
        builder = builder.label(key, value);
    }
    for path in &args.expose {
        builder = builder.expose(literal(path));
    }
    let cpus = args.vcpu_count.map(|count| count.to_string());
    if let Some(cpus) = args.cpus.as_ref().or(cpus.as_ref()) {
        builder = builder.cpus(cpus);
    }
    let memory = args.mem_mib.map(|mib| format!("{mib}MiB"));
    if let Some(memory) = args.memory.as_ref().or(memory.as_ref()) {
        builder = builder.memory(memory);
    }
    if let Some(disk) = &args.disk {
        builder = builder.disk(disk);
    }
    let ttl = args.ttl_seconds.map(|seconds| format!("{seconds}s"));
    if let Some(ttl) = args.ttl.as_ref().or(ttl.as_ref()) {
        builder = builder.ttl(ttl);
    }
    builder
}
