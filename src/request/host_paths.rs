//! A request that means the same wherever it is read.

use super::interpolate::{visit_step, visit_workspace};
use super::{Kind, Pointer, Request, literal};
use std::path::Path;

/// The request with its host paths beginning at `base` instead of where it lies. Those of goldens stay: a golden belongs to
/// the request beside it.
pub fn with_absolute_paths(request: &Request, base: &Path) -> Request {
    let mut request = request.clone();
    // What is no text cannot stand in a request.
    let Some(base) = base.to_str().map(literal) else {
        return request;
    };
    let mut visit = |kind: Kind, pointer: Pointer, text: &mut String| {
        let is_golden = pointer.0.ends_with("/golden");
        let begins_elsewhere = ["/", "~/", "${"]
            .iter()
            .any(|start| text.starts_with(start));
        if kind == Kind::HostPath && !is_golden && !begins_elsewhere {
            *text = match text.trim_start_matches("./") {
                "" | "." => base.clone(),
                path => format!("{}/{path}", base.trim_end_matches('/')),
            };
        }
    };
    visit_workspace(&mut request, &mut visit);
    for (index, step) in request.steps.iter_mut().enumerate() {
        visit_step(step, &Pointer::step(index), &mut visit);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::with_absolute_paths;
    use crate::request::{Syntax, emit, parse};
    use std::path::Path;

    #[test]
    fn host_paths_begin_at_the_base_and_nothing_else_changes() {
        let text = "pyro = 1\n\n[workspace]\nseed = \"./repo\"\nexpose = [\"~/.rustup\"]\n\n[[step]]\n\
                    exec = [\"cat\", \"repo\"]\nexpect.stdout.golden = \"golden/out\"\n\n[[step]]\n\
                    patch = { from = \"fix.patch\" }\n\n[[step]]\nsync = \".\"\n\n[[step]]\nexport = \"a\"\nto = \"/out/a\"\n";
        let (request, _) = parse("request", text.as_bytes(), Syntax::Toml).expect("a request");
        let moved = with_absolute_paths(&request, Path::new("/a ${vars.b}"));
        let base = "/a $${vars.b}";
        let wanted = text
            .replace("\"./repo\"", &format!("\"{base}/repo\""))
            .replace("\"fix.patch\"", &format!("\"{base}/fix.patch\""))
            .replace("sync = \".\"", &format!("sync = \"{base}\""));
        let (wanted, _) = parse("wanted", wanted.as_bytes(), Syntax::Toml).expect("a request");
        assert_eq!(emit(&moved, Syntax::Toml), emit(&wanted, Syntax::Toml));
    }
}
