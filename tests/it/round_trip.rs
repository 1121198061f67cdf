//! What a request is written as reads back as the same request, in both syntaxes; noise is refused, never a crash.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use pyro::request::{
    Action, Base, Capture, CaptureSource, ChangedExpect, Combination, Command, Content, Cpus,
    Delete, Diff, Digest, Duration, Environment, Exec, Expect, Export, GuestPath, Keep, List,
    MachineChoice, Missing, Move, Overwrite, PatchMatch, PatchStep, Point, Pull, Read, Request,
    Reset, Retry, Search, SecretSource, Signal, Size, Snapshot, SnapshotName, Step, StepId,
    SyncStep, Syntax, TextExpect, Workspace, Write, WriteFile, canonical_json, emit, literal,
    parse,
};

use std::collections::{BTreeMap, BTreeSet};

/// Text with everything in it that a syntax may trip over.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z ]{0,8}",
        "(\"|'|\\\\|\n|\r|\t|#|=|\\[|\\]|\\{|\\}|\\$|\\.|,|\u{7f}|\u{1}|\0|é|\u{2028}|😀){0,6}",
        Just("\"\"\"".to_owned()),
        Just("'''".to_owned()),
        Just("\\u0041".to_owned()),
        Just("${HOME}".to_owned()),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// Text that a program can receive and in which no reference dangles.
fn argument() -> impl Strategy<Value = String> {
    text().prop_map(|text| literal(&text.replace('\0', "0")))
}

fn host_path() -> impl Strategy<Value = String> {
    argument().prop_map(|text| format!("p{text}"))
}

fn guest_file() -> impl Strategy<Value = GuestPath> {
    let part = prop_oneof!["[a-z.\"'\\\\ =]{1,6}x", "[a-zé\n\t]{1,6}"];
    vec(part, 1..3).prop_map(|parts| GuestPath::parse(parts.join("/")).expect("a path"))
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        3 => text().prop_map(Content::Text),
        1 => vec(any::<u8>(), 0..40).prop_map(Content::Bytes),
        1 => host_path().prop_map(Content::From),
    ]
}

fn expected() -> impl Strategy<Value = TextExpect> {
    let equals = content().prop_map(|content| match content {
        Content::Text(text) => Content::Text(literal(&text)),
        other @ (Content::Bytes(_) | Content::From(_)) => other,
    });
    (
        of(equals),
        vec(text().prop_map(|text| literal(&text)), 0..3),
        vec("[a-z]{1,3}(\\\\d\\+|\\.\\*|\"|')?", 0..3),
        of(0..100_u64),
        of(any::<bool>()),
        of(host_path()),
    )
        .prop_map(
            |(equals, contains, matches, lines, empty, golden)| TextExpect {
                equals,
                contains,
                matches,
                lines,
                empty,
                golden,
            },
        )
}

fn duration() -> impl Strategy<Value = Duration> {
    (1..100_000_000_u64).prop_map(Duration::from_millis)
}

fn size() -> impl Strategy<Value = Size> {
    (1..1_u64 << 40).prop_map(Size::from_bytes)
}

/// In variables of the same name, or of other ones.
fn secrets() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop_oneof![
        vec("[A-Z_]{1,6}", 0..3)
            .prop_map(|names| names.into_iter().map(|name| (name.clone(), name)).collect()),
        btree_map("[A-Za-z_][a-z0-9_]{0,6}", "[A-Z_]{1,6}", 0..3),
    ]
}

fn exec() -> impl Strategy<Value = (Action, Expect)> {
    let command = prop_oneof![
        (host_path(), vec(argument(), 0..4)).prop_map(|(program, arguments)| {
            Command::Argv(std::iter::once(program).chain(arguments).collect())
        }),
        argument().prop_map(Command::Shell),
    ];
    let exec = (
        command,
        of("[a-z]{1,4}(/[a-z]{1,4})?"),
        btree_map("[A-Z\"'. é]{1,6}", argument(), 0..3),
        secrets(),
        of(content()),
        of(duration()),
        of(size()),
    )
        .prop_map(|(command, cwd, env, secrets, stdin, timeout, max_output)| {
            Action::Exec(Exec {
                command,
                cwd,
                env,
                secrets,
                stdin,
                timeout,
                max_output,
            })
        });
    let expect = (
        of(vec(0..256_i32, 1..3)),
        of(expected()),
        of(expected()),
        of(duration()),
        of(any::<bool>()),
        of(proptest::sample::select(Signal::ALL.to_vec())),
        any::<bool>(),
    )
        .prop_map(
            |(exit, stdout, stderr, duration_under, timed_out, signal, fails)| Expect {
                exit,
                stdout,
                stderr,
                duration_under,
                timed_out,
                signal,
                fails,
                ..Expect::default()
            },
        );
    (exec, expect)
}

