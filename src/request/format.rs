//! A document laid out as all of them are: only blanks and line breaks change, never a word, a comment or an order.
//!
//! TOML is formatted from its tokens, so what is no blank comes out byte for byte. JSON is written anew from the tree,
//! which has its keys in the order of the text.

use super::{Document, Syntax, emit};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// The document's text, laid out. Meant for documents that are requests; the text of another may come out odd, and is
/// for nobody.
pub fn format(document: &Document) -> String {
    match document.syntax {
        Syntax::Toml => toml(&document.text),
        Syntax::Json => emit::json_text(document.tree()),
    }
}

/// One token that is no blank.
struct Token<'a> {
    kind: TokenKind,
    text: &'a str,
    /// Whether a blank stood before it.
    apart: bool,
}

fn toml(text: &str) -> String {
    let source = Source::new(text);
    let mut page = Page::default();
    let mut line: Vec<Token<'_>> = Vec::new();
    let mut apart = false;
    for token in source.lex() {
        let span = token.span();
        let raw = text.get(span.start()..span.end()).unwrap_or_default();
        let kind = token.kind();
        if kind == TokenKind::Whitespace {
            apart = true;
        } else if ends_line(kind) {
            page.line(&line);
            line.clear();
            apart = false;
        } else {
            line.push(Token {
                kind,
                text: raw,
                apart: std::mem::take(&mut apart),
            });
        }
    }
    page.text()
}

/// The lines so far.
#[derive(Default)]
struct Page {
    lines: Vec<String>,
    /// Brackets that are open.
    depth: usize,
    /// Where the comments begin that stand right above the next line.
    comments: Option<usize>,
    blank: bool,
}

impl Page {
    fn line(&mut self, tokens: &[Token<'_>]) {
        let Some(first) = tokens.first() else {
            self.blank = true;
            self.comments = None;
            return;
        };
        let header = self.depth == 0 && first.kind == TokenKind::LeftSquareBracket;
        if std::mem::take(&mut self.blank) && !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        if header {
            let above = self.comments.unwrap_or(self.lines.len());
            if above > 0 && !self.lines[above - 1].is_empty() {
                self.lines.insert(above, String::new());
            }
        }
        if first.kind == TokenKind::Comment && self.depth == 0 {
            self.comments.get_or_insert(self.lines.len());
        } else {
            self.comments = None;
        }
        let closing = tokens.iter().take_while(|token| closes(token.kind)).count();
        let mut out = "  ".repeat(self.depth.saturating_sub(closing));
        let mut before: Option<&Token<'_>> = None;
        for token in tokens {
            if let Some(before) = before
                && gap(before, token, header)
            {
                out.push(' ');
            }
            if token.kind == TokenKind::Comment {
                out.push_str(token.text.trim_end());
            } else {
                out.push_str(token.text);
            }
            if !header {
                if opens(token.kind) {
                    self.depth += 1;
                } else if closes(token.kind) {
                    self.depth = self.depth.saturating_sub(1);
                }
            }
            before = Some(token);
        }
        self.lines.push(out);
    }

    fn text(self) -> String {
        let mut text = self.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

fn ends_line(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Newline | TokenKind::Eof)
}

fn opens(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket
    )
}

fn closes(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket
    )
}

/// Whether a blank stands between two tokens of a line.
fn gap(before: &Token<'_>, token: &Token<'_>, header: bool) -> bool {
    use TokenKind::{Comma, Comment, Dot, Equals, LeftCurlyBracket, LeftSquareBracket};
    use TokenKind::{RightCurlyBracket, RightSquareBracket};
    match (before.kind, token.kind) {
        (_, Comment) => true,
        (_, _) if header => false,
        (Dot, _) | (_, Dot | Comma) => false,
        (LeftSquareBracket, _) | (_, RightSquareBracket) => false,
        (LeftCurlyBracket, RightCurlyBracket) => false,
        (Equals | Comma | LeftCurlyBracket, _) | (_, Equals | RightCurlyBracket) => true,
        // Of a date and its time.
        (_, _) => token.apart,
    }
}

#[cfg(test)]
mod tests {
    use super::{format, toml};
    use crate::request::{Syntax, parse};
    use proptest::prelude::*;
    use toml_parser::Source;
    use toml_parser::lexer::TokenKind;

    const MESSY: &str = r#"


#:schema   x.json
pyro=1
  name   =   "a  b"   # why  	
vars . a= '  x  '
# about the workspace
[ workspace ]
seed="."


exclude=["a","b" ,
      'c', # see


    [  ],
]
[[step]]
exec = """
  kept  =  as
is"""
expect={exit=[0,1],stdout={ empty=true }}
env={}"#;

