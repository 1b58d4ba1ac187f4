//! Chance that repeats: the same seed draws the same numbers, on every machine.

/// A generator of pseudo-random numbers: Sebastiano Vigna's splitmix64
/// (<https://prng.di.unimi.it/splitmix64.c>, public domain).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` - 1; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product is even enough for tests, and has no slow remainder.
        let wide = u128::from(self.draw()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// True so many times out of a thousand.
    pub fn per_mille(&mut self, rate: u16) -> bool {
        self.below(1_000) < u64::from(rate)
    }

    /// One of these.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A generator of its own for something else, so that the two do not disturb each other.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_rates_hold() {
        let draw = |seed| {
            std::iter::repeat_with({
                let mut random = Random::new(seed);
                move || random.draw()
            })
        };
        // The first numbers of the reference implementation for the seed 1234567.
        assert_eq!(
            draw(1_234_567).take(3).collect::<Vec<_>>(),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        let mut random = Random::new(7);
        let hits = (0..10_000).filter(|_| random.per_mille(200)).count();
        assert!((1_800..2_200).contains(&hits), "{hits} of 10000");
        assert!((0..1_000).all(|_| random.index(3) < 3));
        assert_eq!((0..1_000).map(|_| random.below(3)).max(), Some(2));
    }
}