/// An action of another verb, which may be expected to fail at most.
fn plain() -> impl Strategy<Value = (Action, Expect)> {
    let file = (content(), any::<bool>(), of(0..0o1000_u32)).prop_map(|(content, append, mode)| {
        WriteFile {
            content,
            append,
            mode,
        }
    });
    let base = prop_oneof![
        Just(Base::Absent),
        any::<[u8; 32]>().prop_map(|bytes| Base::Digest(Digest(bytes)))
    ];
    let action = prop_oneof![
        (
            btree_map(guest_file(), file, 1..4),
            btree_map(guest_file(), base, 0..3)
        )
            .prop_map(|(files, base)| Action::Write(Write { files, base })),
        (
            content(),
            any::<bool>(),
            btree_map(guest_file(), any::<[u8; 32]>().prop_map(Digest), 0..3)
        )
            .prop_map(|(patch, exact, base)| {
                let matching = if exact {
                    PatchMatch::Exact
                } else {
                    PatchMatch::Unique
                };
                Action::Patch(PatchStep {
                    patch,
                    matching,
                    base,
                })
            }),
        (vec(guest_file(), 1..4), any::<bool>()).prop_map(|(paths, ignore)| {
            let missing = if ignore {
                Missing::Ignore
            } else {
                Missing::Error
            };
            Action::Delete(Delete { paths, missing })
        }),
        (guest_file(), guest_file()).prop_map(|(from, to)| Action::Move(Move { from, to })),
        snapshot_name().prop_map(|name| Action::Snapshot(Snapshot { name })),
        point().prop_map(|to| Action::Reset(Reset { to })),
        (
            host_path(),
            prop_oneof![guest_file(), Just(GuestPath::root())],
            vec("[a-z*!/\"]{1,5}", 0..3)
        )
            .prop_map(|(from, to, exclude)| Action::Sync(SyncStep { from, to, exclude })),
        (
            host_path(),
            vec("[a-z*!/\"]{1,5}", 0..3),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(to, exclude, exact, dry_run)| {
                let matching = if exact {
                    PatchMatch::Exact
                } else {
                    PatchMatch::Unique
                };
                Action::Pull(Pull {
                    to,
                    exclude,
                    matching,
                    dry_run,
                })
            }),
        (guest_file(), host_path(), any::<bool>()).prop_map(|(path, to, allow)| {
            let overwrite = if allow {
                Overwrite::Allow
            } else {
                Overwrite::Refuse
            };
            Action::Export(Export {
                path,
                to,
                overwrite,
            })
        }),
    ];
    let changed = prop_oneof![
        any::<bool>().prop_map(ChangedExpect::Nothing),
        vec("[a-z*!/\"]{1,5}", 1..3).prop_map(ChangedExpect::Only)
    ];
    (action, any::<bool>(), of(changed)).prop_map(|(action, fails, changed)| {
        let changes = !matches!(
            action,
            Action::Export(_) | Action::Pull(_) | Action::Snapshot(_)
        );
        let expect = Expect {
            fails,
            changed: changed.filter(|_| changes && !fails),
            ..Expect::default()
        };
        (action, expect)
    })
}

fn snapshot_name() -> impl Strategy<Value = SnapshotName> {
    "[a-z][a-z0-9_-]{0,8}".prop_filter_map("a name", |name| SnapshotName::parse(&name))
}

fn point() -> impl Strategy<Value = Point> {
    prop_oneof![
        Just(Point::Baseline),
        snapshot_name().prop_map(Point::Snapshot)
    ]
}

/// An action of a verb that has a text of its own.
fn shown() -> impl Strategy<Value = (Action, Expect)> {
    let range = (of(0..9_u64), of(size()));
    let read = (vec(guest_file(), 1..4), range, of(expected())).prop_map(
        |(paths, (offset, max_bytes), content)| {
            (
                Action::Read(Read {
                    paths,
                    offset,
                    max_bytes,
                }),
                Expect {
                    content,
                    ..Expect::default()
                },
            )
        },
    );
    let root = prop_oneof![guest_file(), Just(GuestPath::root())];
    let page = (of(1..=List::MOST), of(guest_file()));
    let list = (root, any::<bool>(), page, of(expected()))
        .prop_map(|(path, recursive, (max_entries, after), text)| {
            let list = List {
                path,
                recursive,
                max_entries,
                after,
            };
            (
                Action::List(list),
                Expect {
                    text,
                    ..Expect::default()
                },
            )
        })
        .boxed();
    let globs = vec("[a-z*!/\"]{1,5}", 0..3);
    let diff = (point(), globs, of(expected())).prop_map(|(against, exclude, text)| {
        (
            Action::Diff(Diff { against, exclude }),
            Expect {
                text,
                ..Expect::default()
            },
        )
    });
    prop_oneof![read.boxed(), list, search(), diff.boxed()]
}

