use super::{
    EntryKind, EnvironmentFact, ExposeFact, FileFact, ParentFact, SeedFact, Surroundings,
    TargetFact, gather,
};
use crate::request::{
    Action, Content, Environment, Export, GuestPath, Overwrite, PatchMatch, PatchStep, Read,
    Request, Step, Write, WriteFile,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn around(base: &Path) -> Surroundings {
    Surroundings {
        base_dir: base.to_path_buf(),
        state_dir: base.join("state"),
        home: Some(base.join("home")),
    }
}

fn step(action: Action) -> Step {
    Step {
        id: None,
        action,
        expect: crate::request::Expect::default(),
        always: false,
        interpolate: false,
        capture: [].into(),
        retry: None,
        late: [].into(),
    }
}

fn export(to: &str) -> Step {
    step(Action::Export(Export {
        path: GuestPath::root(),
        to: to.to_owned(),
        overwrite: Overwrite::Refuse,
    }))
}

fn write(path: &str, content: Content) -> Step {
    let path = GuestPath::parse(path).expect("a good path");
    let file = WriteFile {
        append: false,
        content,
        mode: None,
    };
    step(Action::Write(Write {
        files: [(path, file)].into(),
        base: Default::default(),
    }))
}

fn disk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("seed/sub/deep")).expect("directories");
    fs::create_dir_all(dir.path().join("home/tools")).expect("directories");
    for (path, text) in [
        ("seed/a.txt", "a\n"),
        ("seed/b.txt", "b\n"),
        ("seed/sub/c.txt", "c\n"),
        ("from.txt", "from\n"),
    ] {
        fs::write(dir.path().join(path), text).expect("a file");
    }
    symlink("../a.txt", dir.path().join("seed/sub/link")).expect("a link");
    symlink("..", dir.path().join("seed/sub/deep/loop")).expect("a link");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        dir.path().join("seed/pipe"),
        rustix::fs::Mode::RUSR,
    )
    .expect("a fifo");
    dir
}

fn listing(facts: &super::Facts) -> &super::SeedListing {
    match &facts.seed {
        Some(SeedFact::Directory(listing)) => listing,
        other => panic!("a listing, not {other:?}"),
    }
}

#[test]
fn the_seed_is_walked_and_only_named_files_are_read() {
    let dir = disk();
    let patch = "--- a/sub/c.txt\n+++ b/sub/c.txt\n@@ -1 +1 @@\n-c\n+C\n";
    let mut request = Request {
        steps: vec![
            write("a.txt", Content::From("from.txt".into())),
            step(Action::Patch(PatchStep {
                patch: Content::Text(patch.into()),
                matching: PatchMatch::Unique,
                base: [].into(),
            })),
            step(Action::Read(Read {
                paths: vec![GuestPath::parse("sub/link").expect("a good path")],
                offset: None,
                max_bytes: None,
            })),
        ],
        ..Request::default()
    };
    request.workspace.seed = Some("seed".into());
    let facts = gather(&request, &around(dir.path()));
    let listing = listing(&facts);
    let paths: Vec<_> = listing.entries.iter().map(|e| e.path.lossy()).collect();
    assert_eq!(
        paths,
        [
            "a.txt",
            "b.txt",
            "pipe",
            "sub",
            "sub/c.txt",
            "sub/deep",
            "sub/deep/loop",
            "sub/link"
        ]
    );
    let kind = |path: &[u8]| listing.entry(path).map(|entry| entry.kind.clone());
    assert_eq!(kind(b"pipe"), Some(EntryKind::Fifo));
    assert_eq!(
        kind(b"sub/link"),
        Some(EntryKind::Symlink("../a.txt".into()))
    );
    let read: Vec<_> = listing.contents.iter().map(|c| c.path.lossy()).collect();
    assert_eq!(read, ["a.txt", "sub/c.txt"], "not b.txt, and no link");
    assert_eq!(
        listing.content(b"sub/c.txt"),
        Some(&FileFact::Content("c\n".into()))
    );
    assert_eq!(
        facts.from.get("from.txt"),
        Some(&FileFact::Content("from\n".into()))
    );
}

#[test]
fn a_fifo_to_read_from_does_not_hang() {
    let dir = disk();
    let request = Request {
        steps: vec![
            write("a", Content::From("seed/pipe".into())),
            write("b", Content::From("seed".into())),
            write("c", Content::From("nowhere/x".into())),
        ],
        ..Request::default()
    };
    let facts = gather(&request, &around(dir.path()));
    assert_eq!(facts.from["seed/pipe"], FileFact::NotAFile("fifo".into()));
    assert_eq!(facts.from["seed"], FileFact::NotAFile("directory".into()));
    assert_eq!(facts.from["nowhere/x"], FileFact::Missing);
}

