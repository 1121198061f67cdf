//! The plan as data, as a JSON Schema (draft-07). Stands beside `json.rs`, which makes what this describes; a test holds
//! both against every plan of the fixtures, and against `specs/plan.md`.

use serde_json::{Map, Value, json};

/// The JSON Schema of what `pyro plan --json` prints.
pub fn schema() -> Value {
    let mut schema = object(
        "What will happen, as `pyro plan --json` prints it.",
        whole(),
    );
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "pyro plan, version 1".into();
    schema["definitions"] = definitions();
    schema
}

/// The JSON Schema of what `pyro plan --json` prints of a request with a matrix.
pub fn schema_of_several() -> Value {
    let mut schema = object(
        "What will happen in each combination of a matrix, as `pyro plan --json` prints it.",
        [
            version_of_format(),
            field(
                "plans",
                list(one("plan")),
                "One for each combination, in the order of the matrix.",
            ),
        ],
    );
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "pyro plans of a matrix, version 1".into();
    schema["definitions"] = definitions();
    schema["definitions"]["plan"] = object("What will happen in one combination.", whole());
    schema
}

fn version_of_format() -> Field {
    field(
        "format_version",
        json!({ "type": "integer", "enum": [1] }),
        "The version of this format.",
    )
}

/// What both of them name.
fn definitions() -> Value {
    json!({
        "workspace": object("The workspace that is made.", workspace()),
        "existing": object("A workspace that lives.", existing()),
        "seed": object("What fills the workspace, or is laid over it by `sync`.", seed()),
        "limit": object("A limit, and how it is kept.", limit()),
        "reach": object("What outside of the workspace is touched.", reach()),
        "step": object("One step; what belongs to its verb stands beside the rest.", step()),
        "path": object("A path.", bytes("path", "The path")),
        "written": object("A file of `write`.", written()),
        "patched": object("A file that a patch changes.", patched()),
        "version": object("A file before or after.", version()),
        "hunk": object("Where a hunk lands.", hunk()),
        "check": object("One check of a text.", check()),
        "capture": object("A captured value.", [
            field("from", text(), "Which text it is taken from."),
            field("regex", text(), "The value is its first group, or its whole match."),
        ]),
        "left_out_step": object("A step that does not run.", [
            field("number", number(), "From 1."),
            field("id", or_null(text()), "Its name."),
        ]),
        "late": object("A text that waits for captured values.", [
            field("pointer", text(), "Its place in the request (RFC 6901)."),
            field("text", text(), "As the request has it."),
        ]),
        "changed": {
            "description": "What a step may change: nothing, or only what these patterns match.",
            "type": "object",
            "properties": {
                "none": { "description": "Whether it changes nothing.", "type": "boolean" },
                "only": { "description": "Gitignore patterns.", "type": "array", "items": text() },
            },
        },
        "retry": object("How often a step is tried.", [
            field("times", number(), "How often at most, the first time included."),
            field("every_ms", number(), "From the end of one attempt to the beginning of the next."),
        ]),
        "keep": object("Whether the workspace is kept.", [
            field("when", words(&["on-failure", "always"]), "After which runs."),
            field("ttl", text(), "How long."),
        ]),
        "problem": object("Why a step is refused already.", problem()),
        "digest": {
            "description": "sha256 of some bytes.",
            "type": "string",
            "pattern": "^sha256:[0-9a-f]{64}$",
        },
        "mode": {
            "description": "Permission bits, four octal digits.",
            "type": "string",
            "pattern": "^[0-7]{4}$",
        },
    })
}

/// Whether a field is always there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Always,
    Sometimes,
}

struct Field {
    name: String,
    there: There,
    schema: Value,
    doc: String,
}

fn field(name: &str, schema: Value, doc: &str) -> Field {
    Field {
        name: name.to_owned(),
        there: There::Always,
        schema,
        doc: doc.to_owned(),
    }
}

fn maybe(name: &str, schema: Value, doc: &str) -> Field {
    Field {
        there: There::Sometimes,
        ..field(name, schema, doc)
    }
}

fn object(doc: &str, fields: impl IntoIterator<Item = Field>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for Field {
        name,
        there,
        mut schema,
        doc,
    } in fields
    {
        if schema.get("$ref").is_some() {
            // What stands beside a `$ref` does not count.
            schema = json!({ "allOf": [schema] });
        }
        schema["description"] = doc.into();
        if there == There::Always {
            required.push(Value::from(name.clone()));
        }
        properties.insert(name, schema);
    }
    json!({
        "type": "object",
        "description": doc,
        "properties": properties,
        "required": required,
    })
}

