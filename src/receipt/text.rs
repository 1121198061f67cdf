//! Bytes of a receipt, which are text as a rule.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bytes as text: UTF-8 with U+FFFD where they are something else, and then the bytes themselves as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Text {
    /// For people.
    pub text: String,
    /// The exact bytes, where `text` lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                base64: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                base64: Some(STANDARD.encode(bytes)),
            },
        }
    }
}

impl Text {
    /// The exact bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let exact = self
            .base64
            .as_ref()
            .and_then(|text| STANDARD.decode(text).ok());
        exact.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}
