//! `sync` against strangers and against time: archives that mean harm, sources that change, runs that are cut off.

use crate::harness::{World, wait_for};
use flate2::Compression;
use flate2::write::GzEncoder;
use pyro::machine::Cancel;
use pyro::receipt::{Outcome, Receipt, StepOutcome, StepReport};
use pyro::{Event, Options, Request, SavedPlan, Step};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tar::{Builder, EntryType as E, Header};

/// An entry of an archive, whatever its name says.
fn entry(kind: E, name: &[u8], link: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    let mut block = header.as_bytes().to_vec();
    block.extend_from_slice(bytes);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// Kind, name, target and contents.
type Entry<'a> = (E, &'a [u8], &'a [u8], &'a [u8]);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (entries.iter())
        .flat_map(|(kind, name, link, bytes)| entry(*kind, name, link, bytes))
        .collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// One entry more than there may be, in a file of few megabytes.
fn a_million_entries() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let mut block = entry(E::Regular, b"0000000", b"", b"");
    for number in 0..=1_000_000_u32 {
        block[..7].copy_from_slice(format!("{number:07}").as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        packed.write_all(&block).expect("memory");
    }
    packed.write_all(&[0; 1024]).expect("memory");
    packed.finish().expect("memory")
}

// proves: S32
#[test]
fn hostile_archives_are_refused_before_anything_runs() {
    let good = (E::Regular, &b"first"[..], &b""[..], &b"x"[..]);
    let whole = archive(&[good, (E::Regular, b"second", b"", &[1; 3000])]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "up",
            archive(&[good, (E::Regular, b"a/../../up", b"", b"x")]),
            "leads out by `..`",
        ),
        (
            "absolute",
            archive(&[good, (E::Regular, b"/etc/cron.d/x", b"", b"x")]),
            "is an absolute name",
        ),
        (
            "through a link out",
            archive(&[
                (E::Symlink, b"out", b"/etc", b""),
                (E::Regular, b"out/passwd", b"", b"x"),
            ]),
            "lies behind a link",
        ),
        (
            "through a link inside",
            archive(&[
                (E::Symlink, b"in", b".", b""),
                (E::Directory, b"in/dir", b"", b""),
            ]),
            "lies behind a link",
        ),
        (
            "below a file",
            archive(&[good, (E::Regular, b"first/below", b"", b"x")]),
            "lies below a file",
        ),
        (
            "a link to what is not there",
            archive(&[good, (E::Link, b"shadow", b"etc/shadow", b"")]),
            "is another name of what no earlier entry is",
        ),
        (
            "a link out",
            archive(&[good, (E::Link, b"shadow", b"../etc/shadow", b"")]),
            "leads out by `..`",
        ),
        (
            "a name twice",
            archive(&[good, (E::Regular, b"./first", b"", b"y")]),
            "is in the archive twice",
        ),
        (
            "a link over a file",
            archive(&[good, (E::Symlink, b"first", b"/etc", b"")]),
            "is in the archive twice",
        ),
        (
            "no kind",
            archive(&[good, (E::new(b'Z'), b"odd", b"", b"")]),
            "is of a kind that is not known",
        ),
        (
            "cut off",
            whole[..whole.len() - 2000].to_vec(),
            "it is damaged",
        ),
        (
            "without its end",
            whole[..whole.len() - 1024].to_vec(),
            "it is damaged",
        ),
        (
            "terabytes of holes",
            include_bytes!("../../fixtures/plan_error/seed_archive_bomb/seed.tar.gz").to_vec(),
            "which is all that there may be",
        ),
    ];
    for (what, bytes, told) in cases {
        never_runs(what, bytes, told);
    }
}

// Of its own: reading it takes a while.
#[test]
fn a_million_entries_are_refused_before_anything_runs() {
    let told = "more than 1000000 entries";
    never_runs("a million entries", a_million_entries(), told);
}

#[track_caller]
fn never_runs(what: &str, bytes: Vec<u8>, told: &str) {
    let world = World::with("pyro = 1\n[[step]]\nsync = \"other\"\n");
    world.write("other", bytes);
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(3).text();
    assert!(
        ran.contains("error[sync-archive]") && ran.contains(told),
        "{what}: {ran}"
    );
    assert!(!world.state().join("receipts").exists(), "{what}");
}

/// What a run of these steps needs to know.
struct Place {
    world: World,
    options: Options,
}

impl Place {
    fn new() -> Self {
        let world = World::new();
        world.write("seed/kept/a", "old\n");
        world.write("seed/b", "old\n");
        world.write("from/kept/a", "new\n");
        world.write("from/b", "new\n");
        world.write("from/c", "new\n");
        let options = Options {
            base_dir: world.work(),
            state_dir: Some(world.state()),
            ..Options::default()
        };
        Self { world, options }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.world.work().join(name)
    }

    /// As an archive, from here on.
    fn pack(&self, name: &str) {
        let mut builder = Builder::new(fs::File::create(self.at(name)).expect("a new file"));
        builder
            .append_dir_all(".", self.at("from"))
            .expect("packed");
        builder.finish().expect("packed");
    }

    fn request(&self, from: &str) -> Request {
        let sync = Step::sync(from).exclude("*.o").id("lay");
        let request = Request::new("host").seed("seed").step(sync);
        request.build().expect("a request")
    }
}

fn the_step(receipt: &Receipt) -> &StepReport {
    receipt.steps.first().expect("one step")
}

#[track_caller]
fn refused(receipt: &Receipt, code: &str) {
    let step = the_step(receipt);
    let refusal = step.refusal.as_ref().expect("it is refused");
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert_eq!(
        (receipt.outcome, step.sync.as_ref()),
        (Outcome::Failed, None)
    );
    assert!(receipt.changes.is_empty(), "{:?}", receipt.changes);
}

