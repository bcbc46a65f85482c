//! Physical memory as the kernel sees it: reading and writing it where it is mapped for good.

use crate::mode::direct;
use core::ptr::NonNull;

/// Where `at` can be reached.
pub fn reach<T>(at: u64) -> Option<NonNull<T>> {
    let address = usize::try_from(direct(at)?).ok()?;
    NonNull::new(core::ptr::without_provenance_mut::<u8>(address).cast())
}

/// What is at `at`, wherever that is aligned; zero where it is out of reach.
///
/// `T` is an integer, or an array of them.
pub fn peek<T: Copy + Default>(at: u64) -> T {
    match reach::<T>(at) {
        // SAFETY: memory below 256 MiB is mapped, and any bytes are a `T`.
        Some(place) => unsafe { place.as_ptr().read_unaligned() },
        None => T::default(),
    }
}

/// Writes to memory that is nobody else's.
///
/// # Safety
/// It is nobody else's, and it is mapped.
pub unsafe fn poke<T>(at: u64, value: T) {
    if let Some(place) = reach::<T>(at) {
        // SAFETY: as the caller promises.
        unsafe { place.as_ptr().write_unaligned(value) };
    }
}

/// The words of a frame, to be filled or looked at.
///
/// # Safety
/// The frame is nobody else's for as long.
pub unsafe fn words<'f>(frame: u64, bytes: usize) -> Option<&'f mut [u32]> {
    let place = reach::<u32>(frame)?;
    // SAFETY: it is mapped, aligned, and the caller's.
    Some(unsafe { core::slice::from_raw_parts_mut(place.as_ptr(), bytes / 4) })
}

/// The functions that the compiler counts on.
mod called_by_the_compiler {
    use core::arch::asm;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
        // SAFETY: what the caller of `memcpy` promises.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") bytes => _, options(nostack, preserves_flags));
        }
        // SAFETY: what the caller of `memcpy` promises. (`esi` is the compiler's own.)
        #[cfg(target_arch = "x86")]
        unsafe {
            asm!("xchg esi, {0}", "rep movsb", "mov esi, {0}", inout(reg) from => _, inout("edi") to => _, inout("ecx") bytes => _, options(nostack, preserves_flags));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
        if to.addr().wrapping_sub(from.addr()) >= bytes {
            // SAFETY: what is written lies before what is yet to be read, or does not touch it.
            return unsafe { memcpy(to, from, bytes) };
        }
        for at in (0..bytes).rev() {
            // SAFETY: within what the caller of `memmove` names.
            let byte = unsafe { from.wrapping_add(at).read_volatile() };
            // SAFETY: within what the caller of `memmove` names.
            unsafe { to.wrapping_add(at).write_volatile(byte) };
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8 {
        // SAFETY: what the caller of `memset` promises.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!("rep stosb", inout("rdi") to => _, in("al") byte as u8, inout("rcx") bytes => _, options(nostack, preserves_flags));
        }
        // SAFETY: what the caller of `memset` promises.
        #[cfg(target_arch = "x86")]
        unsafe {
            asm!("rep stosb", inout("edi") to => _, in("al") byte as u8, inout("ecx") bytes => _, options(nostack, preserves_flags));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
        for at in 0..bytes {
            // SAFETY: within what the caller of `memcmp` names.
            let a = unsafe { one.wrapping_add(at).read_volatile() };
            // SAFETY: within what the caller of `memcmp` names.
            let b = unsafe { other.wrapping_add(at).read_volatile() };
            if a != b {
                return i32::from(a) - i32::from(b);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
        // SAFETY: what the caller of `bcmp` promises.
        unsafe { memcmp(one, other, bytes) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut length = 0;
        // SAFETY: there is a zero at the end, as the caller of `strlen` promises.
        while unsafe { text.wrapping_add(length).read_volatile() } != 0 {
            length += 1;
        }
        length
    }
}
