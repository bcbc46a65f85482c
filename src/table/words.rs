//! The words of one table, in one place.

use super::{AtomicOf, Host, PlainOf, Seen, WordOf, table_lg2};
use crate::addr::PhysAddr;
use crate::level::{Error, PageTableLevel, Sight, Word};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// The words of a table of level `L`: those of a live one, or those of a copy in limbo.
pub(crate) struct Words<L> {
    pub(super) first: NonNull<u8>,
    level: PhantomData<L>,
}

impl<L> Clone for Words<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Words<L> {}

// SAFETY: everybody touches the words by atomic accesses, the MMU included, but for who copies them as
// `CopyTable` says. Whether their memory can be reached from another thread is for the host to say, by
// being `Send` itself: it goes where they go.
unsafe impl<L> Send for Words<L> {}
// SAFETY: as above.
unsafe impl<L> Sync for Words<L> {}

impl<L: PageTableLevel> Words<L> {
    /// The words at `frame`.
    ///
    /// # Safety
    /// `frame` is a table of level `L` in the sense of the room's invariant.
    #[inline]
    pub(super) unsafe fn at<H: Host>(host: &H, frame: PhysAddr) -> Result<Self, Error> {
        let height = L::LEVEL.height;
        let first = host
            .reach(frame, table_lg2::<L>())
            .filter(|first| first.cast::<AtomicOf<L>>().is_aligned())
            .ok_or(Error::Unreachable { table: frame, height })?;
        Ok(Self { first, level: PhantomData })
    }

    /// The words from `first` on, which is what the host answered for a table of this level.
    pub(super) fn from_reached(first: NonNull<u8>) -> Self {
        Self { first, level: PhantomData }
    }

    /// Where they are: what tells the memory of one host from that of another.
    pub(crate) fn place(self) -> usize {
        self.first.as_ptr().addr()
    }

    /// The same words, for the same level under another name.
    pub(super) fn as_of<M: PageTableLevel<Format = L::Format>>(self) -> Words<M> {
        Words { first: self.first, level: PhantomData }
    }

    /// Does `work` on one entry; an index past the end counts from the start again.
    #[inline]
    fn with<R>(self, index: usize, work: impl FnOnce(&AtomicOf<L>) -> R) -> R {
        let index = index & L::LEVEL.entries().wrapping_sub(1);
        let word = self.first.cast::<AtomicOf<L>>().as_ptr().wrapping_add(index);
        // SAFETY: `first` is what the host answered for a table of level `L`, so by `Host::reach`
        // it is valid for the table's 2^table_lg2 bytes, which are `entries()` words; the mask keeps
        // `word` among them, and `at` has checked the alignment. By this room's invariant the table
        // is not freed while it can be reached by a verb, and everybody, the MMU included, touches
        // it by atomic accesses of this width only. The reference ends with `work`.
        work(unsafe { &*word })
    }

    /// Reads an entry.
    #[inline]
    pub(crate) fn load(self, index: usize) -> u64 {
        self.with(index, WordOf::<L>::load)
    }

    /// How many of the words from an index on, and at most so many, are zero.
    #[inline]
    pub(crate) fn empty_from(self, index: usize, most: usize) -> usize {
        let words = self.first.cast::<AtomicOf<L>>().as_ptr();
        // SAFETY: as in `with`, of all words at once.
        let words = unsafe { core::slice::from_raw_parts(words, L::LEVEL.entries()) };
        let rest = words.get(index..).unwrap_or_default();
        empty_run::<L>(rest.get(..most).unwrap_or(rest))
    }

    /// Whether any word has one of these bits.
    pub(crate) fn any(self, bits: u64) -> bool {
        (0..L::LEVEL.entries()).any(|index| self.load(index) & bits != 0)
    }

    /// The sum of all words, modulo 2 to the 64. Of each it has what was there at some moment.
    pub(crate) fn sum(self) -> u64 {
        (0..L::LEVEL.entries()).map(|index| self.load(index)).fold(0, u64::wrapping_add)
    }

    /// The sum of all words, modulo 2 to the 64, of a copy that every CPU has dropped, at the end of its
    /// batch: nobody else comes to it any more, so the CPU may read several words at once.
    #[inline]
    pub(crate) fn quiet_sum(self) -> u64 {
        let words = self.first.cast::<AtomicOf<L>>().as_ptr();
        // SAFETY: as in `with`, these are the `entries()` words of a table, which is not freed yet. The
        // slice is the only way to them while it is there: no CPU gets here any more, nor does a
        // reader of the host's, and verbs that do would have to borrow the space, as the end of the
        // batch does now.
        let words = unsafe { core::slice::from_raw_parts_mut(words, L::LEVEL.entries()) };
        words.iter_mut().map(WordOf::<L>::get).fold(0, u64::wrapping_add)
    }

