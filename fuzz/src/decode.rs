//! Single words, against the manual.

use crate::input::{Cpuid, Says};
use crate::manual::{self, Manual, bits};
use crate::support::mode::ForMode;
use arbitrary::Arbitrary;
use pgtable::{
    Arch, Attrs, Config, Entry, Fields, Format, Level, Limits, PhysAddr, Rights, Word, levels,
};

/// Words of one mode.
#[derive(Arbitrary, Clone, Debug)]
pub struct Input {
    pub mode: u8,
    pub cpuid: Cpuid,
    pub attrs: Says,
    pub frame: u64,
    pub words: Vec<u64>,
}

/// Asks a mode of everything.
pub fn run(input: &Input) {
    crate::mode(input.mode).run(Asked(input));
}

struct Asked<'a>(&'a Input);

impl ForMode for Asked<'_> {
    type Output = ();

    fn run<C: Config>(self) {
        let input = self.0;
        let limits = C::Arch::LIMITS.narrowed(input.cpuid.limits());
        for level in levels::<C::Arch>() {
            let of = Of::<C::Arch> { level, limits, manual: Manual::of(C::Arch::NAME), arch: [] };
            for &word in &input.words {
                // Any limits: an answer, if not a useful one.
                let word = of.manual.word(word);
                let _ = <C::Arch as Arch>::Format::decode(level, word, &input.cpuid.limits());
                of.word(word);
            }
            of.leaf(input.frame, &input.attrs.attrs());
            of.table(input.frame, input.attrs.rights & 1 != 0, &input.words);
            input.words.windows(2).for_each(|pair| of.rights(pair[0], pair[1]));
        }
    }
}

struct Of<A: Arch> {
    level: Level,
    limits: Limits,
    manual: Manual,
    arch: [A; 0],
}

impl<A: Arch> Of<A> {
    fn says(&self, raw: u64) -> manual::Says {
        self.manual.says(self.level.height, raw, &self.limits)
    }

    fn decode(&self, raw: u64) -> Entry {
        A::Format::decode(self.level, raw, &self.limits)
    }

    /// A word is read as the manual reads it, and nothing of it is lost.
    fn word(&self, raw: u64) {
        let _ = &self.arch;
        let entry = self.decode(raw);
        let expected = match self.says(raw) {
            manual::Says::Nothing => Entry::Empty,
            manual::Says::NotPresent => Entry::NonPresent(raw),
            manual::Says::Reserved => Entry::Malformed(raw),
            manual::Says::Table(table) => Entry::Table(PhysAddr(table)),
            manual::Says::Page(page) => Entry::Leaf(PhysAddr(page)),
        };
        assert_eq!(entry, expected, "{raw:#x} in {:?}", self.level);
        if let Entry::Leaf(frame) = entry {
            let attrs = A::Format::attrs(self.level, raw);
            self.same(&attrs, raw);
            assert_eq!(A::Format::leaf(self.level, frame, &attrs), Ok(raw), "{raw:#x}");
            self.masks(raw);
        }
        if let Entry::Table(table) = entry {
            let again = A::Format::table(self.level, table, raw & 4 != 0);
            assert_eq!(self.decode(again), entry, "{raw:#x}");
            let kept = A::Format::copied(self.level, raw);
            assert_eq!(self.decode(kept), entry);
            let register = self.manual.pae && self.level.height == 2;
            assert_eq!(kept, if register { raw & !0x20 } else { raw });
        }
    }

    fn same(&self, attrs: &Attrs, raw: u64) {
        let said = self.manual.fields(self.level.height, raw);
        let seen = manual::Said {
            write: attrs.rights.contains(Rights::WRITE),
            user: attrs.rights.contains(Rights::USER),
            execute: attrs.rights.contains(Rights::EXECUTE),
            memory: attrs.memory.index(),
            accessed: attrs.accessed,
            dirty: attrs.dirty,
            global: attrs.global,
            software: attrs.software,
            key: attrs.key,
        };
        assert_eq!(seen, said, "{raw:#x} in {:?}", self.level);
        assert!(attrs.rights.contains(Rights::READ));
    }

    /// Changing the bits of a field changes that field alone.
    fn masks(&self, raw: u64) {
        let before = A::Format::attrs(self.level, raw);
        for field in Fields::all().iter() {
            let mask = A::Format::mask(self.level, field);
            let after = A::Format::attrs(self.level, raw ^ mask);
            let mut expected = before;
            match field {
                Fields::RIGHTS => expected.rights = after.rights,
                Fields::MEMORY => expected.memory = after.memory,
                Fields::GLOBAL => expected.global = !before.global,
                Fields::SOFTWARE => expected.software = after.software,
                Fields::KEY => expected.key = after.key,
                Fields::ACCESSED => expected.accessed = !before.accessed,
                _ => expected.dirty = !before.dirty,
            }
            assert_eq!(after, expected, "{field:?} of {raw:#x} in {:?}", self.level);
            assert_eq!(after == before, mask == 0, "{field:?} of {raw:#x}");
            let page = |raw| self.manual.page(self.level.height, raw);
            assert_eq!(page(raw ^ mask), page(raw), "{field:?} of {raw:#x}");
        }
    }

