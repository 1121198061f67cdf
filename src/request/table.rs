//! The table of verbs: every key of the document, said once.
//!
//! Validation, the lists of what is valid at a place and the reference all derive from it. A key that is not
//! built yet is not here.

use super::shape::{Key, Kind, Place, Shape, Verb};
use Shape::{
    Command, Cpus, Expect, Flag, List, Map, Names, Number, OneOrMore, Some as NotEmpty, SomeMap,
    Steps, Table, Text, TextOr, Version,
};

/// The whole document.
pub(crate) static REQUEST: Place = Place {
    doc: "One file says the whole interaction with a workspace.",
    keys: &[
        Key::new("pyro", Version, "The version of the format.").required(),
        Key::new(
            "$schema",
            Text(Kind::Prose),
            "The JSON Schema of the document, for editors; not read.",
        ),
        Key::new("name", Text(Kind::Prose), "What the request is called."),
        Key::new("description", Text(Kind::Prose), "What the request is for."),
        Key::new(
            "vars",
            Map(Kind::VarName, &Text(Kind::VarValue)),
            "Variables and their defaults: `${vars.NAME}` is replaced by the value, which `--var NAME=VALUE` overrides.",
        ),
        Key::new(
            "env",
            List(&Text(Kind::HostVariable)),
            "Names of variables of the host's environment that the request may read as `${env.NAME}`; not for secrets.",
        )
        .default("none"),
        Key::new(
            "workspace",
            TextOr(Kind::ShortText, &WORKSPACE),
            "The workspace to make; or the name or id of one that lives, which the steps are run in.",
        )
        .default("an empty one on the host's programs"),
        Key::new(
            "matrix",
            Map(Kind::VarName, &NotEmpty(&Text(Kind::VarValue))),
            "Values by name: the request runs once for each combination, with `${matrix.NAME}` replaced by the value.",
        )
        .default("it runs once"),
        Key::new(
            "redact",
            Map(Kind::VarName, &Text(Kind::Regex)),
            "What a text is rid of before it is compared with a golden: each match, or its first group, becomes `[NAME]`.",
        )
        .default("escape sequences, ids, temporary paths and measured times are taken out"),
        Key::new("step", Steps, "The steps, in the order they run."),
    ],
    one_of: &[],
};

/// `workspace`.
pub(crate) static WORKSPACE: Place = Place {
    doc: "What the steps find.",
    keys: &[
        Key::new(
            "environment",
            Text(Kind::Environment),
            "Where programs come from: `host` shows the host's own, read-only; `dir:PATH` is an unpacked root file system on the host.",
        )
        .default("`host`"),
        Key::new(
            "machine",
            Text(Kind::Word(&["auto", "namespace"])),
            "The kind of sandbox; `auto` is the strongest that works here.",
        )
        .default("`auto`"),
        Key::new(
            "seed",
            Text(Kind::HostPath),
            "A host directory or tar (plain, or packed with gzip or zstd) that `/workspace` is filled from, relative to the request file.",
        )
        .default("`/workspace` is empty"),
        Key::new(
            "exclude",
            List(&Text(Kind::Glob)),
            "Gitignore patterns of what is left out of the seed, relative to it.",
        )
        .default("none"),
        Key::new(
            "respect_gitignore",
            Flag,
            "Whether what the seed's own `.gitignore` files name is left out as well.",
        )
        .default("`false`"),
        Key::new(
            "name",
            Text(Kind::ShortText),
            "What the workspace is called: 1 to 120 characters on one line. Where it can be one, it is the host name too.",
        )
        .default("none"),
        Key::new(
            "labels",
            Map(Kind::LabelKey, &Text(Kind::ShortText)),
            "What else is to be known of a workspace that lives on.",
        )
        .default("none"),
        Key::new(
            "expose",
            List(&Text(Kind::HostPath)),
            "Host paths shown read-only at the same place; `~/` is your home.",
        )
        .default("none"),
        Key::new(
            "secrets",
            Map(Kind::SecretName, &Text(Kind::SecretSource)),
            "Values that programs get only by `secrets` of their step, and that are taken out of everything shown or stored. Only where they come from is said here: `env:NAME` is a variable of the host, `file:PATH` a host file.",
        )
        .default("none"),
        Key::new("cpus", Cpus, "Processors that all processes together may keep busy: a whole number, or text with a fraction.")
            .default("all of the host's"),
        Key::new("memory", Text(Kind::Size), "Memory of all processes together.").default("half of the host's memory"),
        Key::new("disk", Text(Kind::Size), "What the workspace may add to the disk.").default("`10GiB`, or a quarter of the free space"),
        Key::new(
            "processes",
            Number(1, 4_194_304),
            "Processes and threads at the same time.",
        )
        .default("`1024`"),
        Key::new(
            "keep",
            Text(Kind::Word(&["never", "on-failure", "always"])),
            "Whether `/workspace` is kept in the state directory when the run is over, as it is then; `on-failure` keeps it where the run did not pass.",
        )
        .default("`never`"),
        Key::new(
            "ttl",
            Text(Kind::Duration),
            "How long it is kept, at most `30d`; a later command removes it after that.",
        )
        .default("`1d`"),
    ],
    one_of: &[],
};