    /// Reads an entry, to be decoded.
    #[inline]
    pub(crate) fn see(self, index: usize, sight: &Sight) -> Seen<'_, L> {
        Seen { raw: self.load(index), sight, read_from: PhantomData }
    }

    /// Writes over an entry that is not present, and so is not written by hardware.
    #[inline]
    pub(crate) fn store(self, index: usize, raw: u64) {
        self.with(index, |word| WordOf::<L>::store(word, raw));
    }

    /// Writes, and tells what was there.
    #[inline]
    pub(crate) fn swap(self, index: usize, raw: u64) -> u64 {
        self.with(index, |word| WordOf::<L>::swap(word, raw))
    }

    /// Writes if `was` is there, or tells what is.
    #[inline]
    pub(crate) fn compare_exchange(self, index: usize, was: u64, raw: u64) -> Result<u64, u64> {
        self.with(index, |word| WordOf::<L>::compare_exchange(word, was, raw))
    }

    /// Clears and sets bits in one step, and tells what was there. Bits that hardware sets in
    /// between are kept.
    #[inline]
    pub(crate) fn modify(self, index: usize, clear: u64, set: u64) -> u64 {
        self.with(index, |word| {
            if clear == 0 {
                return WordOf::<L>::fetch_or(word, set);
            }
            if set == 0 {
                return WordOf::<L>::fetch_and(word, !clear);
            }
            exchanged::<L>(word, WordOf::<L>::load(word), clear, set)
        })
    }

    /// Clears and sets bits of an entry that said `was` a moment ago, and tells what it said then.
    #[inline(always)]
    pub(crate) fn modify_from(self, index: usize, was: u64, clear: u64, set: u64) -> u64 {
        self.with(index, |word| exchanged::<L>(word, was, clear, set))
    }
}

/// The words of a frame that is to become a table of level `L`, from what the host answered for it on.
///
/// # Safety
/// `first` is aligned for a word, and the frame is nobody else's for as long as the words are borrowed.
#[inline]
pub(super) unsafe fn private<'w, L: PageTableLevel>(
    first: NonNull<u8>,
) -> &'w mut [MaybeUninit<PlainOf<L>>] {
    let words = first.cast::<MaybeUninit<PlainOf<L>>>().as_ptr();
    // SAFETY: by the contract of `Host`, the pointer is valid for the table's bytes, which are
    // `entries()` words; that they are aligned, and nobody else's, the caller promises.
    unsafe { core::slice::from_raw_parts_mut(words, L::LEVEL.entries()) }
}

/// How many of the first words are zero.
#[inline]
fn empty_run<L: PageTableLevel>(words: &[AtomicOf<L>]) -> usize {
    let is_empty = |word: &&AtomicOf<L>| WordOf::<L>::load(word) == 0;
    if !words.first().as_ref().is_some_and(is_empty) {
        return 0;
    }
    // Where one is, most are: a look at several at once is quicker.
    let are_empty =
        |run: &&[AtomicOf<L>]| run.iter().fold(0, |any, word| any | WordOf::<L>::load(word)) == 0;
    let run = words.chunks_exact(8).take_while(are_empty).flatten().count();
    run.saturating_add(words.iter().skip(run).take_while(is_empty).count())
}

#[inline(always)]
fn exchanged<L: PageTableLevel>(word: &AtomicOf<L>, was: u64, clear: u64, set: u64) -> u64 {
    match WordOf::<L>::compare_exchange(word, was, (was & !clear) | set) {
        Ok(was) => was,
        Err(now) => exchanged_later::<L>(word, now, clear, set),
    }
}

/// The same, for an entry to which hardware writes just now.
#[cold]
#[inline(never)]
fn exchanged_later<L: PageTableLevel>(
    word: &AtomicOf<L>,
    mut was: u64,
    clear: u64,
    set: u64,
) -> u64 {
    loop {
        match WordOf::<L>::compare_exchange(word, was, (was & !clear) | set) {
            Ok(was) => return was,
            Err(now) => was = now,
        }
    }
}
