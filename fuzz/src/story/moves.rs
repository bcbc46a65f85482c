//! What moves tables, and what takes a tree over.

use super::*;

/// A move, as the input has it.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: u64,
    pub(super) span: Option<Span>,
    pub(super) what: u8,
    pub(super) height: u8,
    /// Which tables the policy keeps, by turns.
    pub(super) keep: u8,
    /// The session is forgotten, and the batch goes on.
    pub(super) forget: bool,
}

impl Asked {
    fn policy(self) -> impl FnMut(&pgtable::TableAt) -> Placement {
        let mut turn = 0_u8;
        move |table| {
            turn = turn.wrapping_add(1);
            match (self.keep >> (turn % 8) & 1 != 0, self.what & 0x80 != 0) {
                (true, _) => Placement::Keep,
                (false, true) => Placement::onto(1, table),
                (false, false) => Placement::Anywhere,
            }
        }
    }
}

impl<'c, A: Arch> Both<'c, A> {
    /// Moves something. It fails where the host has no memory for it, or where there is no table.
    pub(super) fn relocate(&mut self, asked: Asked) {
        let root = root_level::<A>().height;
        let asked = Asked { height: asked.height % 6, ..asked };
        let one = asked.what % 8 > 4 && asked.height != root;
        let expected = if one { self.is_table(asked.at, asked.height) } else { Ok(()) };
        if self.rules.has(asked.at) {
            self.host.world.borrow_mut().heat(self.rules.offset(asked.at));
        }
        let refusals = self.host.refused();
        let result = self.migrate(asked);
        let starved = self.host.refused() != refusals;
        match (&result, expected) {
            (Ok(()), Ok(())) | (Err(_), Err(_)) => {}
            (Err(Error::OutOfMemory(_) | Error::BadTable { .. }), Ok(())) if starved => {}
            (result, expected) => panic!("{result:?}, not {expected:?} at {:#x}", asked.at),
        }
        let ended = !asked.forget || result.is_err();
        assert!(!ended || self.in_limbo() == 0, "the batch has ended");
    }

    /// Whether a table of this height serves an address.
    fn is_table(&self, at: u64, height: u8) -> Answer<()> {
        let at = u128::from(Self::page_of(&self.rules, at)?);
        let Some(level) = levels::<A>().find(|level| level.height == height) else {
            return Self::check(false);
        };
        let reach = (1u128 << level.reach_lg2()) - 1;
        let slots = self.now().touching((at & !reach) as u64, (at | reach) as u64);
        Self::check(slots.iter().any(|(_, slot)| slot.0 <= level.span_lg2))
    }

    fn migrate(&mut self, asked: Asked) -> Done<()> {
        let tables: Vec<u64> = self.host.tables().into_iter().collect();
        let frame = PhysAddr(tables[usize::from(asked.keep) % tables.len()]);
        let host = self.host;
        let mut session = self.space().enter();
        let was_limbo = session.in_limbo(frame);
        let policy = asked.policy();
        let result = match (asked.what % 8, asked.span) {
            (0, _) => session.migrate_space(policy),
            (1 | 2, Some(span)) => session.migrate_range(span, policy),
            (3, _) => session.migrate_root(policy).map(drop),
            (4, _) => match session.migrate_frame(frame, policy) {
                Err(Error::NoTable(_)) if was_limbo => {
                    assert!(!host.tables().contains(&frame.0));
                    Ok(())
                }
                other => other.map(drop),
            },
            (1 | 2, None) => Ok(()),
            _ => match session.migrate_table(VirtAddr(asked.at), asked.height, policy) {
                Ok(Some(moved)) => {
                    assert!(session.in_limbo(moved.from) && !session.in_limbo(moved.to));
                    Ok(())
                }
                other => other.map(drop),
            },
        };
        if asked.forget {
            std::mem::forget(session);
        } else {
            session.leave();
        }
        result
    }

    /// The space is given up as it is, and taken over again.
    pub(super) fn readopt(&mut self) {
        let space = self.space.take().expect("there is one between calls");
        let root = space.release().map_err(|(_, error)| error).expect("it shares nothing");
        assert_eq!(self.cell.root(), None);
        let setup = setup_of(self.rules.limits, self.names, self.self_map);
        // SAFETY: it is the tree that the space has built, and nobody has changed it since.
        let space = unsafe { Space::adopt(self.host, self.cell, root, setup) };
        self.space = Some(space.expect("what the crate has built can be adopted"));
    }
}
