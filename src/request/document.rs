//! The text a request came from, so that later stages can point into it.

use super::tree::{Node, Span};
use super::{
    ErrorCode, ParseError, ParseErrors, Pointer, Request, depth, emit, read_json, read_toml,
};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// For people.
    Toml,
    /// For programs.
    Json,
}

/// A document that was read: its name, its text, and where everything stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// As it is shown: a path, or `-`.
    pub name: String,
    /// The text, without a byte-order mark. Empty for a request that was built.
    pub text: String,
    /// How it is written.
    pub syntax: Syntax,
    tree: Node,
}

/// A place in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In bytes of the text.
    pub span: Span,
}

impl Syntax {
    /// By the extension of a path: `.json`, else TOML. `None` for another or none.
    pub fn of(path: &str) -> Option<Self> {
        let (_, extension) = path.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// By the first byte that is not blank: JSON begins with a brace.
    pub fn guess(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::Json,
            Some(_) | None => Self::Toml,
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";
/// The largest document, in bytes: more than any request needs, as files belong into a seed. Whoever reads one stops
/// after the first byte beyond it.
pub const MAX_DOCUMENT: usize = 16 << 20;

impl Document {
    /// The document that a request would be written as, for requests that were built and not read.
    pub fn of(name: &str, request: &Request) -> Self {
        let text = emit(request, Syntax::Toml);
        match Self::read(name, text.as_bytes(), Syntax::Toml) {
            Ok((document, _)) => document,
            // Larger than a document may be: there is nothing to point into.
            Err(errors) => Self::built(name, errors.document().tree.clone()),
        }
    }

    /// A document of which only the name is known: nothing in it has a place.
    pub fn without_text(name: &str) -> Self {
        Self::built(name, Node::table())
    }

    /// A document without text.
    pub(crate) fn built(name: &str, tree: Node) -> Self {
        Self {
            name: name.to_owned(),
            text: String::new(),
            syntax: Syntax::Toml,
            tree,
        }
    }

    /// Reads the text into the tree. What the keys mean is not looked at.
    pub(crate) fn read(
        name: &str,
        bytes: &[u8],
        syntax: Syntax,
    ) -> Result<(Self, Vec<ParseError>), ParseErrors> {
        let mut document = Self::built(name, Node::table());
        document.syntax = syntax;
        let whole = Pointer::default();
        let fatal = |document: Self, error: ParseError| {
            ParseErrors::from_vec(vec![error], document).map(|document| (document, Vec::new()))
        };
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        if bytes.len() > MAX_DOCUMENT {
            let most = MAX_DOCUMENT >> 20;
            let message = format!("the document has more than {most} MiB, the most for a request");
            let error = ParseError::new(ErrorCode::TooLarge, &whole, &(0..0), message)
                .help("put large files into the seed, or name them with `{ from = \"FILE\" }`");
            return fatal(document, error);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                document.text = String::from_utf8_lossy(bytes).into_owned();
                let message = format!(
                    "the document is not UTF-8: it has the byte {:#04x}",
                    bytes[at]
                );
                let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
                let error = ParseError::new(ErrorCode::NotUtf8, &whole, &span, message)
                    .label("not UTF-8")
                    .help(
                        "save it as UTF-8; bytes that are no text go into `{ base64 = \"...\" }`",
                    );
                return fatal(document, error);
            }
        };
        text.clone_into(&mut document.text);
        if let Some(error) = control_character(text).or_else(|| depth::check(text, syntax)) {
            return fatal(document, error);
        }
        let (tree, errors) = match syntax {
            Syntax::Toml => read_toml::read(text),
            Syntax::Json => read_json::read(text),
        };
        match tree {
            Some(tree) => {
                document.tree = tree;
                Ok((document, errors))
            }
            None => ParseErrors::from_vec(errors, document).map(|document| (document, Vec::new())),
        }
    }

    /// The tree the text was read into.
    pub(crate) fn tree(&self) -> &Node {
        &self.tree
    }

    /// Where the value at `pointer` stands, or else the deepest part of it that exists.
    /// `None` where there is no text to point into.
    pub fn locate(&self, pointer: &Pointer) -> Option<Location> {
        self.location(self.tree.find(pointer).1.clone())
    }

    /// Where the key at `pointer` stands, or else the deepest part of it that exists.
    pub fn locate_key(&self, pointer: &Pointer) -> Option<Location> {
        let (key, value) = self.tree.find(pointer);
        self.location(key.unwrap_or(value).clone())
    }

    /// Line and column of a span.
    pub fn location(&self, span: Span) -> Option<Location> {
        let (line, column) = self.line_column(span.start)?;
        Some(Location { line, column, span })
    }

    /// Line and column of a byte, from 1.
    pub(crate) fn line_column(&self, at: usize) -> Option<(usize, usize)> {
        if self.text.is_empty() {
            return None;
        }
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Some((line, before[line_start..].chars().count() + 1))
    }
}

/// The first control character that neither syntax takes.
fn control_character(text: &str) -> Option<ParseError> {
    let blank = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r');
    let at = text.bytes().position(|byte| byte < b' ' && !blank(byte))?;
    let code = text.as_bytes()[at];
    let message = format!("the document has a control character: U+{code:04X}");
    Some(
        ParseError::new(
            ErrorCode::Syntax,
            &Pointer::default(),
            &(at..at + 1),
            message,
        )
        .label("control character")
        .help(format!("inside quotes, write it as `\\u{code:04x}`")),
    )
}

#[cfg(test)]
mod tests {
    use super::{Document, MAX_DOCUMENT, Syntax};
    use crate::request::{ErrorCode, Pointer, Request, Step, parse};

    #[test]
    fn a_document_has_a_limit() {
        let bytes = vec![b'#'; MAX_DOCUMENT + 1];
        let errors = parse("big.toml", &bytes, Syntax::Toml).expect_err("too large");
        assert_eq!(errors.as_slice()[0].code, ErrorCode::TooLarge);
    }

    #[test]
    fn the_syntax_is_told_by_name_or_first_byte() {
        assert_eq!(Syntax::of("a.pyro.json"), Some(Syntax::Json));
        assert_eq!(Syntax::of("a.toml"), Some(Syntax::Toml));
        assert_eq!(Syntax::of("-"), None);
        assert_eq!(Syntax::guess(b"\xef\xbb\xbf \n{"), Syntax::Json);
        assert_eq!(Syntax::guess(b"[workspace]"), Syntax::Toml);
        assert_eq!(Syntax::guess(b""), Syntax::Toml);
    }

    #[test]
    fn a_pointer_leads_to_the_deepest_place_that_exists() {
        let text = "pyro = 1\n\n[[step]]\nexec = [\"true\"]\nexpect.stdout.contains = \"é\" # x\n";
        let (_, document) = parse("a.toml", text.as_bytes(), Syntax::Toml).expect("a request");
        let step = Pointer::step(0);
        for (pointer, line, column, at) in [
            (Pointer::default(), 1, 1, ""),
            (step.clone(), 3, 1, "[[step]]"),
            (step.at("exec").at(0), 4, 9, "\"true\""),
            (step.at("exec").at(7), 4, 8, "[\"true\"]"),
            (
                step.at("expect").at("stdout").at("contains").at(0),
                5,
                26,
                "\"é\"",
            ),
            (step.at("timeout"), 3, 1, "[[step]]"),
        ] {
            let place = document.locate(&pointer).expect("there is text");
            assert_eq!((place.line, place.column), (line, column), "{pointer}");
            assert_eq!(&text[place.span], at, "{pointer}");
        }
        let key = document
            .locate_key(&step.at("exec"))
            .expect("there is text");
        assert_eq!(&text[key.span], "exec");
    }

    #[test]
    fn a_request_that_was_built_has_places_too() {
        let request = Request::new("host")
            .step(Step::read("a"))
            .build()
            .expect("a request");
        let document = Document::of("request", &request);
        let place = document
            .locate(&Pointer::step(0).at("read"))
            .expect("there is text");
        assert_eq!(&document.text[place.span], "\"a\"");
    }
}
