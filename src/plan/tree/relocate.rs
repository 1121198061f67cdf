//! A path gets another name, and all below it with it.

use super::{Changed, Node, SymbolicTree, below};
use crate::preflight::EntryKind;
use crate::request::GuestPath;
use std::collections::BTreeMap;

impl SymbolicTree<'_> {
    /// Moves what is at `from`, and all below it, to `to`, where nothing is; the directories it needs are made.
    pub(crate) fn relocate(&mut self, from: &GuestPath, to: &GuestPath) {
        // Where nobody knows what is in the directory that moves, nobody knows what is in it afterwards.
        let is_open =
            self.unknown_seed && matches!(self.lookup(from), Node::Directory | Node::Unknown);
        let new_name = |path: &[u8]| {
            let rest = below(path, from.as_bytes())?;
            Some([to.as_bytes(), rest].concat())
        };
        let mut moved = BTreeMap::new();
        let all = std::iter::once(from.as_bytes().to_vec()).chain(self.below(from).into_keys());
        for path in all {
            if let Some((name, node)) = new_name(&path).zip(self.as_changed(&path)) {
                moved.insert(name, node);
            }
        }
        let cut: Vec<_> = self.cut.iter().filter_map(|path| new_name(path)).collect();
        self.make_parents(to);
        self.remove(from);
        self.remove(to);
        if is_open {
            moved.insert(to.as_bytes().to_vec(), Changed::Unknown);
            self.cut.remove(to.as_bytes());
            self.cut.retain(|path| below(path, to.as_bytes()).is_none());
        }
        self.cut
            .extend(cut.into_iter().filter(|path| path != to.as_bytes()));
        self.changed.append(&mut moved);
    }
}

impl<'a> SymbolicTree<'a> {
    /// What is at a path, as a step would have made it; nothing where nothing is.
    fn as_changed(&self, path: &[u8]) -> Option<Changed<'a>> {
        if let Some(changed) = self.changed.get(path) {
            return Some(changed.clone());
        }
        match self.node(path) {
            Node::Absent => None,
            Node::Directory => Some(Changed::Directory),
            Node::Unknown => Some(Changed::Unknown),
            Node::File(_) | Node::Symlink(_) => {
                let listing = self.seed?;
                let entry = listing.entry(path)?;
                debug_assert!(matches!(
                    entry.kind,
                    EntryKind::File | EntryKind::Symlink(_)
                ));
                Some(Changed::Laid(listing, entry))
            }
        }
    }
}