    const NEAT: &str = r#"#:schema   x.json
pyro = 1
name = "a  b" # why
vars.a = '  x  '

# about the workspace
[workspace]
seed = "."

exclude = ["a", "b",
  'c', # see

  [],
]

[[step]]
exec = """
  kept  =  as
is"""
expect = { exit = [0, 1], stdout = { empty = true } }
env = {}
"#;

    #[test]
    fn only_blanks_change() {
        assert_eq!(toml(MESSY), NEAT);
        assert_eq!(toml(NEAT), NEAT);
        // Only outside of texts, where it is no word.
        let windows = MESSY.replace('\n', "\r\n");
        let windows = windows.replace("\"\"\"\r", "\"\"\"").replace("as\r", "as");
        assert_eq!(toml(&windows), NEAT);
        assert_eq!(toml(""), "");
        assert_eq!(toml(" \n# a\n\n"), "# a\n");
    }

    #[test]
    fn json_keeps_its_order() {
        let text = "{\"step\":[{\"exec\":[\"a\\u0062\"]}],\n\"pyro\":1, \"$schema\": \"x\"}";
        let (request, document) =
            parse("a.json", text.as_bytes(), Syntax::Json).expect("a request");
        let neat = format(&document);
        let order = ["\"step\"", "\"ab\"", "\"pyro\"", "\"$schema\""]
            .map(|word| neat.find(word).expect("kept"));
        assert!(order.is_sorted(), "{neat}");
        let (again, document) = parse("a.json", neat.as_bytes(), Syntax::Json).expect("a request");
        assert_eq!((again, format(&document)), (request, neat));
    }

    /// Everything but blanks and line ends.
    fn words(text: &str) -> Vec<String> {
        let tokens = Source::new(text).lex().filter_map(|token| {
            let span = token.span();
            let raw = &text[span.start()..span.end()];
            let kind = token.kind();
            if kind == TokenKind::Whitespace || super::ends_line(kind) {
                None
            } else if kind == TokenKind::Comment {
                Some(raw.trim_end().to_owned())
            } else {
                Some(raw.to_owned())
            }
        });
        tokens.collect()
    }

    /// The text with blanks, comments and empty lines wherever they mean nothing.
    fn messed(text: &str, choices: &[u8]) -> String {
        let mut choices = choices.iter().cycle().copied();
        let mut next = move || choices.next().unwrap_or(0);
        let mut out = String::new();
        for token in Source::new(text).lex() {
            let span = token.span();
            let raw = &text[span.start()..span.end()];
            let kind = token.kind();
            if kind == TokenKind::Newline {
                out.push_str(["", " ", " # x  ", "\t#"][usize::from(next() % 4)]);
                out.push_str(["\n", "\r\n", "\n\n\n", "\n \n"][usize::from(next() % 4)]);
                out.push_str(["", "  ", "# y\n"][usize::from(next() % 3)]);
            } else if matches!(kind, TokenKind::Equals | TokenKind::Comma) {
                let blank = ["", " ", "\t "][usize::from(next() % 3)];
                out.push_str(&format!("{blank}{raw}{blank}"));
            } else {
                out.push_str(raw);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn meaning_and_words_are_kept(choices in prop::collection::vec(any::<u8>(), 1..60), which in 0..2_usize) {
            let text = [NEAT_REQUEST, LONG_REQUEST][which];
            let text = messed(text, &choices);
            let (request, document) = parse("a.toml", text.as_bytes(), Syntax::Toml).expect("a request");
            let neat = format(&document);
            prop_assert_eq!(words(&neat), words(&text));
            let (again, document) = parse("a.toml", neat.as_bytes(), Syntax::Toml).expect("still a request");
            prop_assert_eq!(again, request);
            prop_assert_eq!(format(&document), neat);
        }
    }

    const LONG_REQUEST: &str = r#"pyro = 1

# Seed and shape.
[workspace]
seed = "."
exclude = [
  "target",
  # comments in lists
  "*.o",
]

# The first.
[[step]]
exec = "make && ./a"
timeout = "5m"
expect.stdout.matches = '^(a|b)\d+$'

[[step]]
patch = """
--- a/x
+++ b/x
@@ -1 +1 @@
-a = 1
+a   =   2
"""
"#;

    const NEAT_REQUEST: &str = r#"pyro = 1
name = "x"
vars.a = "1"

[workspace]
seed = "."
memory = "1GiB"

[[step]]
id = "one"
exec = ["sh", "-c", "true"]
env."A.B" = 'x'
expect = { exit = [0, 1], stdout = { contains = ["a", "b"] } }

[[step]]
write."a.txt" = """
one = 1

  two
"""
"#;
}
