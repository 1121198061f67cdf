//! What a plan calls exact is what happens, and what it refuses would not have worked: random requests without
//! commands over random seeds, run in the real sandbox, and looked at after every step.

mod steps;
mod tree;

use crate::harness::World;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use pyro::plan::{Certainty, Plan, PlannedAction, PlannedStep, Problem, Problems};
use pyro::receipt::{Outcome, StepOutcome, StepReport};
use pyro::request::{Point, Syntax, parse};
use pyro::{Error, Event, Options, Ran};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use steps::{Wishes, seed, wishes};
use tree::{Node, Tree};

/// Always the same cases, unless `PROPTEST_RNG_SEED` or `PROPTEST_CASES` say otherwise.
fn config(cases: u32) -> ProptestConfig {
    let asked = |name| std::env::var_os(name).is_some();
    let mut config = ProptestConfig {
        // Whoever runs this may not write to the checkout.
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    if !asked("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(2026);
    }
    if !asked("PROPTEST_CASES") {
        config.cases = cases;
    }
    config
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn plans_come_true(
        (seed, twins) in seed(),
        (other, other_twins) in seed(),
        wishes in wishes(),
    ) {
        Trial::new(&seed, twins, other, other_twins).try_out(&seed, &wishes);
    }
}

/// One request in a folder of its own.
struct Trial {
    world: World,
    /// What `sync` steps take from.
    other: Tree,
}

impl Drop for Trial {
    fn drop(&mut self) {
        Tree::open_up(self.world.base());
    }
}

impl Trial {
    fn new(seed: &Tree, twins: bool, other: Tree, other_twins: bool) -> Self {
        let world = World::new();
        seed.make(&world.work().join("seed"), twins);
        other.make(&world.work().join("other"), other_twins);
        world.write("other.tar", other.packed());
        Self { world, other }
    }

    fn try_out(&self, seed: &Tree, wishes: &Wishes) {
        let mut document = wishes.document(seed, &self.other);
        let mut tried = false;
        let plan = loop {
            let problems = match self.plan(&document) {
                Ok(plan) => break plan,
                Err(problems) => problems,
            };
            if !tried {
                self.would_not_work(seed, &problems, document.clone());
                tried = true;
                let out = self.world.work().join("out");
                Tree::open_up(&out);
                fs::remove_dir_all(out).ok();
            }
            // What is left without the steps that are refused.
            let refused: BTreeSet<usize> = problems.as_slice().iter().map(number).collect();
            let steps = document["step"].as_array_mut().expect("steps");
            let mut index = 0;
            steps.retain(|_| {
                index += 1;
                !refused.contains(&(index - 1))
            });
        };
        self.comes_true(seed, &plan, &document);
        let now = Tree::read(&self.world.work().join("seed"));
        assert_eq!(now, *seed, "the seed is only read");
        let now = Tree::read(&self.world.work().join("other"));
        assert_eq!(now, self.other, "so is what a sync takes");
    }

    fn options(&self) -> Options {
        Options {
            base_dir: self.world.work(),
            state_dir: Some(self.world.state()),
            ..Options::default()
        }
    }

    fn plan(&self, document: &Value) -> Result<Plan, Problems> {
        let text = document.to_string();
        let (request, _) = match parse("request", text.as_bytes(), Syntax::Json) {
            Ok(parsed) => parsed,
            Err(errors) => panic!("{errors}\n{document:#}"),
        };
        match request.plan(&self.options()) {
            Ok(plan) => Ok(plan),
            Err(Error::Plan(problems)) => Err(problems),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// `/workspace`, while a run is alive.
    fn live(&self) -> Tree {
        let runs = self.world.runs();
        let [run] = runs.as_slice() else {
            panic!("one run: {runs:?}");
        };
        Tree::read(&run.join("tree"))
    }

    /// Runs a plan and has `look` see the tree after every step.
    fn run(&self, plan: &Plan, mut look: impl FnMut(&PlannedStep, &StepReport, Tree)) -> Ran {
        let ran = plan.apply(&self.options(), &mut |event| {
            if let Event::StepEnded { step, report } = event
                && report.outcome != StepOutcome::NotRun
            {
                look(step, report, self.live());
            }
        });
        let ran = ran.expect("a sandbox");
        assert_eq!(ran.receipt.lost, None);
        assert_eq!(self.world.runs(), Vec::<PathBuf>::new(), "a run was left");
        ran
    }

    /// What was planned is what happens, step by step.
    fn comes_true(&self, seed: &Tree, plan: &Plan, document: &Value) {
        let told = |step: &PlannedStep| {
            format!(
                "step {}: {:?}\n{document:#}\nseed\n{seed:?}",
                step.number, step.notes
            )
        };
        let mut promised = seed.seeded();
        let mut marks = BTreeMap::from([(Point::Baseline, promised.clone())]);
        let mut surprise = None;
        let ran = self.run(plan, |step, report, tree| {
            assert_eq!(step.certainty, Certainty::Exact, "{}", told(step));
            let refused = step
                .notes
                .iter()
                .any(|note| note.starts_with("refused, as"));
            let passed = report.outcome == StepOutcome::Passed;
            if step.expect_fails && !refused {
                // It works, and so fails the request, which does not want that; nothing comes after it.
                assert!(!passed, "{}\n{report:#?}", told(step));
                surprise = Some(step.number);
                return;
            }
            assert!(passed, "{}\n{report:#?}", told(step));
            assert_eq!(
                report.refusal.is_some(),
                refused,
                "{}\n{report:#?}",
                told(step)
            );
            assert!(
                !report
                    .notes
                    .iter()
                    .any(|note| note.contains("not as planned")),
                "{}",
                told(step)
            );
            if !refused {
                if let PlannedAction::Snapshot(name) = &step.action {
                    marks.insert(Point::Snapshot(name.clone()), promised.clone());
                } else if let PlannedAction::Reset(to) = &step.action {
                    promised = marks.get(to).expect("an earlier step made it").clone();
                } else {
                    promised.promised(step, &self.other);
                }
                self.check(step, report, &promised, &told);
            }
            assert!(
                tree == promised,
                "{}\npromised\n{promised:?}\nfound\n{tree:?}",
                told(step)
            );
        });
        let outcome = match surprise {
            Some(_) => Outcome::Failed,
            None => Outcome::Passed,
        };
        assert_eq!(ran.receipt.outcome, outcome, "{document:#}");
        if surprise.is_none() {
            let changed: Vec<_> = (ran.receipt.changes.iter())
                .map(|change| bytes(&change.path))
                .collect();
            let before = seed.seeded();
            let mut expected: Vec<_> = before.0.keys().chain(promised.0.keys()).cloned().collect();
            expected.sort();
            expected.dedup();
            expected.retain(|path| before.0.get(path) != promised.0.get(path));
            assert_eq!(changed, expected, "{document:#}\nseed\n{seed:?}");
        }
    }

    /// What a step shows is what the tree has.
    fn check(
        &self,
        step: &PlannedStep,
        report: &StepReport,
        tree: &Tree,
        told: &dyn Fn(&PlannedStep) -> String,
    ) {
        if let PlannedAction::Read(read) = &step.action {
            for (path, file) in read.paths.iter().zip(&report.files) {
                let at = tree.resolve(path.as_bytes()).expect("it was read");
                let Some(Node::File { bytes: wanted, .. }) = tree.0.get(&at) else {
                    panic!("{path:?} was read, and is no file\n{}", told(step));
                };
                let content = file.content.as_ref().expect("contents");
                assert_eq!(bytes(content), *wanted, "{path:?}\n{}", told(step));
            }
        } else if let PlannedAction::List(list) = &step.action {
            let at = tree.resolve(list.path.as_bytes()).expect("it was listed");
            let part = tree.part(&at).0;
            let shown = part
                .keys()
                .filter(|path| !path.is_empty() && (list.recursive || !path.contains(&b'/')));
            // A file has itself in its list.
            let is_directory = matches!(tree.0.get(&at), Some(Node::Directory { .. }));
            let lines = if at.is_empty() || is_directory {
                shown.count()
            } else {
                1
            };
            let text = report.text.as_ref().expect("a text");
            assert_eq!(
                text.text.lines().count(),
                lines,
                "{}\n{}",
                text.text,
                told(step)
            );
        } else if let PlannedAction::Export(export) = &step.action {
            let at = tree
                .resolve(export.path.as_bytes())
                .expect("it was exported");
            let mut wanted = tree.part(&at).exported();
            let found = if export.to.is_dir() {
                wanted.0.remove(&b""[..]);
                Tree::read(&export.to)
            } else {
                let name = export.to.file_name().expect("a name");
                Tree::read(export.to.parent().expect("a parent")).part(name.as_encoded_bytes())
            };
            assert!(
                found == wanted,
                "{}\npromised\n{wanted:?}\nexported\n{found:?}",
                told(step)
            );
        }
    }

    /// After a command nothing is sure, so the same steps are tried: the first one that was refused is refused then,
    /// and changes nothing.
    fn would_not_work(&self, seed: &Tree, problems: &Problems, mut document: Value) {
        let steps = document["step"].as_array_mut().expect("steps");
        steps.insert(0, json!({ "exec": ["true"] }));
        let told = format!("{problems:#?}\n{document:#}\nseed\n{seed:?}");
        let first = problems.as_slice().first().expect("never empty");
        let step = number(first);
        let Ok(plan) = self.plan(&document) else {
            // The host is in the way, or there is nothing to send.
            return;
        };
        let mut before = seed.seeded();
        let mut refused = None;
        self.run(&plan, |planned, report, tree| {
            if report.outcome == StepOutcome::Failed && refused.is_none() {
                refused = Some(planned.number - 2);
                if !planned.expect_fails {
                    assert!(
                        tree == before,
                        "a refused step changed something: {report:#?}\n{told}\nbefore\n{before:?}\nafter\n{tree:?}"
                    );
                }
            }
            before = tree;
        });
        assert!(
            refused <= Some(step) && refused.is_some(),
            "step {step} was planned to be refused, and {refused:?} was\n{told}"
        );
    }
}

/// The index of the step that a problem is about.
fn number(problem: &Problem) -> usize {
    let step = problem.pointer.parts().nth(1).expect("of a step");
    step.parse().expect("a number")
}

/// The exact bytes of a text of a receipt.
fn bytes(text: &pyro::receipt::Text) -> Vec<u8> {
    use base64::Engine as _;
    match &text.base64 {
        Some(base64) => base64::engine::general_purpose::STANDARD
            .decode(base64)
            .expect("base64"),
        None => text.text.clone().into_bytes(),
    }
}
