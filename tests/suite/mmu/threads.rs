//! CPUs on threads of their own.

use super::made::{cpu, made};
use pgtable::model::{Access, Machine, Mode, Random};
use std::sync::atomic::{AtomicBool, Ordering};

/// Threads that use a page over and over, and an interrupt: after it nobody uses what was dropped.
#[test]
fn an_interrupt_is_answered_by_all() {
    let made = made(&Mode::X86_64);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5003);
    let cpus = (0..2).map(|seed| cpu(&Mode::X86_64, &made, Random::new(seed)));
    let (machine, done) = (Machine::new(cpus), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (machine, done) = (&machine, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let _ = machine.run(number, |cpu| cpu.access(memory, 0, Access::WRITE));
                }
            });
        }
        for _ in 0..100 {
            memory.store(leaf, 0);
            machine.interrupt(|_, cpu| cpu.invalidate_page(0));
            memory.forbid(0x5000, 12);
            std::thread::yield_now();
            memory.permit(0x5000);
            memory.store(leaf, 0x5003);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(memory.violations(), []);
}
