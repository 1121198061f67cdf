//! What can be wrong with the text of a request, each with its place and a way out.

use super::{Document, Pointer, tree::Span};
use std::fmt;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// One sentence, without a full stop.
    pub message: String,
    /// Where in the text, in bytes.
    pub span: Span,
    /// Where in the document.
    pub pointer: Pointer,
    /// A few words for the place itself; may be empty.
    pub label: String,
    /// One thing to try.
    pub help: Option<String>,
    /// What could have stood here.
    pub valid_here: Vec<String>,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// The kinds of mistakes that the text of a request can have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant,)+ }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// As it is shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
            /// One sentence on what it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The document is larger than a request may be.
    TooLarge = "too-large",
    /// The document is not UTF-8.
    NotUtf8 = "not-utf8",
    /// Lists and tables are nested too deeply.
    TooDeep = "too-deep",
    /// The text is not TOML or not JSON.
    Syntax = "syntax",
    /// A table has the same key twice.
    DuplicateKey = "duplicate-key",
    /// The document is of a version of the format that this pyro does not know.
    BadVersion = "bad-version",
    /// A key that means nothing at its place.
    UnknownKey = "unknown-key",
    /// A key that must be there is not.
    MissingKey = "missing-key",
    /// Two keys that exclude each other.
    ConflictingKeys = "conflicting-keys",
    /// A value of another type than its key wants.
    WrongType = "wrong-type",
    /// A word that is not one of those its key knows.
    BadValue = "bad-value",
    /// A number outside its range.
    OutOfRange = "out-of-range",
    /// A list that needs something in it.
    EmptyList = "empty-list",
    /// A step without a verb.
    NoVerb = "no-verb",
    /// A step with more than one verb.
    TwoVerbs = "two-verbs",
    /// Text that is no step id.
    BadId = "bad-id",
    /// Two steps with the same id.
    DuplicateId = "duplicate-id",
    /// The name of a variable that cannot be one.
    BadName = "bad-name",
    /// A path that leaves the workspace, or is no path.
    BadPath = "bad-path",
    /// Text that is no duration.
    BadDuration = "bad-duration",
    /// Text that is no size.
    BadSize = "bad-size",
    /// Text that is no digest.
    BadDigest = "bad-digest",
    /// Text that is no file mode, or one that is refused.
    BadMode = "bad-mode",
    /// Text that is no regular expression.
    BadRegex = "bad-regex",
    /// Text that is not base64.
    BadBase64 = "bad-base64",
    /// Text that has a NUL byte where a program could not receive it.
    NulByte = "nul-byte",
    /// A `${...}` of ours that leads nowhere.
    BadReference = "bad-reference",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ParseError {
    /// A mistake without label, help or list.
    pub(crate) fn new(
        code: ErrorCode,
        pointer: &Pointer,
        span: &Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            span: span.clone(),
            pointer: pointer.clone(),
            label: String::new(),
            help: None,
            valid_here: Vec::new(),
        }
    }
    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    #[must_use]
    pub(crate) fn valid<T: Into<String>>(mut self, valid: impl IntoIterator<Item = T>) -> Self {
        self.valid_here = valid.into_iter().map(Into::into).collect();
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

/// All mistakes of a document, in its order; never empty.
#[derive(Debug, Clone)]
pub struct ParseErrors {
    errors: Vec<ParseError>,
    untold: usize,
    document: Box<Document>,
}

impl ParseErrors {
    /// How many are told; a document of noise would fill the screen otherwise.
    const TOLD: usize = 100;
    /// How many are gathered before they are sorted: a document of noise has one in each byte.
    pub(crate) const GATHERED: usize = 200;

    /// Sorts them as the reader meets them. `None` where there are none.
    pub(crate) fn from_vec(
        mut errors: Vec<ParseError>,
        document: Document,
    ) -> Result<Document, Self> {
        if errors.is_empty() {
            return Ok(document);
        }
        errors.sort_by_key(|error| error.span.start);
        let untold = errors.len().saturating_sub(Self::TOLD);
        errors.truncate(Self::TOLD);
        Err(Self {
            errors,
            untold,
            document: Box::new(document),
        })
    }

    /// The document they were found in.
    pub fn document(&self) -> &Document {
        &self.document
    }
    /// How many more there are, at least, than are told.
    pub fn untold(&self) -> usize {
        self.untold
    }
    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, ParseError> {
        self.errors.iter()
    }
    /// The same as a slice.
    pub fn as_slice(&self) -> &[ParseError] {
        &self.errors
    }
}

impl<'a> IntoIterator for &'a ParseErrors {
    type Item = &'a ParseError;
    type IntoIter = std::slice::Iter<'a, ParseError>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match self.document.line_column(error.span.start) {
                Some((line, column)) => {
                    write!(f, "{}:{line}:{column}: {error}", self.document.name)?;
                }
                None => write!(f, "{}: {error}", error.pointer)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ParseErrors {}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, ParseErrors};
    use crate::request::{Syntax, parse};

    #[test]
    fn a_document_of_noise_does_not_fill_the_screen() {
        let text = format!("pyro = 1\n{}", "[[step]]\n".repeat(5000));
        let errors = parse("a.toml", text.as_bytes(), Syntax::Toml).expect_err("no verbs");
        assert_eq!(errors.as_slice().len(), ParseErrors::TOLD);
        assert!(errors.untold() > 0);
    }

    #[test]
    fn codes_are_words_with_a_meaning() {
        for code in ErrorCode::ALL {
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(code.as_str().chars().all(word), "{code}");
            assert!(code.meaning().ends_with('.'), "{code}");
        }
    }
}