    /// What is asked for is said, or refused; no reserved bit is ever set.
    fn leaf(&self, frame: u64, attrs: &Attrs) {
        let (level, height) = (self.level, self.level.height);
        let width = self.manual.width(height, true, &self.limits);
        let by_format = A::Format::phys_bits(level, true, &self.limits);
        assert_eq!(u32::from(by_format), width, "{level:?}");
        let possible = self.manual.has_pages(height)
            && level.span_lg2 <= self.limits.largest_leaf_lg2
            && width > self.manual.span_lg2(height);
        if !possible {
            return;
        }
        let frame = frame & bits(self.manual.span_lg2(height), width);
        let nx = attrs.rights.contains(Rights::EXECUTE) || self.manual.wide;
        let (keys, software) = if self.manual.is_long() { (15, 0x3ff) } else { (0, 7) };
        let sayable = attrs.rights.contains(Rights::READ)
            && nx
            && attrs.key <= keys
            && attrs.software <= software;
        let made = A::Format::leaf(level, PhysAddr(frame), attrs);
        assert_eq!(made.is_ok(), sayable, "{made:?}");
        let Ok(raw) = made else { return };
        assert_eq!(self.manual.word(raw), raw);
        assert_eq!(A::Format::attrs(level, raw), *attrs);
        self.same(attrs, raw);
        // The limits on attributes are asked of a space, not of a format.
        let limits = Limits { no_execute: true, ..self.limits };
        assert_eq!(self.manual.says(height, raw, &limits), manual::Says::Page(frame), "{raw:#x}");
        assert_eq!(A::Format::decode(level, raw, &limits), Entry::Leaf(PhysAddr(frame)));
    }

    /// A table's name is one, whatever software and hardware mark it with.
    fn table(&self, frame: u64, user: bool, marks: &[u64]) {
        let (level, height) = (self.level, self.level.height);
        let width = self.manual.width(height, false, &self.limits);
        assert_eq!(u32::from(A::Format::phys_bits(level, false, &self.limits)), width);
        let table = PhysAddr(frame & bits(12, width));
        // No table is at 0.
        if height == 0 || table.0 == 0 {
            return;
        }
        let raw = A::Format::table(level, table, user);
        let (lock, twin) = (A::Format::LOCK, A::Format::TWIN);
        assert_eq!(raw & (lock | twin), 0);
        assert_ne!(raw & !A::Format::PRESENT, 0, "a staged name must not look empty");
        assert_eq!(<<A::Format as Format>::Word as Word>::from_raw(raw).raw(), raw);
        for mark in marks.iter().chain([&0]) {
            let marked = raw | mark & (lock | twin | 0x20);
            assert_eq!(self.says(marked), manual::Says::Table(table.0), "{marked:#x}");
            assert_eq!(self.decode(marked), Entry::Table(table), "{marked:#x}");
            assert_eq!(self.decode(marked & !1), Entry::NonPresent(marked & !1));
        }
        let all = A::Format::rights(A::Format::grants(level, raw));
        let expected = if user || self.manual.pae && height == 2 {
            Rights::all()
        } else {
            Rights::all() - Rights::USER
        };
        assert_eq!(all, expected);
    }

    /// Rights are those of all words together, and widening gives what it is asked for.
    fn rights(&self, one: u64, other: u64) {
        let (one, other) = (self.manual.word(one), self.manual.word(other));
        let level = self.level;
        let grants = |raw: u64| A::Format::grants(level, raw);
        let both = A::Format::rights(grants(one) & grants(other));
        let each = A::Format::rights(grants(one)) & A::Format::rights(grants(other));
        assert_eq!(both, each, "{one:#x}, {other:#x}");
        let wanted = Rights::from_bits_truncate(other.to_le_bytes()[0]);
        let (clear, set) = A::Format::widening(level, wanted);
        let wide = A::Format::rights(grants(one & !clear | set));
        assert!(wide.contains(wanted | A::Format::rights(grants(one))), "{one:#x}: {wanted:?}");
        let allowed = 0x8000_0000_0000_0006;
        assert_eq!((clear | set) & !allowed, 0);
    }
}
