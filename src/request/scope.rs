//! What references can lead to at a place of the request.

use super::capture::{HostVariable, Piece};
use super::check::brief;
use super::model::{Request, Step, StepId};
use super::reference::{Found, Nowhere};
use super::shape::Kind;
use super::suggest::did_you_mean;
use super::tree::{Node, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many references that would lead somewhere are named.
const NAMED: usize = 30;

/// What references can lead to.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Variables of the request, with their values.
    pub(crate) vars: BTreeMap<String, String>,
    /// Declared host variables; nothing where they were not read.
    pub(crate) env: BTreeMap<String, Option<HostVariable>>,
    /// Names of the matrix; nothing where no combination was chosen.
    pub(crate) matrix: BTreeMap<String, Option<String>>,
    /// In document order.
    steps: Vec<ScopeStep>,
    /// The first step of each name.
    ids: HashMap<String, usize>,
    /// The step that the text stands in, counted from 0.
    pub(crate) here: Option<usize>,
}

/// What of a step matters to others.
#[derive(Debug)]
struct ScopeStep {
    id: Option<StepId>,
    captures: BTreeSet<String>,
    always: bool,
    left_out: bool,
}

impl Scope {
    /// Of a document that was read, with the defaults of its variables.
    pub(crate) fn of_tree(tree: &Node) -> Self {
        let vars = tree.get("vars").map(Node::entries).unwrap_or_default();
        let vars = vars.iter().map(|entry| {
            let value = entry.node.as_text().unwrap_or_default();
            (entry.key.clone(), value.to_owned())
        });
        let env = tree.get("env").map(Node::elements).unwrap_or_default();
        let matrix = tree.get("matrix").map(Node::entries).unwrap_or_default();
        let mut scope = Self {
            vars: vars.collect(),
            matrix: matrix
                .iter()
                .map(|entry| (entry.key.clone(), None))
                .collect(),
            env: env
                .iter()
                .filter_map(|name| Some((name.as_text()?.to_owned(), None)))
                .collect(),
            ..Self::default()
        };
        for step in tree.get("step").map(Node::elements).unwrap_or_default() {
            let captures = step.get("capture").map(Node::entries);
            scope.add(ScopeStep {
                id: step
                    .get("id")
                    .and_then(Node::as_text)
                    .and_then(StepId::parse),
                captures: captures
                    .unwrap_or_default()
                    .iter()
                    .map(|entry| entry.key.clone())
                    .collect(),
                always: matches!(
                    step.get("always").map(|node| &node.value),
                    Some(Value::Flag(true))
                ),
                left_out: false,
            });
        }
        scope
    }

    /// Of a request, with its variables as they are.
    pub(crate) fn of_request(request: &Request) -> Self {
        let mut scope = Self {
            vars: request.vars.clone(),
            matrix: request
                .matrix
                .keys()
                .map(|name| (name.clone(), request.combination.0.get(name).cloned()))
                .collect(),
            env: request
                .env
                .iter()
                .map(|name| (name.clone(), None))
                .collect(),
            ..Self::default()
        };
        for (index, step) in request.steps.iter().enumerate() {
            let Step {
                id,
                capture,
                always,
                ..
            } = step;
            scope.add(ScopeStep {
                id: id.clone(),
                captures: capture.keys().cloned().collect(),
                always: *always,
                left_out: request.left_out.contains(&index),
            });
        }
        scope
    }

    fn add(&mut self, step: ScopeStep) {
        if let Some(id) = &step.id {
            let index = self.steps.len();
            self.ids.entry(id.to_string()).or_insert(index);
        }
        self.steps.push(step);
    }

