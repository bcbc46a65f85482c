//! Which frame of a table is the live one.

use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Config, Entry, Error, Format, PageTableLevel, relocatable};
use crate::table::{Host, RootCell};
use crate::walk::{FormatOf, Ground, RootOf, Spot, Step, Visitor};

/// The frame of the table of this height that serves `at`: the live one, whatever is in limbo.
pub(crate) fn delimbo<C: Config, H: Host>(
    ground: &Ground<'_, C, H>,
    cell: &RootCell,
    at: VirtAddr,
    height: u8,
) -> Result<PhysAddr, Error> {
    let top = RootOf::<C>::LEVEL.height;
    if !relocatable::<C>() || height > top {
        return Err(Error::Refused { height });
    }
    let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
    ground.admit(page)?;
    let root = ground.root(cell)?;
    let mut live = Live { height, frame: root.frame() };
    if height != top {
        ground.descend(root, page, &mut live)?;
    }
    Ok(live.frame)
}

struct Live {
    height: u8,
    frame: PhysAddr,
}

impl<F: Format> Visitor<F> for Live {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<'_, L>) -> Result<Step, Error> {
        let Entry::Table(frame) = spot.seen.entry() else {
            return Err(spot.in_the_way());
        };
        self.frame = frame;
        let there = <L::Below as PageTableLevel>::LEVEL.height == self.height;
        Ok(if there { Step::Over } else { Step::Into })
    }
}
