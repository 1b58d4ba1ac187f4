//! Draws without randomness: a hash of what is drawn for, so that the same decision draws the same.

/// An even fraction in [0, 1) for a seed.
pub(crate) fn fraction(seed: u64) -> f64 {
    // 53 bits are what a float holds exactly.
    (splitmix(seed) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A seed made of a text: FNV-1a, whose values stay the same from release to release.
pub(crate) fn seed_of(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Sebastiano Vigna's splitmix64 step (<https://prng.di.unimi.it/splitmix64.c>, public domain).
pub(crate) fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
