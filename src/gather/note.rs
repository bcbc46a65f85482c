//! What a change of an entry makes stale.

use super::Gather;
use crate::addr::Span;
use crate::level::{Arch, Config, Extent, Fields, Format, PageTableLevel, Reload, Stale};
use crate::table::Host;
use crate::walk::{FormatOf, Ground, Names};
use core::sync::atomic::{Ordering, fence};

impl<C: Config, H: Host> Ground<'_, C, H> {
    /// Tells a gather that an entry of level `L`, which said `was`, has changed.
    pub(crate) fn note<L>(&self, gather: &mut Gather<'_>, span: Span, was: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let global = was & L::Format::mask(L::LEVEL, Fields::GLOBAL) != 0;
        if self.local && !global && C::Arch::reload(L::LEVEL) == Reload::Entry {
            return gather.add_local(span);
        }
        let extent = match C::Arch::reload(L::LEVEL) {
            Reload::Root => Extent::Root,
            // The same table may serve other addresses.
            Reload::Entry if self.names == Names::Aliased => Extent::Everything,
            Reload::Entry => Extent::Spans,
        };
        // A global translation serves a CPU whatever space it runs.
        let everywhere = global || self.owns(span);
        let space = if everywhere { None } else { self.space };
        gather.add(extent, span, space, everywhere);
    }

    /// After an entry came into use: where CPUs do not look for it by themselves, makes them.
    pub(crate) fn announce<L: PageTableLevel>(&self, span: Span) {
        if C::Arch::reload(L::LEVEL) == Reload::Root {
            let space = if self.owns(span) { None } else { self.space };
            let mut stale = Stale::nothing();
            stale.add(Extent::Root, span, space, false);
            // As in `Gather::flush`.
            fence(Ordering::SeqCst);
            self.host.shoot_down(&stale);
        }
    }
}