/// `NAME`, and `NAME_base64` where that lost something.
fn bytes(name: &str, doc: &str) -> [Field; 2] {
    let base64 = json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$" });
    [
        field(name, text(), &format!("{doc}, as text.")),
        maybe(
            &format!("{name}_base64"),
            base64,
            &format!("{doc}, exactly, where the text lost something."),
        ),
    ]
}

fn optional<const N: usize>(fields: [Field; N]) -> [Field; N] {
    fields.map(|field| Field {
        there: There::Sometimes,
        ..field
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}
fn flag() -> Value {
    json!({ "type": "boolean" })
}
fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}
fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}
fn one(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}
fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn whole() -> Vec<Field> {
    vec![
        version_of_format(),
        field(
            "digest",
            one("digest"),
            "Of the plan, without this, `source`, `reach.exposed` and `reach.network`.",
        ),
        maybe(
            "left_out",
            list(one("left_out_step")),
            "Steps of the request that do not run, because others were selected.",
        ),
        maybe(
            "matrix",
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            "The combination of the request's matrix that this is.",
        ),
        maybe(
            "redact",
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            "What texts are rid of before they are compared with goldens: regular expressions by name.",
        ),
        field("source", text(), "How the request is called in messages."),
        field("name", or_null(text()), "Of the request."),
        field("description", or_null(text()), "Of the request."),
        field(
            "request_digest",
            one("digest"),
            "Of the request, with variables filled in, and of every host file it takes bytes from.",
        ),
        field("workspace", one("workspace"), "The workspace that is made."),
        field("steps", list(one("step")), "What is done, in order."),
        field(
            "reach",
            one("reach"),
            "What outside of the workspace is touched.",
        ),
    ]
}

fn workspace() -> Vec<Field> {
    vec![
        field(
            "environment",
            text(),
            "As the request says it: `host`, `dir:PATH`.",
        ),
        field("machine", words(&["namespace"]), "The kind of machine."),
        field(
            "machine_note",
            or_null(text()),
            "Why this machine, where the request left the choice.",
        ),
        field(
            "seed",
            or_null(one("seed")),
            "What fills it; null where nothing does.",
        ),
        field(
            "expose",
            list(one("path")),
            "Host paths that are shown read-only: absolute, links resolved.",
        ),
        field(
            "limits",
            list(one("limit")),
            "In force for the whole workspace.",
        ),
        maybe(
            "keep",
            one("keep"),
            "Whether it is kept when the run is over.",
        ),
        maybe(
            "existing",
            one("existing"),
            "The workspace that lives and is used; nothing is made then.",
        ),
        maybe(
            "secrets",
            list(object(
                "A secret. No plan has its value.",
                [
                    field("name", text(), "What steps call it."),
                    maybe(
                        "source",
                        text(),
                        "Where its value comes from, as the request says it; left out where the workspace keeps it.",
                    ),
                ],
            )),
            "Its secrets.",
        ),
        maybe("name", text(), "What it is called."),
        maybe(
            "labels",
            json!({ "type": "object", "additionalProperties": text() }),
            "What else is to be known of it.",
        ),
        field("hostname", text(), "Of the sandbox."),
        field("notes", list(text()), "What is short, unusual or assumed."),
    ]
}

fn existing() -> Vec<Field> {
    vec![
        field("id", text(), "12 hex digits."),
        field(
            "name",
            or_null(text()),
            "As it was called when the plan was made.",
        ),
    ]
}

fn seed() -> Vec<Field> {
    let mut left_out = vec![field("reason", text(), "Why it is not carried over.")];
    left_out.extend(bytes("path", "Relative to the seed"));
    vec![
        field("from", text(), "As the request says it."),
        field("files", number(), "Regular files."),
        field("others", number(), "Directories and links."),
        field("bytes", number(), "Of all files."),
        field("listing", one("digest"), "Of the paths, kinds and sizes."),
        maybe("archive", one("digest"), "Of the archive, where it is one."),
        field(
            "left_out",
            list(object("Something that is not carried over.", left_out)),
            "What is not carried over.",
        ),
        maybe("left_out_more", number(), "How much more there is of it."),
        maybe(
            "exclude",
            list(text()),
            "Gitignore patterns of what is left out.",
        ),
        maybe(
            "respect_gitignore",
            flag(),
            "Whether `.gitignore` files count too.",
        ),
    ]
}

fn limit() -> Vec<Field> {
    vec![
        field("name", text(), "What is limited."),
        field("value", text(), "As people read it: `4GiB`, `1024`, `off`."),
        field(
            "enforcement",
            words(&["enforced", "watched", "not_enforced"]),
            "How it is kept: by the kernel, by a watchdog, or not.",
        ),
    ]
}

