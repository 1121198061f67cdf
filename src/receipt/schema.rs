//! The receipt, and the document of several, as JSON Schemas (draft-07), made from their types. Only the tests make
//! them; `specs/schema` has what they were, and what `pyro schema receipt` and `pyro schema receipts` print.

use super::{Receipt, Runs};
use schemars::JsonSchema;
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

fn up_to_date<T: JsonSchema>(name: &str, title: &str) {
    let settings = SchemaSettings::draft07().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    schema["title"] = title.into();
    let now = format!("{schema:#}\n");
    let path = format!("{}/specs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &now).expect("the schema can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "specs/schema/{name}.json is not what the types say: run `UPDATE_DOCS=1 cargo test --lib receipt::schema` \
         and look at the difference"
    );
}

#[test]
fn the_schema_is_up_to_date() {
    up_to_date::<Receipt>("receipt", "pyro receipt, version 1");
}

#[test]
fn the_schema_of_several_is_up_to_date() {
    up_to_date::<Runs>("receipts", "receipts of several pyro runs, version 1");
}
