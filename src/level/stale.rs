//! What CPUs may still hold after a change.

use crate::addr::Span;
use arrayvec::ArrayVec;

/// Which space: the place of its root cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpaceId(pub(crate) usize);

impl SpaceId {
    /// No space has this: no cell is there.
    pub(crate) const NONE: Self = Self(0);
}

/// How much is stale; each contains those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Nothing: no shootdown is needed.
    Nothing,
    /// Translations of the spans in [`Stale::spans`].
    Spans,
    /// Every translation, and every cached table pointer.
    Everything,
    /// All that, and the root register must be loaded again from the root cell. Where that is empty,
    /// the space is being torn down, and a CPU that still runs it loads another root.
    Root,
}

/// What CPUs may still hold, and must have dropped when the host's shootdown returns.
#[derive(Clone, Debug)]
pub struct Stale {
    extent: Extent,
    spans: ArrayVec<Span, { Self::MAX_SPANS }>,
    tables: bool,
    space: Option<SpaceId>,
    global: bool,
}

impl Stale {
    /// Past this many spans, everything is stale.
    pub const MAX_SPANS: usize = 32;

    pub(crate) const fn nothing() -> Self {
        Self {
            extent: Extent::Nothing,
            spans: ArrayVec::new_const(),
            tables: false,
            space: None,
            global: false,
        }
    }

    /// How much is stale.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// The stale spans, if that is all that is stale.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether pointers to tables are stale, too: those to tables that served pages of the spans. An
    /// invalidation of every page of a span drops the pointers that lead there (Intel SDM volume 3A,
    /// section 4.10.4.1).
    #[must_use]
    pub const fn tables(&self) -> bool {
        self.tables
    }

    /// The one space that is concerned; `None` if it is every space, whatever its tag (PCID, ASID):
    /// the kernel half, and global translations, which serve a CPU whatever space it runs (Intel SDM
    /// volume 3A, section 4.10.2.4).
    #[must_use]
    pub const fn space(&self) -> Option<SpaceId> {
        self.space
    }

    /// Whether global translations are among the stale ones. If not, these may stay.
    #[must_use]
    pub const fn global(&self) -> bool {
        self.global
    }

    /// Adds `extent` (with the span, where that is what is stale) for one space, or for every one.
    pub(crate) fn add(&mut self, extent: Extent, span: Span, space: Option<SpaceId>, global: bool) {
        // What concerns one space here, and every space there, concerns every space.
        self.space = match self.extent {
            Extent::Nothing => space,
            _ if self.space == space => space,
            _ => None,
        };
        self.global |= global;
        self.extent = self.extent.max(extent);
        if self.extent == Extent::Spans {
            self.add_span(span);
        }
        if self.extent > Extent::Spans {
            self.spans.clear();
        }
    }

    /// Pointers to tables have gone stale, too.
    pub(crate) fn add_tables(&mut self) {
        self.tables = true;
    }

    fn add_span(&mut self, span: Span) {
        if let Some(last) = self.spans.last_mut() {
            if let Some(both) = last.join(span) {
                *last = both;
                return;
            }
        }
        if self.spans.try_push(span).is_err() {
            self.extent = Extent::Everything;
        }
    }

    /// Everything is known to be dropped.
    pub(crate) fn clear(&mut self) {
        *self = Self::nothing();
    }
}