fn reach() -> Vec<Field> {
    let write = object(
        "A host path that is written.",
        [
            field("path", text(), "As the request says it."),
            field("replaces", or_null(text()), "What is there now, in words."),
        ],
    );
    vec![
        field(
            "host_reads",
            number(),
            "How many host files are read: those of the seed and of what `sync` names, and those that bytes are taken from.",
        ),
        field(
            "host_writes",
            list(write),
            "Every host path that is written.",
        ),
        maybe(
            "host_variables",
            list(text()),
            "Names of the host variables that it reads.",
        ),
        maybe(
            "secrets",
            number(),
            "How many secrets programs may be given.",
        ),
        maybe(
            "outside",
            list(text()),
            "Host paths read or written that lie outside of the request's repository.",
        ),
        field(
            "exposed",
            list(one("path")),
            "Host paths that are shown read-only inside.",
        ),
        field(
            "network",
            words(&["off"]),
            "What of the network can be reached.",
        ),
    ]
}

fn step() -> Vec<Field> {
    let strings = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let digests = json!({ "type": "object", "additionalProperties": one("digest") });
    let mut fields = vec![
        field(
            "number",
            json!({ "type": "integer", "minimum": 1 }),
            "From 1.",
        ),
        field("id", or_null(text()), "Its name."),
        field("pointer", text(), "Its place in the request (RFC 6901)."),
        field("verb", text(), "As the request spells it."),
        field(
            "certainty",
            words(&["exact", "predicted", "unknown"]),
            "Whether the outcome is known.",
        ),
        field("notes", list(text()), "What to keep in mind."),
        field("always", flag(), "Whether it runs after a failure too."),
        field("expect_fails", flag(), "Whether it must be refused."),
        maybe(
            "refused",
            list(one("problem")),
            "Why it is refused already, as the request expects.",
        ),
        maybe(
            "argv",
            list(text()),
            "`exec`: the program and its arguments.",
        ),
        maybe(
            "env",
            strings.clone(),
            "`exec`: the whole environment but for secrets.",
        ),
        maybe(
            "secrets",
            strings,
            "`exec`: secrets that it gets, each with its variable.",
        ),
        maybe(
            "timeout_ms",
            number(),
            "`exec`: after this long all of it is ended.",
        ),
        maybe(
            "max_output",
            number(),
            "`exec`: how many bytes of each stream the receipt keeps.",
        ),
        maybe(
            "expect_exit",
            or_null(list(json!({ "type": "integer" }))),
            "`exec`: exit codes that are right.",
        ),
        maybe(
            "expect_signal",
            or_null(text()),
            "`exec`: the signal that must end it.",
        ),
        maybe(
            "expect_timed_out",
            or_null(flag()),
            "`exec`: whether the timeout must end it.",
        ),
        maybe(
            "expect_duration_under_ms",
            or_null(number()),
            "`exec`: it must take less than this.",
        ),
        maybe(
            "expect_stdout",
            list(one("check")),
            "`exec`: checks of standard output.",
        ),
        maybe(
            "expect_stderr",
            list(one("check")),
            "`exec`: checks of standard error.",
        ),
        maybe("files", list(one("written")), "`write`: what is written."),
        maybe(
            "match",
            words(&["unique", "exact"]),
            "`patch`: where hunks may land.",
        ),
        maybe(
            "base",
            digests,
            "`patch`, `write`: what files must be beforehand; of `write` also `absent`.",
        ),
        maybe(
            "predicted",
            or_null(list(one("patched"))),
            "`patch`: what comes of it; null where the files are not known.",
        ),
        maybe(
            "paths",
            list(one("path")),
            "`delete`, `read`, `search`: which paths.",
        ),
        maybe(
            "missing",
            words(&["error", "ignore"]),
            "`delete`: what to do about a path that is not there.",
        ),
        maybe(
            "max_bytes",
            number(),
            "`read`: how much of each file. `search`: how many bytes of lines.",
        ),
        maybe("offset", number(), "`read`: the first byte that is read."),
        maybe(
            "expect_content",
            list(one("check")),
            "`read`: checks of what was read.",
        ),
        maybe("recursive", flag(), "`list`: whether to descend."),
        maybe(
            "max_entries",
            number(),
            "`list`: how many paths are told at most.",
        ),
        maybe(
            "expect_text",
            list(one("check")),
            "`list`, `search`, `diff`: checks of the text.",
        ),
        maybe(
            "exclude",
            list(text()),
            "`diff`, `search`, `pull`: gitignore patterns of paths to leave out.",
        ),
        maybe("regex", text(), "`search`: what is looked for."),
        maybe(
            "include",
            list(text()),
            "`search`: gitignore patterns of the files that are searched.",
        ),
        maybe(
            "max_matches",
            number(),
            "`search`: how many lines are told at most.",
        ),
        maybe(
            "after_line",
            number(),
            "`search`: the line of `after` that it goes on after.",
        ),
        maybe(
            "against",
            text(),
            "`diff`: the snapshot that is compared with, where that is not the baseline.",
        ),
        maybe(
            "source",
            one("seed"),
            "`sync`: what is laid over the workspace.",
        ),
        maybe(
            "replaces",
            list(one("path")),
            "`sync`: files and links that are expected to be replaced, the first 1000.",
        ),
        maybe(
            "replaces_more",
            number(),
            "`sync`: how many more there are.",
        ),
        maybe("dry_run", flag(), "`pull`: whether nothing is written."),
        maybe("name", text(), "`snapshot`: its name."),
        maybe(
            "to",
            text(),
            "`export`, `pull`: the host path, as the request says it. `move`: the path it becomes. `reset`: `baseline`, or the snapshot.",
        ),
        maybe(
            "expect_changed",
            one("changed"),
            "What the step itself may change, where the request says so.",
        ),
        maybe(
            "capture",
            json!({ "type": "object", "additionalProperties": one("capture") }),
            "What it captures for later steps, by name.",
        ),
        maybe(
            "late",
            list(one("late")),
            "Its texts that wait for what earlier steps capture.",
        ),
        maybe(
            "retry",
            one("retry"),
            "How often it is tried, where that is more than once.",
        ),
        maybe(
            "overwrite",
            flag(),
            "`export`: whether something that is there is replaced.",
        ),
    ];
    fields.extend(optional(bytes("cwd", "`exec`: the directory it runs in")));
    fields.extend(optional(bytes("stdin", "`exec`: standard input")));
    fields.extend(optional(bytes("diff", "`patch`: the expected change")));
    fields.extend(optional(bytes(
        "after",
        "`list`, `search`: the path that it goes on after",
    )));
    fields.extend(optional(bytes(
        "path",
        "`list`, `export`, `move`: the path; `sync`: the directory that it is laid over",
    )));
    fields
}

