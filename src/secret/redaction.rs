//! Takes secrets out of texts.

use super::Secret;
use super::forms::Forms;
use super::scan::{Machine, Scan};
use super::stream::Stream;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What stands in the place of a secret.
pub const TAG: &str = "[REDACTED]";

/// What is taken out of everything that is shown or stored. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redaction(Option<Arc<Machines>>);

pub(super) struct Machines {
    pub(super) plain: Machine,
    pub(super) wrapped: Machine,
    names: Vec<String>,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(machines) => write!(f, "Redaction({})", machines.names.join(", ")),
            None => f.write_str("Redaction()"),
        }
    }
}

impl Redaction {
    /// Of these secrets, in every form that is looked for.
    ///
    /// # Errors
    /// Where there is more of them than can be looked for.
    pub fn of<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Result<Self, String> {
        let (mut plain, mut wrapped, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (name, secret)) in secrets.into_iter().enumerate() {
            let forms = Forms::of(secret.expose());
            plain.extend(forms.plain.into_iter().map(|form| (form, number)));
            wrapped.extend(forms.wrapped.into_iter().map(|form| (form, number)));
            names.push(name.to_owned());
        }
        if names.is_empty() {
            return Ok(Self::default());
        }
        let machine = |forms: &[_]| {
            Machine::new(forms)
                .map_err(|error| format!("there is more of them than can be looked for: {error}"))
        };
        Ok(Self(Some(Arc::new(Machines {
            plain: machine(&plain)?,
            wrapped: machine(&wrapped)?,
            names,
        }))))
    }

    /// Whether there are no secrets, so that every text stays as it is.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// So many bytes on both sides of a piece of a file decide what in it is part of a secret.
    pub fn reach(&self) -> u64 {
        self.0.as_ref().map_or(0, |machines| {
            2 * machines.plain.longest.max(machines.wrapped.longest) as u64
        })
    }

    /// For a text that comes in pieces.
    pub fn stream(&self) -> Stream {
        Stream::new(self.0.clone())
    }

    fn scan(&self, text: &[u8]) -> Option<Scan> {
        let machines = self.0.as_ref()?;
        let mut scan = Scan::new(&machines.plain, &machines.wrapped);
        scan.feed(&machines.plain, &machines.wrapped, text);
        Some(scan)
    }

    /// The places of a text where secrets stand, in order.
    pub fn ranges(&self, text: &[u8]) -> Vec<Range<usize>> {
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let places = self.scan(text).map(|scan| scan.places).unwrap_or_default();
        places
            .iter()
            .map(|place| index(place.start)..index(place.end))
            .collect()
    }

    /// The text without secrets: the same where there were none.
    pub fn bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.within(text, 0..text.len())
    }

    /// A piece of a text without secrets, those too that only reach into it.
    pub fn within<'t>(&self, text: &'t [u8], piece: Range<usize>) -> Cow<'t, [u8]> {
        let places = self.ranges(text);
        let mut places = places
            .iter()
            .filter(|place| place.end > piece.start && place.start < piece.end)
            .peekable();
        if places.peek().is_none() {
            return Cow::Borrowed(&text[piece]);
        }
        let mut out = Vec::with_capacity(piece.len());
        let mut from = piece.start;
        for place in places {
            if place.start > from {
                out.extend_from_slice(&text[from..place.start]);
            }
            out.extend_from_slice(TAG.as_bytes());
            from = place.end.min(piece.end);
        }
        out.extend_from_slice(&text[from..piece.end]);
        Cow::Owned(out)
    }

    /// Takes secrets out of a text; whether there were any.
    pub fn string(&self, text: &mut String) -> bool {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => false,
            Cow::Owned(clean) => {
                *text = String::from_utf8_lossy(&clean).into_owned();
                true
            }
        }
    }

    /// The names of secrets, by their numbers.
    pub(super) fn names(
        machines: &Machines,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Vec<String> {
        numbers
            .into_iter()
            .filter_map(|number| machines.names.get(number).cloned())
            .collect()
    }
}
