//! How a space begins.

use crate::addr::Span;
use crate::level::{Arch, Limits};
use crate::table::RootCell;
use crate::walk::{Half, Names};
use core::fmt;
use core::marker::PhantomData;

/// What a space shares with the kernel's own: the root entries of one half, and the promise that
/// only the kernel's own space changes what lies below them.
///
/// It comes from [`Space::kernel_half`](super::Space::kernel_half), and borrows the kernel's space, so
/// that this cannot be torn down meanwhile.
///
/// ```compile_fail
/// # use pgtable::{Error, Host, Setup, Space, arch::x86::X86_64};
/// fn cheat<'r, H: Host>(kernel: Space<'r, X86_64, H>) {
///     let half = kernel.kernel_half().unwrap();
///     let _ = kernel.tear_down();
///     let _ = Setup::<X86_64>::new().sharing(half);
/// }
/// ```
pub struct KernelHalf<'r, A> {
    pub(super) cell: &'r RootCell,
    pub(super) span: Span,
    pub(super) limits: Limits,
    /// Where the kernel's host reaches its root.
    pub(super) place: usize,
    pub(super) arch: PhantomData<A>,
}

impl<A> KernelHalf<'_, A> {
    /// The shared addresses.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }
}

impl<A> Clone for KernelHalf<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for KernelHalf<'_, A> {}

impl<A> fmt::Debug for KernelHalf<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelHalf").field("span", &self.span).finish_non_exhaustive()
    }
}

/// What a new or adopted space is told. Without more: the mode's widest limits, no shared half, no
/// self-map, one name for each table.
///
/// ```
/// use pgtable::{Setup, Span, VirtAddr, Arch, arch::x86::X86_64};
/// let upper_half = Span::new(VirtAddr(0xffff_8000_0000_0000), 1 << 47).unwrap();
/// let kernel = Setup::<X86_64>::new().kernel(upper_half).self_map(510);
/// # let _ = kernel;
/// ```
pub struct Setup<'k, A> {
    pub(super) limits: Option<Limits>,
    pub(super) names: Names,
    pub(super) half: Part<'k, A>,
    pub(super) self_map: Option<usize>,
}

impl<A> Clone for Setup<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Setup<'_, A> {}

impl<A> fmt::Debug for Setup<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("limits", &self.limits)
            .field("names", &self.names)
            .field("half", &self.half)
            .field("self_map", &self.self_map)
            .finish()
    }
}

/// What a space has to do with the shared half.
pub(super) enum Part<'k, A> {
    Apart,
    Owner(Span),
    Guest(KernelHalf<'k, A>),
}

impl<A> Clone for Part<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Part<'_, A> {}

impl<A> fmt::Debug for Part<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart => f.write_str("Apart"),
            Self::Owner(span) => f.debug_tuple("Owner").field(span).finish(),
            Self::Guest(half) => f.debug_tuple("Guest").field(half).finish(),
        }
    }
}

impl<A: Arch> Default for Setup<'_, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'k, A: Arch> Setup<'k, A> {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { limits: None, names: Names::Unique, half: Part::Apart, self_map: None }
    }

    /// What this CPU can do; more than the mode allows does not count. A space that shares the kernel's
    /// half and is not told has the limits of the kernel's own.
    #[must_use]
    pub const fn limits(self, limits: Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// How many names the tables of an adopted tree have.
    #[must_use]
    pub const fn names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// This is the kernel's own space, and every space shares this part of it. The span is made of
    /// whole root entries. There is one such space for a host's list of roots.
    ///
    /// In a new space, root entries that can only name tables are filled at once and stay as they
    /// are, so no other root has to follow. Where a root entry does change (x86 without PAE has leaves
    /// there; an adopted tree may have empty ones), the change goes to all roots on the list.
    #[must_use]
    pub const fn kernel(self, shared: Span) -> Self {
        Self { half: Part::Owner(shared), ..self }
    }

    /// This space shares the kernel's half: that of a space of the same host, or of one that reaches
    /// the same memory at the same place. What it must be able to read there it must have limits for.
    /// (Of this and [`kernel`](Self::kernel), the last counts.)
    #[must_use]
    pub const fn sharing(self, half: KernelHalf<'k, A>) -> Self {
        Self { half: Part::Guest(half), ..self }
    }

    /// Root entry `index` names the root itself. A new space gets such an entry; an adopted one has
    /// it.
    #[must_use]
    pub const fn self_map(self, index: usize) -> Self {
        Self { self_map: Some(index), ..self }
    }

    pub(super) fn half(&self) -> Half {
        match self.half {
            Part::Guest(half) => Half::Guest(half.span),
            Part::Owner(span) => Half::Owner(span),
            Part::Apart => Half::Apart,
        }
    }
}
