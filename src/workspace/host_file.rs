//! A host file as data: a path need not be text, so its exact bytes stand beside it where it is not.

use super::HostFile;
use crate::request::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What is written for a [`HostFile`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "HostFile"))]
pub(super) struct Data {
    /// Absolute.
    path: String,
    /// The exact bytes, where `path` lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// Bytes.
    size: u64,
    /// Of what was written.
    sha256: Digest,
}

#[cfg(test)]
impl schemars::JsonSchema for HostFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Data::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Data::json_schema(generator)
    }
}

impl From<HostFile> for Data {
    fn from(file: HostFile) -> Self {
        let HostFile { path, size, sha256 } = file;
        let exact = path.to_str().is_none();
        Self {
            path: path.to_string_lossy().into_owned(),
            path_base64: exact.then(|| STANDARD.encode(path.as_os_str().as_bytes())),
            size,
            sha256,
        }
    }
}

impl TryFrom<Data> for HostFile {
    type Error = base64::DecodeError;

    fn try_from(data: Data) -> Result<Self, Self::Error> {
        let path = match data.path_base64 {
            Some(bytes) => OsString::from_vec(STANDARD.decode(bytes)?),
            None => data.path.into(),
        };
        Ok(Self {
            path: path.into(),
            size: data.size,
            sha256: data.sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::HostFile;
    use crate::request::Digest;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn any_path_survives_the_receipt() {
        for path in [&b"/home/me/out"[..], b"/home/\xff\n"] {
            let file = HostFile {
                path: OsStr::from_bytes(path).into(),
                size: 3,
                sha256: Digest::of(b"abc"),
            };
            let text = serde_json::to_string(&file).expect("any path is JSON");
            let back: HostFile = serde_json::from_str(&text).expect("what was written is read");
            assert_eq!(back, file, "{text}");
        }
    }
}
