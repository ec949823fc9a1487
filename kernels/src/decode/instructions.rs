//! Which instructions a processor has.

use std::sync::OnceLock;

/// A set of vector instructions; each holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// What every processor has.
    Scalar,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL) with VNNI and bf16.
    Avx512,
    /// The tiles of AMX, bf16 and int8.
    Amx,
}

impl Instructions {
    /// Every set, the plainest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Amx];

    /// The best set of this machine. Tiles need a leave of the kernel, which this asks for once.
    pub fn best() -> Self {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// Whether this machine has the set.
    pub fn is_available(self) -> bool {
        self <= Self::best()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Amx => "AMX",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Instructions {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Instructions::Scalar;
    }
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512bf16");
    match (has_avx512, has_tiles()) {
        (true, true) => Instructions::Amx,
        (true, false) => Instructions::Avx512,
        (false, _) => Instructions::Avx2,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Instructions {
    Instructions::Scalar
}

/// Whether the processor has tiles, the system saves them, and the kernel lets this process use them.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    use std::arch::x86_64::__cpuid_count;
    const TILE_BITS: u32 = 1 << 22 | 1 << 24 | 1 << 25; // AMX-BF16, AMX-TILE, AMX-INT8
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    if __cpuid_count(7, 0).edx & TILE_BITS != TILE_BITS {
        return false;
    }
    // SAFETY: the call only asks for leave to use tile registers; it reads and writes no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_tiles() -> bool {
    false
}

/// Compiles one body for each set of vector instructions, and chooses at run time. The body's arithmetic is written out, each operation in its
/// order, so that every set gives the same bits.
macro_rules! by_instructions {
    ($(#[$doc:meta])* $visible:vis fn $name:ident($instructions:ident, $($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "the set of instructions comes on top")]
        $visible fn $name($instructions: $crate::decode::Instructions, $($arg: $type),*) {
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
            fn body($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $type),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) { body($($arg),*) }
                use $crate::decode::Instructions as Set;
                match $instructions {
                    // SAFETY: the set was detected on this machine.
                    Set::Amx | Set::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: the set was detected on this machine.
                    Set::Avx2 => return unsafe { avx2($($arg),*) },
                    Set::Scalar => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = $instructions;
            body($($arg),*);
        }
    };
}
pub(crate) use by_instructions;
