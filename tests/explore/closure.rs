//! What CPUs do between two steps of the crate: all that they may, or what a schedule says.

use super::search::Explorer;
use super::stage::Complaint;
use super::world::{Event, World};
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
        if self.schedules.is_some() {
            return self.wander();
        }
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

    /// CPUs do some of what they may, as the schedule says: a byte of it is one step, or, if it is
    /// zero, that they have done enough.
    fn wander(&mut self) {
        while let Some(choice @ 1..) = self.steps.pop_front() {
            let (mut found, world) = (Vec::new(), self.worlds[0].clone());
            let mut find = |new: World, event: &Event| found.push((new, event.clone()));
            if let Err(wrong) = world.successors(&self.stage, &mut find) {
                return self.complain(wrong);
            }
            if found.is_empty() {
                return;
            }
            let (mut new, event) = found.swap_remove(usize::from(choice) % found.len());
            self.events.push((world.trace, event));
            new.trace = self.events.len() - 1;
            self.worlds = vec![Rc::new(new)];
        }
    }
}
