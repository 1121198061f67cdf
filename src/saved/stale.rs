//! What changed since a plan was saved.

use crate::preflight::{HostFacts, Input, InputKind};
use crate::request::Digest;
use std::collections::BTreeMap;
use std::fmt;

/// Every input that is not what it was; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale(Vec<Change>);

/// An input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As it was; absent where it is new.
    pub was: Option<Input>,
    /// As it is; absent where it is gone.
    pub is: Option<Input>,
}

impl Change {
    /// What it is wanted for, and its name.
    pub fn input(&self) -> (&'static str, String) {
        let input = self.is.as_ref().or(self.was.as_ref());
        input.map_or(("", String::new()), |input| {
            (input.kind.as_str(), input.name.lossy().into_owned())
        })
    }

    /// What was there and what is, each with its digest: `file 0644 6f1ed002ab55 -> file 0644 98ea6e4f216f`.
    pub fn shown(&self) -> String {
        let side = |input: &Option<Input>, nothing: &str| match input {
            None => nothing.to_owned(),
            Some(Input { is, digest, .. }) => match digest {
                Some(digest) => format!("{is} {}", digest.short()),
                None => is.clone(),
            },
        };
        format!(
            "{} -> {}",
            side(&self.was, "nothing"),
            side(&self.is, "nothing")
        )
    }
}

impl Stale {
    /// In the order of the inputs.
    pub fn as_slice(&self) -> &[Change] {
        &self.0
    }

    /// `None` where both are the same.
    pub(super) fn between(was: &[Input], is: &[Input]) -> Option<Self> {
        fn by_name(inputs: &[Input]) -> BTreeMap<(InputKind, &[u8]), &Input> {
            inputs
                .iter()
                .map(|input| ((input.kind, &input.name[..]), input))
                .collect()
        }
        let (was, is) = (by_name(was), by_name(is));
        let mut names: Vec<_> = was.keys().chain(is.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let changes: Vec<_> = names
            .into_iter()
            .map(|name| Change {
                was: was.get(name).map(|input| (*input).clone()),
                is: is.get(name).map(|input| (*input).clone()),
            })
            .filter(|change| change.was != change.is)
            .collect();
        (!changes.is_empty()).then_some(Self(changes))
    }

    /// Where all inputs are the same and the plan is not: what else the planner knew of the host.
    pub(super) fn of_hosts(was: &HostFacts, is: &HostFacts) -> Self {
        let known = |host: &HostFacts| {
            let facts = serde_json::to_value(host).unwrap_or_default();
            let facts = facts.as_object().cloned().unwrap_or_default();
            facts
                .into_iter()
                .filter(|(name, _)| name != "disk_free")
                .map(|(name, value)| Input::new(InputKind::Host, name, value.to_string(), None))
                .collect::<Vec<_>>()
        };
        Self::between(&known(was), &known(is)).unwrap_or_else(|| {
            let version = env!("CARGO_PKG_VERSION");
            let pyro = |is: String| {
                let digest: Option<Digest> = None;
                Some(Input::new(InputKind::Pyro, "version", is, digest))
            };
            Self(vec![Change {
                was: pyro(version.to_owned()),
                is: pyro(format!("{version}, another build, which plans differently")),
            }])
        })
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => {
                let (kind, name) = one.input();
                write!(f, "{kind} `{name}` is not what it was: {}", one.shown())
            }
            several => write!(f, "{} inputs are not what they were", several.len()),
        }
    }
}

impl std::error::Error for Stale {}
