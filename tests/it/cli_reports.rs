//! What `pyro apply` writes for other programs: JUnit and events, however the runs end.

use crate::harness::{World, normal, snapshot, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;

/// A step of each kind of ending, and output that XML does not like.
const MIXED: &str = r#"pyro = 1
name = "mixed \"endings\" <&>"

[[step]]
write."later.txt" = ""

[[step]]
id = "colours"
exec = ["printf", '\033[1mbold\033[0m <&> ]]> \377 caf\303\251\r\n']

[[step]]
exec = "seq 30000; rm -f later.txt; echo oops >&2"
expect.stdout.contains = "29999"

[[step]]
id = "quiet"
write."a.txt" = "a\n"

[[step]]
id = "wrong"
exec = ["echo", "one"]
expect.exit = 3
expect.stdout.equals = "two\n"

[[step]]
exec = ["true"]

[[step]]
id = "refused"
always = true
read = "later.txt"
"#;

fn mixed() -> World {
    World::with(MIXED)
}

fn read(world: &World, name: &str) -> String {
    fs::read_to_string(world.work().join(name)).expect("it was written")
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'), "the last line is whole");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    let kinds = lines.iter().map(|line| line["kind"].as_str());
    kinds.map(|kind| kind.expect("a kind")).collect()
}

/// Without times and the middle of a long output.
fn still(world: &World, xml: &str) -> String {
    let mut text = normal(xml, world.base());
    for (pattern, word) in [
        (r#" time="[0-9.]+""#, r#" time="[time]""#),
        (r#"timestamp="[0-9T:-]{19}""#, r#"timestamp="[moment]""#),
        (
            r#"name="run" value="[0-9a-f]{12}""#,
            r#"name="run" value="[run]""#,
        ),
        (r"(?s)\n10\n.*\n29998\n", "\n...\n"),
    ] {
        let regex = regex::Regex::new(pattern).expect("a regex");
        text = regex.replace_all(&text, word).into_owned();
    }
    text
}

#[test]
fn junit_has_every_step() {
    let world = mixed();
    world.write("fine.pyro.toml", "pyro = 1\n[[step]]\nlist = \".\"\n");
    let args = [
        "apply",
        "request.pyro.toml",
        "fine.pyro.toml",
        "--report",
        "junit=out.xml",
    ];
    world.pyro(args).ended(4);
    let xml = read(&world, "out.xml");
    snapshot("junit", &still(&world, &xml));
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let count = |name: &str| {
        let nodes = document.descendants();
        nodes.filter(|node| node.has_tag_name(name)).count()
    };
    for (attribute, element) in [
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ] {
        let said = document
            .root_element()
            .attribute(attribute)
            .expect("a count");
        assert_eq!(said, count(element).to_string(), "{attribute}");
    }
    for output in document
        .descendants()
        .filter(|node| node.has_tag_name("system-out"))
    {
        assert!(output.text().expect("text").len() < 66_000);
    }
}

#[test]
fn events_tell_everything_in_order() {
    let world = mixed();
    let ran = world
        .pyro(["apply", "request.pyro.toml", "--events", "events"])
        .ended(4);
    assert!(ran.stdout().starts_with("mixed"), "{}", ran.text());
    let all = lines(&read(&world, "events"));
    let mut seen = kinds(&all);
    // Output comes in pieces of any size.
    seen.dedup();
    let step = |kinds: &[&'static str]| [&["step_started"], kinds, &["step_ended"]].concat();
    let wanted = [
        vec!["begin", "run_started"],
        step(&[]),
        step(&["output"]),
        step(&["output"]),
        step(&[]),
        step(&["output"]),
        // Not run.
        vec!["step_ended"],
        step(&[]),
        vec!["run_ended", "end"],
    ];
    let mut wanted = wanted.concat();
    wanted.dedup();
    assert_eq!(seen, wanted);
    assert_eq!(all[0]["format_version"], 1);
    assert_eq!(all[0]["runs"][0]["steps"], 7);
    let receipt = world.receipt();
    let reports = all.iter().filter(|line| line["kind"] == "step_ended");
    let reports: Vec<_> = reports.map(|line| line["report"].clone()).collect();
    assert_eq!(Value::from(reports), receipt["steps"]);
    let numbers = all.iter().filter(|line| line["kind"] == "step_started");
    let numbers: Vec<_> = numbers
        .map(|line| (line["step"].clone(), line["id"].clone()))
        .collect();
    assert_eq!(numbers[1], (2.into(), "colours".into()));
    assert_eq!(numbers[2], (3.into(), Value::Null));
    // Output is told whole: text, and the bytes where it is none.
    let told: String = all
        .iter()
        .filter(|line| line["kind"] == "output" && line["step"] == 3 && line["stream"] == "stdout")
        .map(|line| line["text"].as_str().expect("text"))
        .collect();
    let count: Vec<_> = told.lines().collect();
    assert_eq!((count.len(), count[29_999]), (30_000, "30000"));
    let odd = all
        .iter()
        .find(|line| line["kind"] == "output")
        .expect("output");
    assert!(odd["base64"].is_string(), "{odd}");
    for line in &all {
        assert_eq!(line["time"].as_str().expect("a time").len(), 24);
        assert_eq!(
            line.get("run").is_none(),
            matches!(line["kind"].as_str(), Some("begin" | "end"))
        );
    }
    let end = all.last().expect("a line");
    assert_eq!(end["outcome"], "failed");
    assert_eq!(all[all.len() - 2]["outcome"], "failed");
}

#[test]
fn events_may_have_standard_output_for_themselves() {
    let world = mixed();
    world.write(
        "loud.pyro.toml",
        "pyro = 1\n[[step]]\nexec = \"yes | head -c 5000000\"\n",
    );
    let ran = world
        .pyro(["apply", "loud.pyro.toml", "--events", "-"])
        .ended(0);
    let all = lines(&ran.stdout());
    assert_eq!(kinds(&all).last(), Some(&"end"));
    let texts = all.iter().filter_map(|line| line["text"].as_str());
    assert_eq!(texts.map(str::len).sum::<usize>(), 1 << 20);
    assert_eq!(
        all.iter().filter(|line| line["truncated"] == true).count(),
        1
    );
    let ended = all
        .iter()
        .find(|line| line["kind"] == "step_ended")
        .expect("a step");
    assert_eq!(ended["report"]["stdout"]["bytes"], 5_000_000);
    let both = world.pyro(["apply", "loud.pyro.toml", "--events", "-", "--json"]);
    assert!(both.ended(2).stderr().contains("standard output"));
}

#[test]
fn reports_are_written_when_the_run_is_interrupted() {
    let world = World::new();
    world.write(
        "a.pyro.toml",
        "pyro = 1\n[[step]]\nid = \"a\"\nexec = \"echo on; sleep 600\"\n",
    );
    world.write("b.pyro.toml", "pyro = 1\n[[step]]\nlist = \".\"\n");
    let args = [
        "apply",
        ".",
        "--events",
        "events",
        "--report",
        "junit=out.xml",
    ];
    let child = world.command(args).spawn().expect("pyro starts");
    let events = world.work().join("events");
    // Events are there as they happen.
    wait_for("output", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("\"on\\n\""))
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, Signal::TERM).expect("interrupts");
    world
        .ran(child.wait_with_output().expect("ends"))
        .ended(130);
    let all = lines(&read(&world, "events"));
    let ended: Vec<_> = all
        .iter()
        .filter(|line| line["kind"] == "run_ended")
        .collect();
    assert_eq!(ended[0]["outcome"], "cancelled");
    assert_eq!(
        (&ended[1]["outcome"], &ended[1]["run"]),
        (&"not_run".into(), &2.into())
    );
    assert_eq!(all.last().expect("a line")["outcome"], "cancelled");
    snapshot(
        "junit_interrupted",
        &still(&world, &read(&world, "out.xml")),
    );
}

#[test]
fn reports_are_written_when_the_machine_is_lost() {
    let world = World::with(
        "pyro = 1\n[[step]]\nid = \"a\"\nexec = \"echo on; sleep 600\"\n[[step]]\nlist = \".\"\n",
    );
    let args = [
        "apply",
        "request.pyro.toml",
        "--events",
        "events",
        "--report",
        "junit=out.xml",
    ];
    let child = world.command(args).spawn().expect("pyro starts");
    let events = world.work().join("events");
    wait_for("output", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("\"on\\n\""))
    });
    let agent = crate::chaos::find(&world, "pyro-agent").expect("an agent");
    kill_process(agent, Signal::KILL).expect("kills");
    world.ran(child.wait_with_output().expect("ends")).ended(5);
    let all = lines(&read(&world, "events"));
    assert_eq!(all.last().expect("a line")["outcome"], "lost");
    let xml = read(&world, "out.xml");
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let find = |name: &str| document.descendants().find(|node| node.has_tag_name(name));
    let error = find("error").expect("an error");
    assert_eq!(error.attribute("type"), Some("lost"));
    assert!(find("skipped").is_some());
}

#[test]
fn reports_that_cannot_be_written_are_told_before_anything_runs() {
    let world = mixed();
    let mut text = String::new();
    for args in [
        &["--report", "junit=no/such/place"][..],
        &["--report", "junit="],
        &["--report", "html=x"],
        &["--events", "no/such/place"],
        &["--events", "."],
    ] {
        let mut all = vec!["apply", "request.pyro.toml"];
        all.extend(args);
        let ran = world.pyro(all).ended(2);
        text.push_str(&format!("{}\n{}", args.join(" "), ran.text()));
    }
    snapshot("reports_refused", &text);
    assert!(!world.state().exists(), "nothing was made");
    // A request that is refused leaves what is there.
    world.write("bad.pyro.toml", "pyro = 2\n");
    world.write("events", "old\n");
    world
        .pyro(["apply", "bad.pyro.toml", "--events", "events"])
        .ended(2);
    assert_eq!(read(&world, "events"), "old\n");
}
