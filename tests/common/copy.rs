//! What a host does that copies tables by itself.

use std::ptr::NonNull;

/// As a kernel does it, where there is an instruction for it.
///
/// # Safety
/// As for `Host::copy_table`.
#[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(miri)))]
pub unsafe fn copy_table(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    unsafe { pgtable::arch::native::copy_table(from, to, size_lg2) };
}

/// The last bytes first.
///
/// # Safety
/// As for `Host::copy_table`.
#[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), not(miri))))]
pub unsafe fn copy_table(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    use std::sync::atomic::{AtomicU32, Ordering};
    for offset in (0..1 << size_lg2).step_by(4).rev() {
        let (from, to) = (from.as_ptr().wrapping_add(offset), to.as_ptr().wrapping_add(offset));
        let word = unsafe { AtomicU32::from_ptr(from.cast()) }.load(Ordering::Relaxed);
        unsafe { to.cast::<u32>().write(word) };
    }
}
