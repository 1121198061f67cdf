//! What workspaces may be called, labelled, and for how long they may live.

use super::WorkspaceId;

/// Characters of a name, and of the value of a label.
pub const MAX_CHARS: usize = 120;
/// The longest time to live: 30 days.
pub const MAX_TTL_MS: u64 = 30 * 86_400_000;
/// The shortest: a second.
pub const MIN_TTL_MS: u64 = 1000;

/// Why a workspace cannot be called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or blanks alone.
    #[error("call a workspace {name:?}: a name needs a character that can be seen")]
    Blank {
        /// What was given.
        name: String,
    },
    /// Too many characters.
    #[error("call a workspace by a name of {chars} characters: {MAX_CHARS} are allowed")]
    TooLong {
        /// How many.
        chars: usize,
    },
    /// Several lines, or characters that are none.
    #[error(
        "call a workspace {name:?}: a name is one line without control characters, and has {character:?}"
    )]
    Control {
        /// What was given.
        name: String,
        /// What must not be in it.
        character: char,
    },
    /// It would be taken for an id.
    #[error(
        "call a workspace `{name}`: 12 digits from 0 to f are an id (add a letter such as `-` to the name)"
    )]
    LooksLikeId {
        /// What was given.
        name: String,
    },
}

/// Why a label cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The key does not fit the pattern.
    #[error(
        "use {key:?} as a label: the part before `=` is a letter or digit, then letters, digits, `.`, `_` or `-`, at \
         most 64 in all"
    )]
    Key {
        /// What was given.
        key: String,
    },
    /// No value, or blanks alone.
    #[error("set the label `{key}` to {value:?}: a value needs a character that can be seen")]
    Blank {
        /// Of which label.
        key: String,
        /// What was given.
        value: String,
    },
    /// The value has too many characters.
    #[error("set the label `{key}` to a value of {chars} characters: {MAX_CHARS} are allowed")]
    TooLong {
        /// Of which label.
        key: String,
        /// How many.
        chars: usize,
    },
    /// The value has several lines, or characters that are none.
    #[error(
        "set the label `{key}`: a value is one line without control characters, and has {character:?}"
    )]
    Control {
        /// Of which label.
        key: String,
        /// What must not be in it.
        character: char,
    },
    /// Set and cleared at once.
    #[error("set and clear the label `{key}` at once: do one of them")]
    SetAndCleared {
        /// Which.
        key: String,
    },
}

/// Why a workspace cannot live so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "let a workspace live for {}: from `1s` to `30d` are allowed",
    crate::request::Duration::from_millis(*ms)
)]
pub struct TtlError {
    /// What was given.
    pub ms: u64,
}

/// Whether a workspace may be called so. Nothing is trimmed.
///
/// # Errors
/// Where not.
pub fn validate_name(name: &str) -> Result<(), NameError> {
    let given = || name.to_owned();
    if let Some(character) = unseen(name) {
        return Err(NameError::Control {
            name: given(),
            character,
        });
    }
    if name.trim().is_empty() {
        return Err(NameError::Blank { name: given() });
    }
    let chars = name.chars().count();
    if chars > MAX_CHARS {
        return Err(NameError::TooLong { chars });
    }
    if WorkspaceId::parse(name).is_some() {
        return Err(NameError::LooksLikeId { name: given() });
    }
    Ok(())
}

/// Whether there may be such a label. Nothing is trimmed.
///
/// # Errors
/// Where not.
pub fn validate_label(key: &str, value: &str) -> Result<(), LabelError> {
    let mut bytes = key.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !first || !rest || key.len() > 64 {
        return Err(LabelError::Key { key: key.into() });
    }
    let key = key.to_owned();
    if let Some(character) = unseen(value) {
        return Err(LabelError::Control { key, character });
    }
    if value.trim().is_empty() {
        let value = value.to_owned();
        return Err(LabelError::Blank { key, value });
    }
    let chars = value.chars().count();
    if chars > MAX_CHARS {
        return Err(LabelError::TooLong { key, chars });
    }
    Ok(())
}

/// Whether a workspace may live so long without anything happening in it.
///
/// # Errors
/// Where not.
pub fn validate_ttl(ms: u64) -> Result<(), TtlError> {
    if (MIN_TTL_MS..=MAX_TTL_MS).contains(&ms) {
        return Ok(());
    }
    Err(TtlError { ms })
}

/// The first character that breaks a line or is none.
fn unseen(text: &str) -> Option<char> {
    text.chars()
        .find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}
