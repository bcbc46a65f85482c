//! Where in the 64-bit address space a mode's addresses are.

use crate::addr::{Span, VirtAddr, low_bits};
use crate::level::{Arch, PageTableLevel};

/// Where in the address space a mode's addresses are.
pub(crate) struct Reach<A>(core::marker::PhantomData<A>);

impl<A: Arch> Reach<A> {
    const BITS: u8 = A::Root::LEVEL.reach_lg2();

    /// Whether the mode has this address: the bits that it does not translate are zero, or repeat
    /// the highest one that it does.
    #[inline]
    pub(crate) fn has(at: VirtAddr) -> bool {
        let above = !low_bits(Self::BITS);
        let high = at.0 & (above | (above.wrapping_shr(1) & !above));
        if A::SIGN_EXTENDED {
            high == 0 || high | low_bits(Self::BITS.saturating_sub(1)) == u64::MAX
        } else {
            at.0 & above == 0
        }
    }

    /// Whether a span lies in the mode's address space, without a gap in between.
    #[inline]
    pub(crate) fn has_span(span: Span) -> bool {
        let (first, last) = (span.first(), span.last());
        let one_half = (first.0 ^ last.0) & !low_bits(Self::BITS) == 0;
        Self::has(first) && Self::has(last) && one_half
    }

    /// The first address that an entry of the root stands for.
    pub(crate) fn root_entry(index: usize) -> VirtAddr {
        let offset = (index as u64).wrapping_shl(A::Root::LEVEL.span_lg2.into());
        let upper = offset & !low_bits(Self::BITS.saturating_sub(1)) != 0;
        VirtAddr(if A::SIGN_EXTENDED && upper { offset | !low_bits(Self::BITS) } else { offset })
    }

    /// The address space, in one piece or in two halves, in ascending order.
    pub(crate) fn halves() -> [Option<Span>; 2] {
        let half_lg2 = Self::BITS.saturating_sub(1);
        if !A::SIGN_EXTENDED || Self::BITS >= 64 {
            return [Some(Span::around(VirtAddr(0), Self::BITS)), None];
        }
        let high = Span::around(VirtAddr(u64::MAX), half_lg2);
        [Some(Span::around(VirtAddr(0), half_lg2)), Some(high)]
    }
}
