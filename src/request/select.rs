//! Which steps of a request run, where somebody wants only some of them.

use super::check::brief;
use super::model::{Pointer, Request, Step};
use super::suggest::did_you_mean;
use super::{ErrorCode, ReferenceError};

/// Which steps run; all of them by default. A step is named by its id, or `#N` without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Selection {
    /// This one and those after it.
    pub from: Option<String>,
    /// This one and those before it.
    pub until: Option<String>,
    /// These.
    pub only: Vec<String>,
}

impl Request {
    /// The steps that run, each with its index.
    pub fn selected(&self) -> impl Iterator<Item = (usize, &Step)> {
        let steps = self.steps.iter().enumerate();
        steps.filter(|(index, _)| !self.left_out.contains(index))
    }

    /// The request with only those steps; the others keep their place and are passed over.
    ///
    /// # Errors
    /// Every name that no step has, and a selection of nothing.
    pub fn select(&self, selection: &Selection) -> Result<Self, Vec<ReferenceError>> {
        let Selection { from, until, only } = selection;
        let mut request = self.clone();
        if *selection == Selection::default() {
            return Ok(request);
        }
        let mut errors = Vec::new();
        let mut index = |flag: &str, name: &String| {
            let found = self.index_of(name);
            if found.is_none() {
                errors.push(self.unknown(flag, name));
            }
            found
        };
        let first = from.as_ref().map(|name| index("--from", name));
        let last = until.as_ref().map(|name| index("--until", name));
        let only: Vec<_> = only.iter().map(|name| index("--only", name)).collect();
        let keeps = |step: usize| {
            first.flatten().is_none_or(|first| first <= step)
                && last.flatten().is_none_or(|last| step <= last)
                && (only.is_empty() || only.contains(&Some(step)))
        };
        request.left_out = (0..self.steps.len()).filter(|step| !keeps(*step)).collect();
        if errors.is_empty() && request.left_out.len() == self.steps.len() {
            errors.push(ReferenceError {
                code: ErrorCode::BadReference,
                message: "no step is selected".to_owned(),
                pointer: Pointer::default().at("step"),
                label: String::new(),
                help: Some(match (from, until) {
                    (Some(from), Some(until)) => {
                        format!("`{}` comes after `{}`", brief(from), brief(until))
                    }
                    _ => "name steps that are there".to_owned(),
                }),
                valid_here: self.names(),
            });
        }
        if errors.is_empty() {
            Ok(request)
        } else {
            Err(errors)
        }
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        if let Some(number) = name.strip_prefix('#') {
            let number: usize = number.parse().ok()?;
            return (1..=self.steps.len()).contains(&number).then(|| number - 1);
        }
        let id = |step: &Step| step.id.as_ref().is_some_and(|id| id.as_str() == name);
        self.steps.iter().position(id)
    }

    fn unknown(&self, flag: &str, name: &str) -> ReferenceError {
        let names = self.names();
        ReferenceError {
            code: ErrorCode::BadReference,
            message: format!("the request has no step `{}`", brief(name)),
            pointer: Pointer::default().at("step"),
            label: did_you_mean(name, names.iter().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"))
                .unwrap_or_default(),
            help: Some(format!(
                "`{flag}` takes the `id` of a step, or `#N` for the step of that number"
            )),
            valid_here: names,
        }
    }

    /// What the steps are called.
    fn names(&self) -> Vec<String> {
        let name = |(index, step): (usize, &Step)| match &step.id {
            Some(id) => id.to_string(),
            None => format!("#{}", index + 1),
        };
        self.steps.iter().enumerate().map(name).take(50).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Selection;
    use crate::request::{Request, Step};

    fn request() -> Request {
        let steps = ["one", "two", "three"].map(|id| Step::exec(["true"]).id(id));
        let request = Request::new("host").steps(steps).step(Step::read("a"));
        request.build().expect("a request")
    }

    fn selection(from: &str, until: &str, only: &[&str]) -> Selection {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Selection {
            from: some(from),
            until: some(until),
            only: only.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn steps_are_kept_by_name() {
        for (from, until, only, kept) in [
            ("", "", &[][..], &[0, 1, 2, 3][..]),
            ("two", "", &[], &[1, 2, 3]),
            ("", "two", &[], &[0, 1]),
            ("two", "two", &[], &[1]),
            ("", "", &["three", "one", "one"], &[0, 2]),
            ("#4", "", &[], &[3]),
        ] {
            let request = request().select(&selection(from, until, only));
            let request = request.expect("a selection");
            let found: Vec<_> = request.selected().map(|(index, _)| index).collect();
            assert_eq!(found, kept);
        }
    }

    #[test]
    fn what_selects_nothing_is_told() {
        for (from, until, only, told) in [
            ("tow", "", &[][..], &["the request has no step `tow`"][..]),
            ("three", "one", &[], &["no step is selected"]),
            (
                "x",
                "y",
                &["#0", "#5", "#"],
                &[
                    "the request has no step `x`",
                    "the request has no step `y`",
                    "the request has no step `#0`",
                    "the request has no step `#5`",
                    "the request has no step `#`",
                ],
            ),
        ] {
            let errors = request().select(&selection(from, until, only));
            let errors = errors.expect_err("nothing to run");
            let messages: Vec<_> = errors.iter().map(|error| &*error.message).collect();
            assert_eq!(messages, told);
        }
    }
}