#[test]
fn pyros_own_state_is_found_and_not_walked() {
    let dir = disk();
    fs::create_dir_all(dir.path().join("seed/state/runs")).expect("directories");
    let mut around = around(dir.path());
    around.state_dir = dir.path().join("seed/state");
    let mut request = Request::default();
    request.workspace.seed = Some("seed".into());
    request.workspace.expose = vec!["seed".into(), "seed/state/runs".into()];
    let facts = gather(&request, &around);
    let listing = listing(&facts);
    assert_eq!(listing.contains_state, Some("state".into()));
    assert!(listing.entry(b"state/runs").is_none());
    for path in ["seed", "seed/state/runs"] {
        assert!(
            matches!(
                facts.expose[path],
                ExposeFact::Found {
                    touches_state: true,
                    ..
                }
            ),
            "{path}"
        );
    }
}

#[test]
fn what_stands_at_an_export_is_told() {
    let dir = disk();
    symlink("from.txt", dir.path().join("link.txt")).expect("a link");
    symlink("seed", dir.path().join("linked")).expect("a link");
    let targets = [
        "from.txt",
        "seed",
        "link.txt",
        "new.txt",
        "x/y/new.txt",
        "from.txt/new",
        "linked/new",
        "seed/../x/../new.txt",
    ];
    let request = Request {
        steps: targets.map(export).to_vec(),
        ..Request::default()
    };
    let facts = gather(&request, &around(dir.path()));
    let real = dir.path().canonicalize().expect("it is there");
    let exports = &facts.exports;
    assert_eq!(exports["from.txt"].target, TargetFact::File(5));
    assert_eq!(exports["seed"].target, TargetFact::Directory);
    assert_eq!(
        exports["link.txt"].target,
        TargetFact::Symlink("from.txt".into())
    );
    assert_eq!(exports["new.txt"].target, TargetFact::Missing);
    let parent = |exists| ParentFact::Directory {
        exists,
        writable: true,
    };
    assert_eq!(exports["new.txt"].parent, parent(true));
    assert_eq!(exports["x/y/new.txt"].parent, parent(false));
    assert_eq!(
        exports["from.txt/new"].parent,
        ParentFact::NotADirectory(real.join("from.txt"))
    );
    assert_eq!(exports["linked/new"].linked_parent, Some("linked".into()));
    assert_eq!(exports["linked/new"].path, real.join("seed/new"));
    assert_eq!(exports["seed/../x/../new.txt"].path, real.join("new.txt"));
}

#[test]
fn environments_and_homes_are_resolved() {
    let dir = disk();
    fs::create_dir_all(dir.path().join("rootfs/usr/bin")).expect("directories");
    symlink("dash", dir.path().join("rootfs/usr/bin/sh")).expect("a link");
    let mut request = Request::default();
    request.workspace.environment = Environment::Dir("rootfs".into());
    request.workspace.expose = vec!["~/tools".into(), "~nobody".into()];
    let facts = gather(&request, &around(dir.path()));
    let real = dir.path().canonicalize().expect("it is there");
    assert_eq!(
        facts.environment,
        Some(EnvironmentFact::Directory {
            path: real.join("rootfs"),
            has_programs: true,
            has_shell: true,
            contains_state: false,
        })
    );
    assert_eq!(
        facts.expose["~/tools"],
        ExposeFact::Found {
            path: real.join("home/tools"),
            touches_state: false,
        }
    );
    assert!(matches!(facts.expose["~nobody"], ExposeFact::Missing(_)));
    assert!(facts.host.cores > 0 && facts.host.memory > 0 && facts.host.disk_free.is_some());
}

#[test]
fn facts_are_data() {
    let dir = disk();
    let mut request = Request {
        steps: vec![
            export("new.txt"),
            write("a", Content::From("from.txt".into())),
        ],
        ..Request::default()
    };
    request.workspace.seed = Some("seed".into());
    let facts = gather(&request, &around(dir.path()));
    let text = serde_json::to_string(&facts).expect("facts are data");
    assert_eq!(
        serde_json::from_str::<super::Facts>(&text).expect("the same"),
        facts
    );
}
