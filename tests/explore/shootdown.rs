//! Telling CPUs what is stale, in one of the ways in which that can be done wrong, or right.

use super::sabotage::{Phase, Sabotage};
use super::search::Explorer;
use super::stage::{Complaint, Stage};
use super::world::{Event, World};
use pgtable::model::Fault;
use pgtable::{Extent, Stale, VirtAddr};

impl Explorer {
    /// What the host does when it is asked for a shootdown.
    pub(crate) fn shoot_down(&mut self, stale: &Stale) {
        self.spoil.told += 1;
        if self.spoil.is(Sabotage::EarlyReturn) || self.spoil.is(Sabotage::MergeEarly) {
            self.spoil.owed.push(stale.clone());
        } else if !self.spoil.is(Sabotage::NoShootdown) {
            self.tell(stale);
        }
    }

    /// CPUs are told what they should have been told before.
    pub(crate) fn pay(&mut self) {
        for stale in std::mem::take(&mut self.spoil.owed) {
            self.tell(&stale);
        }
    }

    pub(crate) fn pay_before_free(&mut self) {
        if self.spoil.is(Sabotage::MergeEarly) {
            self.pay();
        }
    }

    /// Every CPU drops what is stale, one after the other; meanwhile the others go on.
    fn tell(&mut self, stale: &Stale) {
        let sabotage = self.spoil.sabotage.filter(|_| self.spoil.phase != Phase::Sound);
        let cpus = self.worlds.first().map_or(0, |world| world.cpus.len());
        for cpu in 0..cpus {
            self.close();
            if cpu > 0 && sabotage == Some(Sabotage::FirstCpuOnly) {
                continue;
            }
            let mut wrong = None;
            self.each(&Event::Told { cpu }, |stage, world| {
                let result = drop_stale(stage, world, cpu, stale, sabotage);
                wrong = wrong.take().or(result.err());
            });
            wrong.into_iter().for_each(|wrong| self.complain(Complaint::new(wrong)));
        }
        self.close();
    }
}

/// What a host's interrupt handler does. It does no more than it must.
fn drop_stale(
    stage: &Stage,
    world: &mut World,
    cpu: usize,
    stale: &Stale,
    sabotage: Option<Sabotage>,
) -> Result<(), String> {
    let root = stage.root();
    if root.is_none() && stale.extent() == Extent::Root {
        world.gone |= 1 << cpu;
    }
    // So many pages instead of what is asked for.
    let wrongly = match sabotage {
        Some(Sabotage::OneAddress) if stale.extent() == Extent::Everything => Some(1),
        Some(Sabotage::NoRootReload) if stale.extent() == Extent::Root => Some(usize::MAX),
        _ => None,
    };
    let extent = if wrongly.is_none() { stale.extent() } else { Extent::Spans };
    // Every page of a span, also where no CPU uses it: its invalidation drops pointers to tables.
    let is_stale = |at: &u64| stale.spans().iter().any(|span| span.contains(VirtAddr(*at)));
    let pages = (0..stage.pages).map(|page| page << 12);
    let pages = pages.filter(|at| wrongly.is_some() || is_stale(at));
    let pages = pages.take(wrongly.unwrap_or(usize::MAX));
    let (result, wrong) = world.with_cpu(stage, cpu, |cpu, bus| {
        match (extent, root) {
            (Extent::Nothing, _) => {}
            (Extent::Spans, _) => pages.for_each(|at| cpu.invalidate_page(at)),
            (Extent::Everything, _) => cpu.flush(),
            (Extent::Root, Some(root)) => cpu.load_root(bus, root)?,
            // The space is torn down, and the CPU loads the root of another one.
            (Extent::Root, None) => cpu.flush_everything(),
        }
        if stale.global() && wrongly.is_none() {
            cpu.flush_everything();
        }
        Ok::<(), Fault>(())
    });
    let wrong = wrong.or(result.err().map(|fault| format!("loading the root: {fault:?}")));
    wrong.map_or(Ok(()), Err)
}
