//! The receipt as a JSON Schema (draft-07), made from its types. Only the tests make it; `specs/schema/receipt.json` is
//! what it was, and what `pyro schema receipt` prints.

use super::Receipt;
use schemars::generate::SchemaSettings;

/// What a path is, as the wire spells it.
#[derive(serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is wanted")]
pub(super) enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

#[test]
fn the_schema_is_up_to_date() {
    let settings = SchemaSettings::draft07().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Receipt>();
    let mut schema = schema.to_value();
    schema["title"] = "pyro receipt, version 1".into();
    let now = format!("{schema:#}\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/schema/receipt.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &now).expect("the schema can be written");
    }
    let kept = include_str!("../../specs/schema/receipt.json");
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some() || kept == now,
        "specs/schema/receipt.json is not what the types say: run `UPDATE_DOCS=1 cargo test --lib receipt::schema` \
         and look at the difference"
    );
}