fn search() -> BoxedStrategy<(Action, Expect)> {
    let globs = || vec("[a-z*!/\"]{1,5}", 0..3);
    let after = prop_oneof![
        guest_file(),
        Just(GuestPath::parse(b"odd \xff").expect("a path"))
    ];
    let bounds = (of(1..=Search::MOST), of(size()), of(after), of(1..9_u64));
    let search = (
        "[a-z.*]{0,5}",
        vec(guest_file(), 0..3),
        globs(),
        globs(),
        bounds,
    );
    (search, of(expected()))
        .prop_map(|((regex, paths, include, exclude, bounds), text)| {
            let (max_matches, max_bytes, after, after_line) = bounds;
            let search = Search {
                // A star has something before it.
                regex: format!("x{regex}").replace("**", "*"),
                paths,
                include,
                exclude,
                max_matches,
                max_bytes,
                after,
                after_line,
            };
            let expect = Expect {
                text,
                ..Expect::default()
            };
            (Action::Search(search), expect)
        })
        // A strategy of that size does not fit into the stack of a test beside the others.
        .boxed()
}

fn secret_source() -> impl Strategy<Value = SecretSource> {
    prop_oneof![
        "[A-Z_][A-Z0-9_]{0,9}".prop_map(SecretSource::Env),
        host_path().prop_map(SecretSource::File),
    ]
}

fn workspace() -> impl Strategy<Value = Workspace> {
    let environment = prop_oneof![
        Just(Environment::Host),
        host_path().prop_map(Environment::Dir)
    ];
    let machine = prop_oneof![Just(MachineChoice::Auto), Just(MachineChoice::Namespace)];
    (
        environment,
        machine,
        of(host_path()),
        (vec("[a-z*!/\"]{1,5}", 0..3), any::<bool>()),
        vec(host_path(), 0..3),
        of(size()),
        of(size()),
        of(1..4_194_304_u64),
        prop_oneof![Just(Keep::Never), Just(Keep::OnFailure), Just(Keep::Always)],
        of(duration()),
        (
            of((1..8_192_000_u64).prop_map(Cpus::from_millis)),
            of("[^\\p{Cc}]{1,120}"),
            btree_map("[A-Za-z0-9][A-Za-z0-9._-]{0,9}", "[^\\p{Cc}]{1,9}", 0..3),
            btree_map("[A-Za-z_][A-Za-z0-9_]{0,9}", secret_source(), 0..3),
        ),
    )
        .prop_map(
            |(
                environment,
                machine,
                seed,
                left_out,
                expose,
                memory,
                disk,
                processes,
                keep,
                ttl,
                (cpus, name, labels, secrets),
            )| {
                Workspace {
                    environment,
                    machine,
                    seed,
                    exclude: left_out.0,
                    respect_gitignore: left_out.1,
                    name,
                    labels,
                    secrets,
                    expose,
                    memory,
                    disk,
                    processes,
                    keep,
                    ttl,
                    cpus,
                }
            },
        )
}

/// Where a verb's values come from; other verbs neither capture nor repeat.
fn source(action: &Action) -> Option<CaptureSource> {
    match action {
        Action::Exec(_) => Some(CaptureSource::Stderr),
        Action::Read(_) => Some(CaptureSource::Content),
        Action::List(_) | Action::Search(_) | Action::Diff(_) => Some(CaptureSource::Text),
        Action::Write(_)
        | Action::Patch(_)
        | Action::Delete(_)
        | Action::Move(_)
        | Action::Sync(_)
        | Action::Export(_)
        | Action::Pull(_)
        | Action::Snapshot(_)
        | Action::Reset(_) => None,
    }
}

