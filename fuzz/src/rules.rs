//! What a space refuses by itself, whatever is mapped: addresses, sizes, attributes and frames.

use crate::common::{mapping_levels, page_lg2, root_level, virt_bits};
use crate::input::{Address, Length, Memory};
use crate::manual::{Manual, bits};
use pgtable::{Arch, Attrs, Level, Limits, Rights, Span, VirtAddr};

/// The rules of one space.
#[derive(Clone, Copy)]
pub struct Rules {
    pub limits: Limits,
    /// The addresses of the self-map.
    pub self_map: Option<Span>,
    pub manual: Manual,
    bits: u32,
    signed: bool,
}

impl Rules {
    pub fn new<A: Arch>(limits: Limits, self_map: Option<Span>) -> Self {
        let manual = Manual::of(A::NAME);
        Self { limits, self_map, manual, bits: virt_bits::<A>().into(), signed: A::SIGN_EXTENDED }
    }

    /// Whether the mode has this address.
    pub fn has(&self, at: u64) -> bool {
        if !self.signed {
            return at >> self.bits == 0;
        }
        let high = at >> (self.bits - 1);
        high == 0 || high == u64::MAX >> (self.bits - 1)
    }

    pub fn offset(&self, at: u64) -> u64 {
        at & bits(0, self.bits)
    }

    fn is_self_map(&self, first: u64, last: u64) -> bool {
        self.self_map.is_some_and(|map| first <= map.last().0 && map.first().0 <= last)
    }

    /// The offsets of a span that verbs take.
    pub fn span(&self, span: Span) -> Option<(u64, u64)> {
        let (first, last) = (span.first().0, span.last().0);
        let whole = first & 0xfff == 0 && last & 0xfff == 0xfff;
        let half = !self.signed || first >> 63 == last >> 63;
        let good = self.has(first) && self.has(last) && half && whole;
        (good && !self.is_self_map(first, last)).then(|| (self.offset(first), self.offset(last)))
    }

    pub fn size(&self, lg2: u8) -> bool {
        self.height(lg2).is_some() && lg2 <= self.limits.largest_leaf_lg2
    }

    /// The height of pages of this size.
    pub fn height(&self, lg2: u8) -> Option<u8> {
        let mut heights = 0..self.manual.levels;
        heights.find(|&height| {
            self.manual.has_pages(height) && self.manual.span_lg2(height) == lg2.into()
        })
    }

    pub fn attrs(&self, attrs: &Attrs) -> bool {
        let (keys, software) = if self.manual.is_long() { (15, 0x3ff) } else { (0, 7) };
        let executable = attrs.rights.contains(Rights::EXECUTE);
        attrs.rights.contains(Rights::READ)
            && (executable || self.manual.wide && self.limits.no_execute)
            && (!attrs.global || self.limits.global)
            && (attrs.key == 0 || self.limits.keys)
            && attrs.key <= keys
            && attrs.software <= software
    }

    /// Whether the frame of a page of this size can be said.
    pub fn frame(&self, frame: u64, lg2: u8) -> bool {
        let Some(height) = self.height(lg2) else { return false };
        let width = self.manual.width(height, true, &self.limits);
        frame & bits(0, lg2.into()) == 0 && frame & !bits(0, width) == 0
    }
}

/// An address as the input has it.
pub fn address<A: Arch>(at: Address) -> u64 {
    match at {
        Address::Any(at) => at,
        Address::Near { anchor, page } => {
            let all = 1u128 << virt_bits::<A>();
            let top = (root_level::<A>().entries() as u128 - 1) << root_level::<A>().span_lg2;
            let start = match anchor % 4 {
                0 => 0,
                1 => all / 2,
                2 => (top & !(1 << 30)) + (u128::from(anchor & 4) << 28),
                _ => all - (1400 << page_lg2::<A>()),
            };
            // Mostly the same few pages, so that verbs meet each other.
            let page = if page & 0xc000 == 0 { page % 2048 } else { page % 6 };
            let offset = start + (u128::from(page) << page_lg2::<A>());
            crate::common::canonical::<A>((offset % all) as u64).0
        }
    }
}

/// A span as the input has it: it ends where addresses end, at the latest. What is to be mapped is
/// short, since it is mapped page by page.
pub fn span(at: u64, length: Length, short: bool) -> Option<Span> {
    let most = if short { (16 << 20) - 1 } else { u64::MAX };
    let bytes = match length {
        Length::Pages(pages) if pages & 0xc000 == 0 => (u64::from(pages % 1300) + 1) << 12,
        Length::Pages(pages) if pages & 0x8000 == 0 => 1 << 21 << (pages & 1),
        Length::Pages(pages) => (u64::from(pages % 8) + 1) << 12,
        Length::Any(bytes) => bytes & most,
    };
    Span::new(VirtAddr(at), bytes)
}

/// A frame as the input has it.
pub fn memory(memory: Memory, at: u64) -> u64 {
    match memory {
        Memory::Same => at & 0x7fff_ffff,
        Memory::Near(page) => u64::from(page) << 12,
        Memory::Any(frame) => frame,
    }
}

/// The size of a page as the input has it: mostly one of the mode's.
pub fn size<A: Arch>(number: u8) -> u8 {
    let levels: Vec<Level> = mapping_levels::<A>();
    match number & 0xf {
        14 => 0,
        15 => [12, 21, 22, 30, 39][usize::from(number >> 4) % 5],
        nth => levels[usize::from(nth) % levels.len()].span_lg2,
    }
}