// proves: S33
#[test]
fn an_archive_that_is_another_by_then_is_refused() {
    let place = Place::new();
    place.pack("from.tar");
    let plan = place
        .request("from.tar")
        .plan(&place.options)
        .expect("it plans");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    assert_eq!(ran.receipt.outcome, Outcome::Passed);
    let sync = the_step(&ran.receipt).sync.as_ref().expect("laid over");
    assert_eq!((sync.entries, sync.bytes), (4, 12));
    fs::write(place.at("from/b"), "evil").expect("written");
    place.pack("from.tar");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    refused(&ran.receipt, "sync-changed");
    // Also where it is none any more, and where nothing is there.
    fs::write(place.at("from.tar"), "no archive").expect("written");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    refused(&ran.receipt, "sync-changed");
    fs::remove_file(place.at("from.tar")).expect("removed");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    refused(&ran.receipt, "sync-unreadable");
}

#[test]
fn a_directory_that_is_another_by_then_is_taken_as_it_is_and_told() {
    let place = Place::new();
    let plan = place
        .request("from")
        .plan(&place.options)
        .expect("it plans");
    place.world.write("from/more", "more\n");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    assert_eq!(ran.receipt.outcome, Outcome::Passed);
    let step = the_step(&ran.receipt);
    let told = step
        .notes
        .iter()
        .any(|note| note.contains("the source changed since"));
    assert!(told, "{:?}", step.notes);
    // What is left out may do what it likes.
    fs::remove_file(place.at("from/more")).expect("removed");
    place.world.write("from/x.o", "o");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    assert_eq!(the_step(&ran.receipt).notes, Vec::<String>::new());
    fs::remove_dir_all(place.at("from")).expect("removed");
    let ran = plan.apply(&place.options, &mut |_| {}).expect("a receipt");
    refused(&ran.receipt, "sync-unreadable");
}

// proves: S33
#[test]
fn a_directory_that_changes_after_a_saved_plan_was_compared_is_refused() {
    for change in [
        (&|place: &Place| fs::write(place.at("from/c"), "NEW\n").expect("written"))
            as &dyn Fn(&Place),
        &|place: &Place| place.world.write("from/kept/d", ""),
        &|place: &Place| fs::remove_file(place.at("from/c")).expect("removed"),
    ] {
        let place = Place::new();
        let request = place.request("from");
        let (saved, _) = SavedPlan::of_request(&request, &place.options).expect("it plans");
        let checked = saved.check(&place.options).expect("nothing changed");
        // What is left out is no part of it.
        place.world.write("from/x.o", "o");
        let ran = checked
            .apply(&place.options, &mut |_| {})
            .expect("a receipt");
        assert_eq!(ran.receipt.outcome, Outcome::Passed);
        change(&place);
        let ran = checked
            .apply(&place.options, &mut |_| {})
            .expect("a receipt");
        refused(&ran.receipt, "sync-changed");
        let stale = saved.check(&place.options).expect_err("it is stale");
        assert!(format!("{stale:?}").contains("Sync"), "{stale:?}");
    }
}

#[test]
fn what_changes_while_it_is_read_leaves_the_workspace_as_it_was() {
    let place = Place::new();
    let large = place.at("from/large");
    fs::write(&large, vec![1; 8 << 20]).expect("written");
    let plan = place
        .request("from")
        .plan(&place.options)
        .expect("it plans");
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = OpenOptions::new();
            let mut file = file.append(true).open(&large).expect("there");
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"more").expect("written");
                begun.store(true, Ordering::Relaxed);
            }
        });
        wait_for("somebody writes", || begun.load(Ordering::Relaxed));
        let ran = plan.apply(&place.options, &mut |_| {});
        stop.store(true, Ordering::Relaxed);
        ran
    });
    let receipt = ran.expect("a receipt").receipt;
    refused(&receipt, "sync-changed");
    let refusal = the_step(&receipt).refusal.as_ref().expect("refused");
    assert!(
        refusal.message.ends_with("nothing was changed"),
        "{refusal:?}"
    );
}

#[test]
fn an_interrupt_in_the_middle_leaves_the_workspace_as_it_was() {
    let place = Place::new();
    // More than goes over in a moment, and takes no disk on either side.
    let file = fs::File::create(place.at("from/large")).expect("a new file");
    file.set_len(1 << 30).expect("a hole");
    let cancel = Cancel::new().expect("descriptors");
    let options = Options {
        cancel: Some(cancel.clone()),
        ..place.options.clone()
    };
    let plan = place.request("from").plan(&options).expect("it plans");
    let stage = |state: &Path| {
        let runs = fs::read_dir(state.join("runs"))
            .into_iter()
            .flatten()
            .flatten();
        let mut large = runs.flat_map(|run| fs::read_dir(run.path().join("stage")));
        large.any(|stage| (stage.flatten()).any(|corner| corner.path().join("x/large").exists()))
    };
    let state = place.world.state();
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("the large file is on its way", || stage(&state));
            cancel.cancel();
        });
        plan.apply(&options, &mut |event| {
            if let Event::StepEnded { report, .. } = event {
                assert_eq!(report.outcome, StepOutcome::Cancelled);
                let [run] = &place.world.runs()[..] else {
                    panic!("one run");
                };
                let read = |name| fs::read_to_string(run.join("tree").join(name));
                assert_eq!(read("b").expect("there"), "old\n");
                assert!(read("large").is_err() && read("c").is_err());
                let left = fs::read_dir(run.join("stage")).map_or(0, Iterator::count);
                assert_eq!(left, 0, "something is left on the stage");
            }
        })
    });
    assert_eq!(ran.expect("a receipt").receipt.outcome, Outcome::Cancelled);
}
