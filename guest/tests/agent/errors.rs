//! The examples of `specs/errors.md` that are calls: a live agent refuses the last one with the code of the fence.

use crate::host::Host;
use pyro_protocol::frame::Head;
use std::path::Path;

#[test]
fn calls_are_refused_as_the_examples_say() {
    let checkout = match std::env::var_os("PYRO_TEST_BIN") {
        Some(_) => std::env::current_dir().expect("a current directory"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
    };
    let errors = std::fs::read_to_string(checkout.join("specs/errors.md")).expect("the codes");
    let mut count = 0;
    for part in errors.split("\n```json call=").skip(1) {
        let (code, rest) = part.split_once('\n').expect("a fence");
        let (example, _) = rest.split_once("\n```").expect("its end");
        let mut host = Host::new();
        if code == "cancelled" {
            let huge = std::fs::File::create(host.tree().join("huge")).expect("a file");
            huge.set_len(1 << 40).expect("a terabyte of nothing");
        }
        host.put("file", "before");
        let lines: Vec<_> = example.lines().collect();
        let (mut call, mut input) = (0, None);
        for (index, line) in lines.iter().enumerate() {
            if let Some(bytes) = line.strip_prefix("< ") {
                input = Some(bytes.as_bytes());
                continue;
            }
            if line.starts_with("{\"call\"") {
                call += 1;
            }
            let head = Head {
                channel: 1,
                call,
                ..Head::default()
            };
            host.send(head, line.as_bytes(), &[]);
            let next = lines.get(index + 1);
            if next.is_some_and(|next| next.starts_with("{\"call\"")) {
                let answer = host.finish_call(call, None);
                answer.result.expect("only the last one is refused");
                host.put("file", "after");
            }
        }
        let answer = host.finish_call(call, input);
        let failure = answer.result.err().map(|failure| failure.code);
        let told = serde_json::to_value(failure).expect("a code");
        assert_eq!(told, code, "{example}");
        count += 1;
    }
    assert!(count > 4, "{count}");
}