/// What any step may have.
pub(crate) static COMMON: &[Key] = &[
    Key::new(
        "id",
        Text(Kind::StepId),
        "The step's name, unique in the request: `[a-z][a-z0-9_-]{0,63}`.",
    )
    .default("its number"),
    Key::new(
        "expect",
        Expect,
        "What must come of the step; every expectation that fails is reported.",
    ),
    Key::new(
        "always",
        Flag,
        "Whether the step runs after an earlier failure too.",
    )
    .default("`false`"),
    Key::new(
        "interpolate",
        Flag,
        "Whether `${...}` counts in the text of `write`, `patch` and `stdin` as well.",
    )
    .default("`false`"),
];

/// What may be expected of any step.
pub(crate) static FAILS: Key = Key::new(
    "fails",
    Flag,
    "pyro must refuse the step; for `exec`, the program must not start.",
)
.default("`false`");

/// Bytes that are not given as text.
pub(crate) static CONTENT: Place = Place {
    doc: "Bytes from elsewhere.",
    keys: &[FROM, BASE64],
    one_of: &["from", "base64"],
};

const FROM: Key = Key::new(
    "from",
    Text(Kind::HostPath),
    "A host file, relative to the request file.",
);
const BASE64: Key = Key::new(
    "base64",
    Text(Kind::Base64),
    "Bytes that are not text, in base64.",
);

/// One file of `write`.
pub(crate) static FILE: Place = Place {
    doc: "A file of `write`.",
    keys: &[
        Key::new("text", Text(Kind::Payload), "What the file holds, as text."),
        FROM,
        BASE64,
        Key::new(
            "append",
            TextOr(Kind::Payload, &CONTENT),
            "What is added at the end of the file, which is made where it is missing.",
        ),
        Key::new(
            "mode",
            Text(Kind::Mode),
            "Permission bits, as text in octal: `\"0755\"`.",
        )
        .default("that of the file replaced, else `\"0644\"`"),
    ],
    one_of: &["text", "from", "base64", "append"],
};

/// What may be expected of a text.
pub(crate) static TEXT_EXPECT: Place = Place {
    doc: "What must hold of a text. Exact: nothing is trimmed.",
    keys: &[
        Key::new("equals", TextOr(Kind::Expected, &CONTENT), "It is this."),
        Key::new(
            "contains",
            OneOrMore(&Text(Kind::Expected)),
            "All of these are in it.",
        ),
        Key::new(
            "matches",
            OneOrMore(&Text(Kind::Regex)),
            "Each of these regular expressions is found in it, at any place.",
        ),
        Key::new("lines", Number(0, i64::MAX), "It has this many lines."),
        Key::new("empty", Flag, "It is empty, or is not."),
        Key::new(
            "golden",
            Text(Kind::HostPath),
            "It is what this host file holds, below the request's directory; `pyro apply --update-goldens` writes it.",
        ),
    ],
    one_of: &[],
};

/// What a value is captured by.
pub(crate) static CAPTURE: Place = Place {
    doc: "What is captured: the first match counts, nothing is trimmed.",
    keys: &[Key::new(
        "regex",
        Text(Kind::Regex),
        "The value is its first group, or the whole match where it has no group.",
    )
    .required()],
    one_of: &[],
};

