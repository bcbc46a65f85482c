//! From the first instruction in Rust to two CPUs on the kernel's own space.

use crate::host::Kernel;
use crate::io::{quiet_old_controllers, say, set_line_up};
use crate::layout::{HIGH, IDENTITY_BYTES};
use crate::mode::{LAYOUT, Mode, NO_EXECUTE, PAGE, can, data, shared};
use crate::spaces::{Here, KERNEL};
use crate::{acpi, apic, boot, cpus, frames, memory, report};
use pgtable::arch::native;
use pgtable::{Arch, Error, Gather, PhysAddr, Rights, Setup, Space, Span, VirtAddr};

/// What CPU 0 does.
pub fn first_cpu(info: u32) -> Result<(), Error> {
    set_line_up();
    quiet_old_controllers();
    let nodes = acpi::Nodes::read();
    let [.., end] = boot::image();
    let (low, high) = (acpi::memory(info), acpi::memory(info));
    frames::add(low.filter(|&(first, _)| first < HIGH), &nodes);
    frames::reserve(end - LAYOUT.image);
    cpus::enable_tags();
    adopt(info)?;
    // Where base pages do not reach it, huge pages may.
    frames::add(high.filter(|&(first, _)| first >= HIGH), &nodes);
    let two = start_other_cpu();
    describe(&nodes);
    report::begin("boot");
    report::verdict(two, format_args!("{} CPUs", cpus::online().count()));
    let first = span(0, IDENTITY_BYTES);
    let mut kernel = KERNEL.lock();
    Gather::scope(|mut gather| {
        kernel.unmap_range(first, &mut gather, drop)?;
        kernel.finish(gather).map(|_| ())
    })
}

/// What another CPU does.
pub fn other_cpu(cpu: usize) -> ! {
    cpus::enable_tags();
    cpus::activate(&KERNEL);
    apic::switch_on(cpu);
    cpus::come_online();
    cpus::enable_interrupts();
    cpus::serve();
}

/// Takes over the tables that paging went on with, and makes them what the kernel wants.
fn adopt(info: u32) -> Result<(), Error> {
    // SAFETY: at level 0.
    let setup = Setup::new().kernel(shared()).limits(unsafe { native::limits() });
    let root = PhysAddr(boot::FIRST_ROOT);
    // SAFETY: the build script has built them, and nobody else knows of them.
    let mut kernel: Here = unsafe { Space::adopt(Kernel, &KERNEL.cell, root, setup) }?;
    map_high_memory(&mut kernel, info)?;
    apic::map(&mut kernel)?;
    protect_image(&mut kernel)?;
    KERNEL.fill(kernel);
    Ok(())
}

fn span(first: u64, end: u64) -> Span {
    Span::inclusive(VirtAddr(first), VirtAddr(end - 1)).expect("not empty")
}

/// Memory above 4 GiB, where the mode reaches it.
fn map_high_memory(kernel: &mut Here, info: u32) -> Result<(), Error> {
    if LAYOUT.high == 0 {
        return Ok(());
    }
    for (first, end) in acpi::memory(info).filter(|&(first, _)| first >= HIGH) {
        let (first, end) = (first.next_multiple_of(PAGE), end & !(PAGE - 1));
        let there = span(LAYOUT.high + first - HIGH, LAYOUT.high + end - HIGH);
        kernel.map_range(there, PhysAddr(first), data().with_global(true))?;
    }
    Ok(())
}

/// Code is not written to, and what is not code is not executed: of the pages that are running.
fn protect_image(kernel: &mut Here) -> Result<(), Error> {
    let [code, code_end, data, end] = boot::image();
    let write = Rights::READ | Rights::WRITE;
    Gather::scope(|mut gather| {
        let execute = Rights::READ | Rights::EXECUTE;
        kernel.protect_range(span(code, code_end), execute, &mut gather)?;
        kernel.protect_range(span(code_end, data), can(Rights::READ).rights, &mut gather)?;
        kernel.protect_range(span(data, end), can(write).rights, &mut gather)?;
        kernel.finish(gather).map(|_| ())
    })
}

/// Starts CPU 1, which needs the first instructions where they are; then these go.
fn start_other_cpu() -> bool {
    apic::switch_on(0);
    cpus::enable_interrupts();
    let root = KERNEL.cell.root().unwrap_or_default();
    // SAFETY: only CPUs that start read it.
    unsafe { memory::poke(boot::root_for_others(), root.0 as u32) };
    let there = apic::start_other();
    let waits = |_: &u32| {
        core::hint::spin_loop();
        cpus::online().count() > 1
    };
    there && (0..100_000_000).find(waits).is_some()
}

fn describe(nodes: &acpi::Nodes) {
    say!("mode {}, {} bits", Mode::NAME, usize::BITS);
    let told = if nodes.told { "told by SRAT" } else { "made up: the firmware has no SRAT" };
    for node in 0..2 {
        let [low, high] = frames::mebibytes(node);
        say!("node {node}: {low} MiB below 4 GiB, {high} MiB above ({told})");
    }
    let limits = *KERNEL.lock().limits();
    say!("limits {limits:?}");
    say!("PCIDs {}, NX {NO_EXECUTE}", cpus::tagged());
}