    /// What `${NAMESPACE.NAME}` stands for in a text of a kind.
    pub(crate) fn find(
        &self,
        namespace: &str,
        name: &str,
        kind: Kind,
    ) -> Result<Found<'_>, Nowhere> {
        match namespace {
            "vars" => match self.vars.get(name) {
                Some(value) => Ok(Found::Text(value)),
                None => Err(Nowhere {
                    message: format!("there is no variable `{}`", brief(name)),
                    label: near(name, self.vars.keys(), "no such variable"),
                    help: format!("give it a default: `vars.{} = \"...\"`", brief(name)),
                }),
            },
            "env" => match self.env.get(name) {
                Some(Some(variable)) => variable.found(name),
                Some(None) => Ok(Found::Unread),
                None => Err(Nowhere {
                    message: format!(
                        "the request does not declare the host variable `{}`",
                        brief(name)
                    ),
                    label: near(name, self.env.keys(), "not declared"),
                    help: format!(
                        "declare at the top which host variables may be read: `env = [\"{}\"]`",
                        brief(name)
                    ),
                }),
            },
            "matrix" => match self.matrix.get(name) {
                Some(Some(value)) => Ok(Found::Text(value)),
                Some(None) => Ok(Found::Unread),
                None => Err(Nowhere {
                    message: format!("the matrix has no `{}`", brief(name)),
                    label: near(name, self.matrix.keys(), "not in the matrix"),
                    help: format!("give it values: `matrix.{} = [\"...\"]`", brief(name)),
                }),
            },
            "step" => self.captured(name, kind).map(Found::Captured),
            _ => Err(Nowhere {
                message: format!(
                    "`${{{namespace}.{}}}` is no reference that this version knows",
                    brief(name)
                ),
                label: "unknown reference".to_owned(),
                help: "references are `${vars.NAME}`, `${env.NAME}`, `${matrix.NAME}` and `${step.ID.NAME}`"
                    .to_owned(),
            }),
        }
    }

    /// What `${step.NAME}` stands for: an id and the name of a value.
    fn captured(&self, name: &str, kind: Kind) -> Result<Piece, Nowhere> {
        let nowhere = |message: String, label: &str, help: String| Nowhere {
            message,
            label: label.to_owned(),
            help,
        };
        let Some((id, value)) = name.split_once('.') else {
            return Err(nowhere(
                format!("`${{step.{}}}` names no value", brief(name)),
                "which value of the step?",
                "a value that a step captures is `${step.ID.NAME}`".to_owned(),
            ));
        };
        let found = self.ids.get(id).map(|index| (*index, &self.steps[*index]));
        let Some((index, step)) = found else {
            return Err(Nowhere {
                message: format!("there is no step `{}`", brief(id)),
                label: near(id, self.ids.keys(), "no such step"),
                help: "give the step that captures the value this `id`".to_owned(),
            });
        };
        let Some(here) = self.here else {
            return Err(nowhere(
                format!("what step `{id}` captures is not known where the workspace is made"),
                "no step has run yet",
                "use a variable: `${vars.NAME}`".to_owned(),
            ));
        };
        if here == index {
            return Err(nowhere(
                format!("step `{id}` cannot use what it captures itself"),
                "this very step",
                "capture the value in an earlier step".to_owned(),
            ));
        }
        if here < index {
            return Err(nowhere(
                format!("step `{id}` comes later, so nothing of it is known here"),
                "a later step",
                format!("move step `{id}` before this one"),
            ));
        }
        if step.left_out {
            return Err(nowhere(
                format!("step `{id}` is not selected, so nothing of it is known here"),
                "does not run",
                format!("select step `{id}` as well"),
            ));
        }
        if !step.captures.contains(value) {
            return Err(Nowhere {
                message: format!("step `{id}` captures no `{}`", brief(value)),
                label: near(value, step.captures.iter(), "not captured"),
                help: format!(
                    "capture it in step `{id}`: `capture.{}.stdout.regex = '...'`",
                    brief(value)
                ),
            });
        }
        if matches!(
            kind,
            Kind::HostPath | Kind::Environment | Kind::SecretSource
        ) {
            return Err(nowhere(
                "what a step captures cannot be part of a host path".to_owned(),
                "host paths are settled before anything runs",
                "use a variable: `${vars.NAME}`".to_owned(),
            ));
        }
        // The first step runs whatever happens; of the others, those that run after a failure too.
        if self.steps[here].always && !step.always && index > 0 {
            return Err(nowhere(
                format!(
                    "this step runs after a failure too, and by then step `{id}` may not have run"
                ),
                "may not be there",
                format!("take out `always` here, or give step `{id}` `always = true` as well"),
            ));
        }
        let step = step.id.clone().expect("it was found by its id");
        Ok(Piece::Captured {
            index,
            step,
            name: value.to_owned(),
        })
    }

    /// The references that would lead somewhere from here.
    pub(crate) fn valid(&self) -> Vec<String> {
        let vars = self.vars.keys().map(|name| format!("${{vars.{name}}}"));
        let env = self.env.keys().map(|name| format!("${{env.{name}}}"));
        let earlier = &self.steps[..self.here.unwrap_or(0).min(self.steps.len())];
        let steps = earlier.iter().flat_map(|step| {
            let names = step.captures.iter();
            let id = step.id.as_ref();
            names.filter_map(move |name| Some(format!("${{step.{}.{name}}}", id?)))
        });
        let matrix = self.matrix.keys();
        let matrix = matrix.map(|name| format!("${{matrix.{name}}}"));
        vars.chain(env)
            .chain(matrix)
            .chain(steps)
            .take(NAMED)
            .collect()
    }
}

/// What was probably meant, else `otherwise`.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a String>, otherwise: &str) -> String {
    match did_you_mean(name, known.map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    }
}