/// `capture.NAME` of `exec`.
pub(crate) static CAPTURE_EXEC: Place = Place {
    doc: "A value of an output.",
    keys: &[
        Key::new("stdout", Table(&CAPTURE), "From standard output."),
        Key::new("stderr", Table(&CAPTURE), "From standard error."),
    ],
    one_of: &["stdout", "stderr"],
};

/// `capture.NAME` of `read`.
pub(crate) static CAPTURE_READ: Place = Place {
    doc: "A value of what was read.",
    keys: &[Key::new("content", Table(&CAPTURE), "From what was read.")],
    one_of: &["content"],
};

/// A path that is no text.
pub(crate) static PATH_BYTES: Place = Place {
    doc: "A path that is no text.",
    keys: &[Key::new(
        "base64",
        Text(Kind::GuestFileBase64),
        "The path's bytes, in base64.",
    )],
    one_of: &["base64"],
};

const AFTER: Key = Key::new(
    "after",
    TextOr(Kind::GuestFile, &PATH_BYTES),
    "Goes on after this path, in the order of paths: what an answer that was cut off says.",
)
.default("from the first path on");

/// `capture.NAME` of `list`, `search` and `diff`.
pub(crate) static CAPTURE_TEXT: Place = Place {
    doc: "A value of the step's text.",
    keys: &[Key::new("text", Table(&CAPTURE), "From the step's text.")],
    one_of: &["text"],
};

const CAPTURED: &str = "Values for later steps, which use them as `${step.ID.NAME}`.";

/// `retry`.
pub(crate) static RETRY: Place = Place {
    doc: "How often a step is tried before it counts as failed.",
    keys: &[
        Key::new(
            "times",
            Number(2, super::Retry::MOST as i64),
            "How often at most, the first time included.",
        )
        .required(),
        Key::new(
            "every",
            Text(Kind::Duration),
            "How long to wait from the end of one attempt to the next; at most `10m`.",
        )
        .default("`1s`"),
    ],
    one_of: &[],
};

const RETRIED: Key = Key::new(
    "retry",
    Table(&RETRY),
    "Tries the step again while it fails; only the last attempt counts.",
);

