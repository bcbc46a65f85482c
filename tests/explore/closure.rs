//! What CPUs do between two steps of the crate: all that they may.

use super::search::Explorer;
use super::stage::Complaint;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Explorer {
    /// CPUs do all that they may, in any order, as often as they like: nothing new comes of it any
    /// more.
    pub(crate) fn close(&mut self) {
        // The root cell is written without a word to the explorer.
        let root = self.stage.root();
        let same = std::mem::replace(&mut self.root, root) == root;
        if self.closed && same || self.complaint.is_some() || self.worlds.is_empty() {
            return;
        }
        self.closed = true;
        self.spread().unwrap_or_else(|wrong| self.complain(wrong));
    }

    fn spread(&mut self) -> Result<(), Complaint> {
        let mut worlds = std::mem::take(&mut self.worlds);
        let mut known = BTreeSet::new();
        worlds.retain(|world| known.insert(world.clone()));
        let (mut done, mut result) = (0, Ok(()));
        while let (Some(world), Ok(())) = (worlds.get(done).cloned(), &result) {
            done += 1;
            result = world.successors(&self.stage, &mut |mut new, event| {
                self.counts.transitions += 1;
                if known.contains(&new) {
                    return;
                }
                if self.traced {
                    self.events.push((world.trace, event.clone()));
                    new.trace = self.events.len() - 1;
                }
                let new = Rc::new(new);
                known.insert(new.clone());
                worlds.push(new);
            });
        }
        self.counts.states += worlds.len() as u64;
        self.worlds = worlds;
        result
    }
}
