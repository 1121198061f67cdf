//! The combinations of a matrix: a request runs once for each.

use super::check::{At, Checker, brief};
use super::model::Request;
use super::tree::Node;
use super::{ErrorCode, Pointer};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// The most combinations of a request. The state directory keeps twice as many receipts.
pub const MOST_COMBINATIONS: usize = 100;

/// One value for each name of a matrix.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Combination(pub BTreeMap<String, String>);

impl Combination {
    /// Whether there is no matrix.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `os=deb,python=3.11`; a value with anything else in it than such names have is in quotes.
impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "._+-/:@%".contains(c);
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if !value.is_empty() && value.chars().all(plain) {
                write!(f, "{name}={}", brief(value))?;
            } else {
                write!(f, "{name}=\"{}\"", brief(value))?;
            }
        }
        Ok(())
    }
}

impl Request {
    /// Every combination of its matrix: by name, the last one changing fastest, values in the order of the document.
    /// Without a matrix there is one, which is empty.
    pub fn combinations(&self) -> impl Iterator<Item = Combination> {
        let count = self.matrix.values().map(Vec::len);
        let count = count.fold(1, usize::saturating_mul);
        (0..count).map(|mut index| {
            let mut combination = BTreeMap::new();
            for (name, values) in self.matrix.iter().rev() {
                let value = values[index % values.len()].clone();
                combination.insert(name.clone(), value);
                index /= values.len();
            }
            Combination(combination)
        })
    }
}

impl Checker<'_> {
    /// What no shape says of a matrix: values that come twice, and too many combinations.
    pub(crate) fn matrix(&mut self, matrix: &Node) {
        let at = At {
            pointer: Pointer::default(),
            shown: String::new(),
            context: "a request".to_owned(),
        };
        let at = at.key("matrix");
        let mut combinations = 1_usize;
        for entry in matrix.entries() {
            let at = at.key(&entry.key);
            let mut seen = HashSet::new();
            for (index, value) in entry.node.elements().iter().enumerate() {
                let Some(text) = value.as_text() else {
                    continue;
                };
                if !seen.insert(text) {
                    let at = at.index(index);
                    let message = format!("`{}` is there already: `{}`", at.shown, brief(text));
                    self.wrong(ErrorCode::BadValue, &at, &value.span, message, |error| {
                        error
                            .label("the same value")
                            .help("each combination runs once; keep one of them")
                    });
                }
            }
            combinations = combinations.saturating_mul(entry.node.elements().len().max(1));
        }
        if combinations > MOST_COMBINATIONS {
            let message = format!("`matrix` has {combinations} combinations");
            self.wrong(ErrorCode::OutOfRange, &at, &matrix.span, message, |error| {
                error
                    .label(format!("at most {MOST_COMBINATIONS}"))
                    .help("take out values, or make several requests of it")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::request::{Request, Step};

    #[test]
    fn combinations_come_in_order_and_are_named() {
        let request = Request::new("host")
            .matrix("python", ["3.9", "3.11"])
            .matrix("os", ["deb", "a, b", ""])
            .step(Step::exec(["echo", "${matrix.os}"]));
        let request = request.build().expect("a request");
        let names: Vec<_> = request.combinations().map(|one| one.to_string()).collect();
        assert_eq!(
            names,
            [
                "os=deb,python=3.9",
                "os=deb,python=3.11",
                "os=\"a, b\",python=3.9",
                "os=\"a, b\",python=3.11",
                "os=\"\",python=3.9",
                "os=\"\",python=3.11",
            ]
        );
        let none = Request::new("host").build().expect("a request");
        assert_eq!(none.combinations().count(), 1);
    }
}
