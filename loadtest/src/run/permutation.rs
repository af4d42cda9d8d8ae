//! Numbers below n in another order, without a table: a Feistel network with cycle walking.
//!
//! The most wanted keys are to lie anywhere, and each key is to be wanted by one rank: YCSB hashes ranks,
//! so that some keys have several and a third have none. Source: Black & Rogaway, "Ciphers with Arbitrary
//! Finite Domains" (CT-RSA 2002). Unfit for: secrets.

/// Rounds after which neighbours have nothing in common that matters here.
const ROUNDS: u64 = 4;

/// A bijection of the numbers below its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    size: u64,
    half_bits: u32,
}

impl Permutation {
    pub(crate) fn of(size: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        Self {
            size,
            half_bits: bits.div_ceil(2).max(1),
        }
    }

    /// Where `number` lies; what is not below the size stays where it is.
    pub(crate) fn place(&self, number: u64) -> u64 {
        if number >= self.size {
            return number;
        }
        // The network permutes up to four times as many numbers. Who comes out above goes through again:
        // on its cycle there is one below, itself at the latest.
        let mut place = self.network(number);
        while place >= self.size {
            place = self.network(place);
        }
        place
    }

    fn network(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mixed(right, round) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// A hash of half a number: the finalizer of SplitMix64.
fn mixed(half: u64, round: u64) -> u64 {
    let mut x = half
        .wrapping_add(round + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_place_and_each_place_one_number() {
        for size in [1, 2, 3, 10, 63, 64, 65, 1_000, 65_537] {
            let permutation = Permutation::of(size);
            let mut places: Vec<u64> = (0..size).map(|n| permutation.place(n)).collect();
            places.sort_unstable();
            assert_eq!(places, (0..size).collect::<Vec<_>>(), "of {size}");
        }
    }

    #[test]
    fn the_first_numbers_are_spread_over_all_places() {
        let size = 100_000_000;
        let permutation = Permutation::of(size);
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            tenths[(permutation.place(number) * 10 / size) as usize] += 1;
        }
        // 100 each, with a deviation of 9.5.
        assert!(tenths.iter().all(|n| (55..145).contains(n)), "{tenths:?}");
    }
}
