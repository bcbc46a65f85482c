//! The kernel's own image, which it has protected page by page while it ran.

use super::{Stop, bad, good};
use crate::mode::NO_EXECUTE;
use crate::probe::{Fault, PRESENT, WRITE};
use crate::spaces::KERNEL;
use crate::{Build, boot, cpus, probe};
use pgtable::VirtAddr;

/// Code cannot be written to, data cannot be executed, and what was where memory is is gone.
pub fn image(_: Build) -> Result<(), Stop> {
    let [code, _, data, _] = boot::image();
    let is = |found: Result<(), Fault>, error| found.is_err_and(|fault| fault.error == error);
    let (mut pages, mut wrong) = (0, 0);
    for cpu in 0..2 {
        let ask = |work: fn(u64) -> Result<(), Fault>, at| match cpu {
            0 => work(at),
            _ => cpus::elsewhere(|| work(at)),
        };
        wrong += u32::from(!is(ask(|at| probe::write(at, 0), code), PRESENT | WRITE));
        wrong += u32::from(NO_EXECUTE && !is(ask(probe::execute, data), PRESENT | probe::FETCH));
        wrong += u32::from(!is(ask(|at| probe::read(at).map(|_| ()), boot::LOADED), 0));
    }
    let size_lg2 = KERNEL.lock().translate(VirtAddr(code))?.size_lg2;
    pages += u32::from(size_lg2 == 12);
    match (pages, wrong) {
        (1, 0) => good(format_args!("code and data in pages of their own, protected")),
        found => bad(format_args!("base pages, accesses that went wrong: {found:?}")),
    }
    Ok(())
}