/// The verbs, in the order of the reference.
pub(crate) static VERBS: &[Verb] = &[
    Verb {
        key: Key::new(
            "exec",
            Command,
            "Runs a program: a list is the program and its arguments, without a shell; text is a line for `/bin/sh -c`.",
        ),
        siblings: &[
            Key::new("cwd", Text(Kind::Cwd), "The directory it runs in.").default("`/workspace`"),
            Key::new(
                "env",
                Map(Kind::EnvName, &Text(Kind::Argument)),
                "Added to the workspace's environment.",
            ),
            Key::new(
                "secrets",
                Names(Kind::SecretName),
                "Secrets of the workspace that it finds in variables of the same name; a table says other variables, `SECRET = \"VARIABLE\"`.",
            )
            .default("none"),
            Key::new("stdin", TextOr(Kind::Payload, &CONTENT), "Standard input.").default("`/dev/null`"),
            Key::new(
                "timeout",
                Text(Kind::Duration),
                "After this long the program and all it started are ended.",
            )
            .default("`10m`"),
            Key::new(
                "max_output",
                Text(Kind::Size),
                "How much of each output stream the receipt keeps, half from its head and half from its tail.",
            ),
            Key::new("capture", Map(Kind::VarName, &Table(&CAPTURE_EXEC)), CAPTURED),
            RETRIED,
        ],
        expect: &[
            Key::new("exit", OneOrMore(&Number(0, 255)), "The exit codes that are right.")
                .default("`0`, unless `timed_out`, `signal` or `fails` is expected"),
            Key::new("stdout", Table(&TEXT_EXPECT), "Standard output."),
            Key::new("stderr", Table(&TEXT_EXPECT), "Standard error."),
            Key::new("timed_out", Flag, "It is ended by `timeout`, or is not."),
            Key::new("signal", Text(Kind::Signal), "It is ended by this signal: `TERM`, `KILL`, `SEGV`..."),
            Key::new("duration_under", Text(Kind::Duration), "It takes less than this."),
            CHANGES,
        ],
    },
    Verb {
        key: Key::new(
            "write",
            SomeMap(Kind::GuestFile, &TextOr(Kind::Payload, &FILE)),
            "Writes files, all of them or none; directories on the way are made.",
        ),
        siblings: &[Key::new(
            "base",
            Map(Kind::GuestFile, &Text(Kind::Base)),
            "What files of the step must be beforehand: PATH = `sha256:` and 64 hex digits, or `absent`.",
        )],
        expect: &[CHANGES],
    },
    Verb {
        key: Key::new(
            "patch",
            TextOr(Kind::Payload, &CONTENT),
            "Applies a patch (a unified diff, or the `*** Begin Patch` form), all files or none.",
        ),
        siblings: &[
            Key::new(
                "match",
                Text(Kind::Word(&["unique", "exact"])),
                "Where hunks may land: `unique` is at the stated line or else the only place where they fit, `exact` is at the stated line.",
            )
            .default("`unique`"),
            Key::new(
                "base",
                Map(Kind::GuestFile, &Text(Kind::Digest)),
                "What files must be beforehand: PATH = `sha256:` and 64 hex digits.",
            ),
        ],
        expect: &[CHANGES],
    },
    Verb {
        key: Key::new(
            "delete",
            NotEmpty(&Text(Kind::GuestFile)),
            "Deletes files, links or whole directories, all of them or none.",
        ),
        siblings: &[
            Key::new(
                "missing",
                Text(Kind::Word(&["error", "ignore"])),
                "What to do about a path that is not there.",
            )
            .default("`error`"),
        ],
        expect: &[CHANGES],
    },
    Verb {
        key: Key::new(
            "move",
            Text(Kind::GuestFile),
            "Gives a file, a link or a whole directory another path; never over anything, directories on the way are made.",
        ),
        siblings: &[
            Key::new("to", Text(Kind::GuestFile), "The path it becomes: nothing is there yet.").required(),
        ],
        expect: &[CHANGES],
    },
    Verb {
        key: Key::new("read", OneOrMore(&Text(Kind::GuestFile)), "Reads files into the receipt."),
        siblings: &[
            Key::new("offset", Number(0, i64::MAX), "The first byte of each file that is read, from 0.").default("`0`"),
            Key::new("max_bytes", Text(Kind::Size), "How much of each file is read.").default("`64KiB`"),
            Key::new("capture", Map(Kind::VarName, &Table(&CAPTURE_READ)), CAPTURED),
            RETRIED,
        ],
        expect: &[Key::new("content", Table(&TEXT_EXPECT), "What was read.")],
    },
    Verb {
        key: Key::new("list", Text(Kind::GuestPath), "Lists a directory."),
        siblings: &[
            Key::new("recursive", Flag, "Whether to descend.").default("`false`"),
            Key::new("max_entries", Number(1, super::List::MOST as i64), "How many paths are told at most.")
                .default("`10000`"),
            AFTER,
            Key::new("capture", Map(Kind::VarName, &Table(&CAPTURE_TEXT)), CAPTURED),
            RETRIED,
        ],
        expect: &[Key::new("text", Table(&TEXT_EXPECT), "The listing, one path a line.")],
    },
    Verb {
        key: Key::new(
            "search",
            Text(Kind::Regex),
            "Finds the lines that a regular expression matches, in the files of the workspace; no link is followed.",
        ),
        siblings: &[
            Key::new("in", OneOrMore(&Text(Kind::GuestPath)), "Files, or directories with all that is below them.")
                .default("`/workspace`"),
            Key::new("include", List(&Text(Kind::Glob)), "Gitignore patterns of the files that are searched.")
                .default("all of them"),
            Key::new("exclude", List(&Text(Kind::Glob)), "Gitignore patterns of paths to leave out.")
                .default("none"),
            Key::new("max_matches", Number(1, super::Search::MOST as i64), "How many lines are told at most.")
                .default("`1000`"),
            Key::new("max_bytes", Text(Kind::Size), "How many bytes of lines are told at most.").default("`1MiB`"),
            AFTER,
            Key::new("after_line", Number(1, i64::MAX), "Goes on in the file `after`, after this line.")
                .default("it goes on with the next file"),
            Key::new("capture", Map(Kind::VarName, &Table(&CAPTURE_TEXT)), CAPTURED),
            RETRIED,
        ],
        expect: &[Key::new("text", Table(&TEXT_EXPECT), "The lines, each as `PATH:LINE:TEXT`.")],
    },
    Verb {
        key: Key::new(
            "diff",
            Text(Kind::Point),
            "Shows what changed since the workspace was filled (`baseline`), or since a snapshot of that name.",
        ),
        siblings: &[
            Key::new("exclude", List(&Text(Kind::Glob)), "Gitignore patterns of paths to leave out.")
                .default("none"),
            Key::new("capture", Map(Kind::VarName, &Table(&CAPTURE_TEXT)), CAPTURED),
            RETRIED,
        ],
        expect: &[Key::new("text", Table(&TEXT_EXPECT), "The differences, as a unified diff.")],
    },
    Verb {
        key: Key::new(
            "sync",
            Text(Kind::HostPath),
            "Lays a host directory or tar (plain, or packed with gzip or zstd) over what is in the workspace, all of it or nothing; nothing is deleted.",
        ),
        siblings: &[
            Key::new(
                "to",
                Text(Kind::GuestPath),
                "The directory that it is laid over; it is made where it is missing.",
            )
            .default("`/workspace`"),
            Key::new(
                "exclude",
                List(&Text(Kind::Glob)),
                "Gitignore patterns of what is left out, relative to the source.",
            )
            .default("none"),
        ],
        expect: &[CHANGES],
    },
    Verb {
        key: Key::new("export", Text(Kind::GuestPath), "Copies a file or directory to the host."),
        siblings: &[
            Key::new(
                "to",
                Text(Kind::HostPath),
                "The host path it becomes, relative to the request file.",
            )
            .required(),
            Key::new("overwrite", Flag, "Whether an existing host path is replaced.").default("`false`"),
        ],
        expect: &[],
    },
    Verb {
        key: Key::new(
            "pull",
            Text(Kind::HostPath),
            "Brings what changed in the workspace since it was filled, or since the last `pull`, home into a host directory: all of it or nothing.",
        ),
        siblings: &[
            Key::new(
                "exclude",
                List(&Text(Kind::Glob)),
                "Gitignore patterns of changed paths that stay in the workspace; those of `.git` always do.",
            )
            .default("none"),
            Key::new(
                "match",
                Text(Kind::Word(&["unique", "exact"])),
                "What is done about a file that was changed on the host as well: `unique` merges it where each change has a place of its own, `exact` refuses.",
            )
            .default("`unique`"),
            Key::new(
                "dry_run",
                Flag,
                "Whether nothing is written, and the receipt tells what would be.",
            )
            .default("`false`"),
        ],
        expect: &[],
    },
    Verb {
        key: Key::new(
            "snapshot",
            Text(Kind::SnapshotName),
            "Keeps what the workspace is now, under a name for `reset` and `diff`.",
        ),
        siblings: &[],
        expect: &[],
    },
    Verb {
        key: Key::new(
            "reset",
            Text(Kind::Point),
            "Puts the workspace back: as it was before the first step (`baseline`), or at a snapshot. What runs in it is ended.",
        ),
        siblings: &[],
        expect: &[CHANGES],
    },
];

/// What may be expected of a step that can change the workspace.
static CHANGED: Place = Place {
    doc: "What the step may change in `/workspace`, whoever did it meanwhile. Times alone are no change, and a directory is changed by what is in it.",
    keys: &[
        Key::new(
            "only",
            NotEmpty(&Text(Kind::Glob)),
            "Gitignore patterns of what may be changed; nothing else is.",
        ),
        Key::new("none", Flag, "Nothing is changed, or something is."),
    ],
    one_of: &["only", "none"],
};
const CHANGES: Key = Key::new(
    "changed",
    Table(&CHANGED),
    "What the step may change in the workspace.",
);

/// The verb of that name.
pub(crate) fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.key.name == name)
}

impl Verb {
    /// The keys that may stand in a step of this verb, besides the verb.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.siblings.iter().chain(COMMON)
    }
    /// The keys of `expect` for this verb.
    pub(crate) fn expectations(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.expect.iter().chain([&FAILS])
    }
}
