//! The processor's hint that some memory will be read soon. Nothing waits for it.
//!
//! The only unsafe code here: a hint reads nothing for the program, so no address is wrong.

/// Hints that what is at `p` will be read. Without effect where there is no such instruction.
#[inline]
pub(crate) fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the intrinsic takes an address")]
    // SAFETY: a prefetch neither faults nor changes anything, whatever the address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