fn captured(action: &Action, regexes: BTreeMap<String, String>) -> BTreeMap<String, Capture> {
    let Some(source) = source(action) else {
        return BTreeMap::new();
    };
    let capture = |(name, regex)| (name, Capture { source, regex });
    regexes.into_iter().map(capture).collect()
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let action = prop_oneof![exec(), plain(), shown()];
    let retry = (2..=Retry::MOST, of(duration()));
    let retry = of(retry.prop_map(|(times, every)| Retry { times, every }));
    let capture = "(\\([a-z]\\+\\)|[a-z]{1,3}|'|\")";
    let capture = btree_map("[A-Za-z_][A-Za-z0-9_-]{0,5}", capture, 0..3);
    let step = (any::<bool>(), action, any::<bool>(), retry, capture);
    (
        of(prop_oneof![text(), "[a-z#:/. ]{1,12}"]),
        of(text()),
        of(text()),
        btree_map("[A-Za-z_][A-Za-z0-9_-]{0,5}", text(), 0..3),
        vec("[A-Za-z_][A-Za-z0-9_]{0,5}", 0..3),
        btree_map(
            "[A-Za-z_][A-Za-z0-9_-]{0,5}",
            "[a-z]{1,3}(\\d\\+|\"|')?",
            0..3,
        ),
        btree_map("[A-Za-z_][A-Za-z0-9_-]{0,5}", btree_set(text(), 1..4), 0..3),
        (workspace(), of("[^\\p{Cc}]{1,120}")),
        vec(step, 0..5),
    )
        .prop_map(
            |(
                schema,
                name,
                description,
                vars,
                env,
                redact,
                matrix,
                (workspace, existing),
                steps,
            )| {
                let list = |(name, values): (String, BTreeSet<String>)| {
                    (name, values.into_iter().collect())
                };
                let steps = steps.into_iter().enumerate().map(
                    |(index, (named, (action, expect), always, retry, capture))| Step {
                        id: named.then(|| StepId::parse(&format!("step-{index}")).expect("an id")),
                        expect,
                        always,
                        interpolate: false,
                        capture: captured(&action, capture),
                        retry: retry.filter(|_| source(&action).is_some()),
                        late: BTreeMap::new(),
                        action,
                    },
                );
                Request {
                    schema,
                    name,
                    description,
                    vars,
                    env,
                    workspace: match existing {
                        Some(_) => Workspace::default(),
                        None => workspace,
                    },
                    existing,
                    redact,
                    matrix: matrix.into_iter().map(list).collect(),
                    combination: Combination::default(),
                    left_out: BTreeSet::new(),
                    steps: steps.collect(),
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_schema_takes_what_is_written(request in request()) {
        let text = emit(&request, Syntax::Toml);
        let data = crate::schema::data(text.as_bytes(), Syntax::Toml).expect("it reads");
        prop_assert!(crate::schema::takes(&data), "the schema refuses {}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(request in request()) {
        let canonical = canonical_json(&request);
        for syntax in [Syntax::Toml, Syntax::Json] {
            let text = emit(&request, syntax);
            let (read, _) = parse("request", text.as_bytes(), syntax).map_err(|errors| {
                TestCaseError::fail(format!("{errors}\n{text}"))
            })?;
            prop_assert_eq!(&read, &request, "{}", text);
            prop_assert_eq!(&emit(&read, syntax), &text);
            prop_assert_eq!(canonical_json(&read), canonical.clone());
        }
        // The name of the schema is for editors, and no part of what was asked.
        let request = Request { schema: None, ..request };
        let (read, _) = parse("canonical", canonical.as_bytes(), Syntax::Json).expect("canonical JSON is a document");
        prop_assert_eq!(read, request);
    }

    #[test]
    fn noise_is_refused(bytes in vec(any::<u8>(), 0..200)) {
        for syntax in [Syntax::Toml, Syntax::Json] {
            prop_assert!(parse("noise", &bytes, syntax).is_err());
        }
    }

    /// Almost a document: a right one with a few bytes changed, and whatever is told can be drawn.
    #[test]
    fn near_misses_are_answered(request in request(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        for syntax in [Syntax::Toml, Syntax::Json] {
            let mut bytes = emit(&request, syntax).into_bytes();
            for (index, byte) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Err(errors) = parse("near", &bytes, syntax) {
                for error in &errors {
                    let place = errors.document().text.get(error.span.clone());
                    prop_assert!(place.is_some(), "{:?} is no place in the document: {}", error.span, error);
                }
                let told = Vec::<pyro::render::Finding>::from(&errors);
                prop_assert!(!pyro::render::findings(errors.document(), &told, pyro::render::Style::Coloured).is_empty());
                let data = pyro::render::findings_json(errors.document(), &told);
                prop_assert_eq!(data.as_array().map(Vec::len), Some(told.len()));
            }
        }
    }

    #[test]
    fn soup_is_answered(text in "([\\[\\]{}\"'=.,:#\n ]|step|exec|pyro|1|\\$\\{|expect|\\\\u){0,60}") {
        for syntax in [Syntax::Toml, Syntax::Json] {
            if let Err(errors) = parse("soup", text.as_bytes(), syntax) {
                let told = Vec::<pyro::render::Finding>::from(&errors);
                prop_assert!(!pyro::render::findings(errors.document(), &told, pyro::render::Style::Plain).is_empty());
            }
        }
    }
}
