//! `pyro workspace create`.

use super::Here;
use super::args::Create;
use super::summary;
use super::used::{built, refused_as_command};
use crate::cli::args::Hidden;
use crate::cli::load::{Findings, Loaded, fail};
use crate::living::Asked;
use crate::request::{Document, Request, RequestBuilder, emit, literal};
use crate::secret::Secret;
use crate::{Exit, Options};
use std::collections::{BTreeMap, BTreeSet};

/// How the request is called that the command line stands for.
const NAME: &str = "pyro workspace create";

pub(super) fn create(args: &Create, here: Here<'_>) -> Exit {
    let show = Findings::json(args.json);
    let Some(literals) = literals(args) else {
        let message = "`--secret` wants NAME=VALUE, with neither of them empty";
        fail(show, here.terminal, "usage", message);
        return Exit::Input;
    };
    if let Some(name) = twice(args, &literals) {
        let message = format!("two secrets are called `{name}`; give each a name of its own");
        fail(show, here.terminal, "usage", &message);
        return Exit::Input;
    }
    let request = match built(NAME, request(args, &literals), show, here) {
        Ok(request) => request,
        Err(end) => return end.exit(),
    };
    if let Some(format) = args.emit {
        here.terminal.print(&emit(&request, format.syntax()));
        return Exit::Ok;
    }
    let mut secrets = BTreeMap::new();
    for (name, value) in literals {
        match Secret::new(value.as_bytes().to_vec()) {
            Ok(secret) => {
                secrets.insert(name.to_owned(), secret);
            }
            Err(unfit) => {
                let message = format!(
                    "the secret `{name}` cannot be used: its value {unfit}; {}",
                    unfit.help()
                );
                fail(show, here.terminal, "secret-unusable", &message);
                return Exit::Refused;
            }
        }
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
            secrets,
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
    let values = match plan.secrets(&loaded.options) {
        Ok(values) => values,
        Err(error) => {
            return refused_as_command(loaded.refuse(&error, show, here.terminal));
        }
    };
    let asked = Asked {
        request: &loaded.request,
        plan: &plan,
        base_dir: &loaded.options.base_dir,
        secrets: &values,
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

/// Names and values of the secrets that stand in the command.
fn literals<'a>(args: &'a Create) -> Option<Vec<(&'a str, &'a str)>> {
    let pair = |given: &'a Hidden| {
        let pair = given.0.split_once('=');
        pair.filter(|(name, value)| !name.is_empty() && !value.is_empty())
    };
    args.secret.iter().map(pair).collect()
}

/// A secret that is given more than once.
fn twice<'a>(args: &'a Create, literals: &[(&'a str, &str)]) -> Option<&'a str> {
    let elsewhere = args.secret_file.iter().chain(&args.secret_env);
    let elsewhere = elsewhere.map(|(name, _)| name.as_str());
    let mut names = BTreeSet::new();
    let mut given = literals.iter().map(|(name, _)| *name).chain(elsewhere);
    given.find(|name| !names.insert(*name))
}

fn request(args: &Create, literals: &[(&str, &str)]) -> RequestBuilder {
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
    for (name, _) in literals {
        // What is written down says where another value could come from, and has none.
        builder = builder.secret(name, format!("env:{name}"));
    }
    for (name, path) in &args.secret_file {
        builder = builder.secret(name, format!("file:{}", literal(path)));
    }
    for (name, variable) in &args.secret_env {
        builder = builder.secret(name, format!("env:{variable}"));
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
