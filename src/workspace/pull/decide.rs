//! What has to be done at a path of the host, given what it was and is in the workspace, and what it is on the host.
//! Data in, data out.

use super::node::Node;

/// A path, as it was on both sides when they were the same the last time, and as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// In the workspace, then.
    pub base: &'a Node,
    /// On the host, then; another than `base` where changes were merged.
    pub left: &'a Node,
    /// In the workspace, now.
    pub theirs: &'a Node,
    /// On the host, now.
    pub ours: &'a Node,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changed in the workspace.
    Nothing,
    /// The host has it already.
    Already,
    /// The host's becomes what the workspace has.
    Take,
    /// Both sides changed the file, in different ways.
    Merge {
        /// Which contents the result has.
        contents: Contents,
        /// Its permission bits.
        mode: u32,
    },
    /// Both sides changed it, and not so that it goes together; why.
    Conflict(String),
}

/// Where the contents of a merged file come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// The workspace.
    Theirs,
    /// The host.
    Ours,
    /// Both.
    Both,
}

/// Decides about a path. `may_merge` says whether a file may be changed on both sides.
pub fn decide(sides: Sides<'_>, may_merge: bool) -> Decision {
    let Sides {
        base,
        left,
        theirs,
        ours,
    } = sides;
    if theirs == base {
        return Decision::Nothing;
    }
    if *theirs == Node::Other {
        return Decision::Conflict(
            "it became neither file, directory nor link in the workspace, and such things are not brought home"
                .to_owned(),
        );
    }
    if ours == theirs || theirs.is_directory() && ours.is_directory() && !base.is_directory() {
        return Decision::Already;
    }
    if ours == left && left == base {
        return Decision::Take;
    }
    // What is in a directory is looked at by itself.
    if *theirs == Node::Absent && base.is_directory() && ours.is_directory() {
        return Decision::Take;
    }
    if let (
        Node::File {
            mode: base_mode,
            sha256: base,
            ..
        },
        Node::File {
            mode: theirs_mode,
            sha256: theirs,
            ..
        },
        Node::File {
            mode: ours_mode,
            sha256: ours,
            ..
        },
    ) = (base, theirs, ours)
    {
        if !may_merge {
            return Decision::Conflict(
                "it was changed on the host as well, and `match = \"exact\"` merges nothing"
                    .to_owned(),
            );
        }
        let contents = match () {
            () if theirs == base => Contents::Ours,
            () if ours == base || ours == theirs => Contents::Theirs,
            () => Contents::Both,
        };
        let mode = match () {
            () if theirs_mode == base_mode => ours_mode,
            () if ours_mode == base_mode || ours_mode == theirs_mode => theirs_mode,
            () => {
                return Decision::Conflict(format!(
                    "its permissions were changed on both sides: {theirs_mode:04o} in the workspace, {ours_mode:04o} on the host"
                ));
            }
        };
        return Decision::Merge {
            contents,
            mode: *mode,
        };
    }
    Decision::Conflict(why(base, theirs, ours))
}

fn why(base: &Node, theirs: &Node, ours: &Node) -> String {
    let now = ours.what();
    match (base, theirs, ours) {
        (Node::Absent, _, _) => {
            let new = theirs.what();
            format!(
                "it is new in the workspace ({new}), and the host has something else there: {now}"
            )
        }
        (_, Node::Absent, _) => {
            match std::mem::discriminant(base) == std::mem::discriminant(ours) {
                true => "it is gone from the workspace, and was changed on the host".to_owned(),
                false => format!("it is gone from the workspace, and became {now} on the host"),
            }
        }
        (_, _, Node::Absent) => {
            "it was changed in the workspace, and is gone from the host".to_owned()
        }
        (
            Node::Directory { .. },
            Node::Directory { mode: theirs },
            Node::Directory { mode: ours },
        ) => {
            format!(
                "its permissions were changed on both sides: {theirs:04o} in the workspace, {ours:04o} on the host"
            )
        }
        (Node::Link { .. }, Node::Link { .. }, Node::Link { .. }) => {
            "it is a link that was changed on both sides".to_owned()
        }
        (_, _, _) => {
            let theirs = theirs.what();
            format!("it was changed on both sides: {theirs} in the workspace, {now} on the host")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Contents, Decision, Sides, decide};
    use crate::request::Digest;
    use crate::workspace::pull::Node;

    fn file(text: &str, mode: u32) -> Node {
        Node::File {
            mode,
            size: text.len() as u64,
            sha256: Digest::of(text.as_bytes()),
        }
    }

    fn all() -> Vec<Node> {
        let link = |target: &str| Node::Link {
            target: target.as_bytes().into(),
        };
        vec![
            Node::Absent,
            file("a", 0o644),
            file("b", 0o644),
            file("a", 0o755),
            link("a"),
            link("b"),
            Node::Directory { mode: 0o755 },
            Node::Directory { mode: 0o700 },
            Node::Other,
        ]
    }

    #[test]
    fn nothing_of_the_host_is_replaced_but_what_the_workspace_began_with() {
        for base in &all() {
            for theirs in &all() {
                for ours in &all() {
                    let sides = Sides {
                        base,
                        left: base,
                        theirs,
                        ours,
                    };
                    let seen = (base, theirs, ours);
                    match decide(sides, true) {
                        Decision::Nothing => assert_eq!(base, theirs),
                        Decision::Already => {
                            assert!(ours == theirs || ours.is_directory(), "{seen:?}");
                        }
                        Decision::Take => {
                            let gone = ours.is_directory() && *theirs == Node::Absent;
                            assert!(ours == base || gone, "{seen:?}");
                        }
                        Decision::Merge { .. } => {
                            let files = [base, theirs, ours];
                            assert!(files.iter().all(|it| matches!(it, Node::File { .. })));
                            assert!(matches!(decide(sides, false), Decision::Conflict(_)));
                        }
                        Decision::Conflict(_) => {
                            assert!(*theirs == Node::Other || ours != base, "{seen:?}");
                            assert!(*theirs == Node::Other || ours != theirs, "{seen:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn contents_and_permissions_are_merged_each_by_itself() {
        let merged = |theirs: &Node, ours: &Node| {
            let base = file("a", 0o644);
            let sides = Sides {
                base: &base,
                left: &base,
                theirs,
                ours,
            };
            decide(sides, true)
        };
        let merge = |contents, mode| Decision::Merge { contents, mode };
        assert_eq!(
            merged(&file("a", 0o755), &file("b", 0o644)),
            merge(Contents::Ours, 0o755)
        );
        assert_eq!(
            merged(&file("b", 0o644), &file("a", 0o600)),
            merge(Contents::Theirs, 0o600)
        );
        assert_eq!(
            merged(&file("b", 0o755), &file("c", 0o644)),
            merge(Contents::Both, 0o755)
        );
        assert!(matches!(
            merged(&file("b", 0o755), &file("b", 0o600)),
            Decision::Conflict(_)
        ));
    }

    #[test]
    fn what_was_merged_is_not_replaced_by_the_next_pull() {
        let (base, left, theirs) = (file("a", 0o644), file("m", 0o644), file("b", 0o644));
        let sides = |theirs| Sides {
            base: &base,
            left: &left,
            theirs,
            ours: &left,
        };
        let merge = Decision::Merge {
            contents: Contents::Both,
            mode: 0o644,
        };
        assert_eq!(decide(sides(&theirs), true), merge);
        assert_eq!(decide(sides(&base), true), Decision::Nothing);
        assert!(matches!(
            decide(sides(&Node::Absent), true),
            Decision::Conflict(_)
        ));
    }
}
