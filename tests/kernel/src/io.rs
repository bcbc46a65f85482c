//! Ports: the serial line, and the ways to switch the machine off.

use crate::lock::Lock;
use core::arch::asm;
use core::fmt::{self, Write};

/// Writes a byte to a port.
///
/// # Safety
/// Whatever the device does with it must be well.
pub unsafe fn write_port(port: u16, value: u8) {
    // SAFETY: as the caller promises.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn read_port(port: u16) -> u8 {
    let value;
    // SAFETY: the ports that are read here are the serial line's, which may be asked at any time.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// The serial line.
struct Line;

const COM1: u16 = 0x3f8;

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Until the transmitter is empty; a line that is not there never is.
            let ready = |_: &u32| read_port(COM1 + 5) & 0x20 != 0;
            let _ = (0..100_000).find(ready);
            // SAFETY: the line takes bytes.
            unsafe { write_port(COM1, byte) };
        }
        Ok(())
    }
}

static LINE: Lock<Line> = Lock::new(Line);

/// Writes one line, that no other CPU gets in between.
pub fn write_line(text: fmt::Arguments<'_>) {
    let mut line = LINE.lock();
    // The line itself never fails.
    let _ = line.write_fmt(text);
    let _ = line.write_str("\n");
}

/// Writes one line, whoever has the line now: for the last words.
pub fn cry(text: fmt::Arguments<'_>) {
    let _ = Line.write_fmt(text);
    let _ = Line.write_str("\n");
}

/// Writes one line.
macro_rules! say {
    ($($text:tt)*) => { $crate::io::write_line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Eight bits at a time.
pub fn set_line_up() {
    // SAFETY: the line's control register.
    unsafe { write_port(COM1 + 3, 0b11) };
}

/// Switches the interrupt controllers of old off: nothing here uses them.
pub fn quiet_old_controllers() {
    for port in [0x21, 0xa1] {
        // SAFETY: masks all of their lines.
        unsafe { write_port(port, 0xff) };
    }
}

/// Switches the machine off: with status 33 or 35 in QEMU, by its own port in Bochs.
pub fn switch_off(good: bool) -> ! {
    // Until the line is idle, not only ready for one more byte.
    let _ = (0..100_000).find(|_: &u32| read_port(COM1 + 5) & 0x40 != 0);
    // SAFETY: QEMU's exit device; elsewhere nothing listens.
    unsafe { write_port(0xf4, if good { 0x10 } else { 0x11 }) };
    for byte in *b"Shutdown" {
        // SAFETY: Bochs' exit port; elsewhere nothing listens.
        unsafe { write_port(0x8900, byte) };
    }
    loop {
        core::hint::spin_loop();
    }
}