fn written() -> Vec<Field> {
    let mut fields = vec![field(
        "mode",
        or_null(one("mode")),
        "Null: that of the file replaced, else 0644.",
    )];
    fields.extend(bytes("path", "The path"));
    fields.push(maybe(
        "append",
        flag(),
        "Whether `content` is added at the end of what is there.",
    ));
    fields.extend(bytes("content", "What it will hold"));
    fields.extend(bytes("diff", "The expected change"));
    fields
}

fn patched() -> Vec<Field> {
    let mut fields = vec![
        field(
            "before",
            or_null(one("version")),
            "Null where there was no file.",
        ),
        field(
            "after",
            or_null(one("version")),
            "Null where there is no file any more.",
        ),
        field("hunks", list(one("hunk")), "Where its hunks land."),
        field("added", number(), "Lines."),
        field("removed", number(), "Lines."),
    ];
    fields.extend(bytes("path", "The path"));
    fields.extend(optional(bytes(
        "from",
        "What it was renamed or copied from",
    )));
    fields
}

fn version() -> Vec<Field> {
    vec![
        field("sha256", one("digest"), "Of the contents."),
        field("bytes", number(), "How many."),
        field("mode", one("mode"), "Permission bits."),
    ]
}

fn hunk() -> Vec<Field> {
    vec![
        field(
            "hunk",
            json!({ "type": "integer", "minimum": 1 }),
            "From 1.",
        ),
        field("line", number(), "Of the file before."),
        field(
            "offset",
            json!({ "type": "integer" }),
            "Lines away from the stated place.",
        ),
    ]
}

fn check() -> Vec<Field> {
    let mut fields = vec![
        field("pointer", text(), "Its place in the request (RFC 6901)."),
        maybe(
            "matches",
            text(),
            "A regular expression that is found in it.",
        ),
        maybe("lines", number(), "How many lines it has."),
        maybe("empty", flag(), "Whether it is empty."),
        maybe(
            "golden",
            text(),
            "The host file that it is held against, as the request says it.",
        ),
        maybe(
            "sha256",
            or_null(one("digest")),
            "Of that file; null where there is none.",
        ),
    ];
    fields.extend(optional(bytes("equals", "What it is")));
    fields.extend(optional(bytes("contains", "What it has in it")));
    fields
}

fn problem() -> Vec<Field> {
    vec![
        field("code", text(), "Kebab-case; see `specs/errors.md`."),
        field("pointer", text(), "Its place in the request (RFC 6901)."),
        field("message", text(), "One sentence."),
        field("help", or_null(text()), "One thing to try."),
        field("notes", list(text()), "More to know."),
    ]
}
