//! Any file at all, read as a core: what `dump` and `relocate` do with it before they use it.

use crate::support::core::CoreMemory;
use crate::support::elf::Core;
use crate::support::mode::{Cpu as Stopped, ForMode};
use pgtable::{
    Arch, Config, Entry, Error, Names, PhysAddr, RootCell, Setup, Space, Span, Step, View,
};
use std::cell::Cell;

/// A tree in which tables name each other has more paths than anybody can walk.
const ENTRIES: u32 = 1 << 16;

/// Reads a file. It is refused on one line, or its CPUs' tables are looked at, and adopted.
pub fn run(file: &[u8]) {
    let core = match Core::parse(file) {
        Ok(core) => core,
        Err(fault) => {
            let line = fault.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
            return;
        }
    };
    assert!(!core.cpus.is_empty(), "a core without CPUs");
    let (pieces, bytes) = core.memory.extent();
    assert!(bytes <= file.len() as u64 && pieces as u64 <= bytes, "more memory than the file has");
    for cpu in core.cpus.iter().filter(|cpu| cpu.pages()) {
        cpu.mode.run(Looked { memory: &core.memory, cpu });
    }
}

struct Looked<'a> {
    memory: &'a CoreMemory,
    cpu: &'a Stopped,
}

impl ForMode for Looked<'_> {
    type Output = ();

    fn run<C: Config>(self) {
        let root = self.cpu.root::<C>();
        // SAFETY: whatever the words say, the memory reaches nothing but words of its own.
        let view = unsafe { View::<C, _>::new(self.memory, root, C::Arch::LIMITS) };
        let Ok(view) = view else { return };
        let count = Cell::new(0_u32);
        let mut outside = false;
        let walked = view.visit(Span::ALL, |seen| {
            count.set(count.get() + 1);
            if let Entry::Leaf(frame) = seen.entry {
                assert!(frame.is_aligned(seen.level.span_lg2), "{frame} of {:?}", seen.level);
            }
            outside |= matches!(seen.entry, Entry::Malformed(_));
            if count.get() < ENTRIES { Step::Into } else { Step::Over }
        });
        assert!(matches!(walked, Ok(()) | Err(Error::Unreachable { .. })), "{walked:?}");
        if walked.is_ok() && count.get() < ENTRIES {
            adopt::<C>(self.memory, root);
        }
    }
}

/// What is refused is as it was; what is adopted maps what it mapped, and comes back as it was.
fn adopt<C: Config>(memory: &CoreMemory, root: PhysAddr) {
    let before = memory.picture();
    let cell = RootCell::new();
    let setup = Setup::new().names(Names::Aliased);
    // SAFETY: the memory is this program's own, all of it is reached, and nobody else changes it.
    let space = unsafe { Space::<C, _>::adopt(memory, &cell, root, setup) };
    match space {
        Ok(mut space) => {
            let seen = space.mappings(Span::ALL).take(1000).filter(Result::is_ok).count();
            let mut session = space.enter();
            // There is no memory for other tables: nothing moves, and nothing is lost.
            let moved = session.migrate_space(|_| pgtable::Placement::Anywhere);
            assert!(moved.is_err() || session.statistics().tables() == 0);
            session.leave();
            let again = space.mappings(Span::ALL).take(1000).filter(Result::is_ok).count();
            assert_eq!(seen, again);
            let released = space.release().map_err(|(_, error)| error);
            assert_eq!(released, Ok(root));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(before == memory.picture(), "nothing was asked for that changes a word");
    assert!(memory.freed().is_empty());
}
