//! Draws of items: Zipf by an alias table, uniform without one; and the random numbers under them.

/// SplitMix64. Our own few lines, because a seed must give the same stream in every later version.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// Maps a random 32-bit number to one below `bound`.
fn scale(random: u32, bound: u32) -> u32 {
    ((u64::from(random) * u64::from(bound)) >> 32) as u32
}

/// The finaliser of SplitMix64: a bijection, so different inputs give different outputs.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ranks from 0; rank r is drawn in proportion to 1 / (r + 1)^skew.
#[derive(Debug)]
pub(crate) struct Zipf {
    items: u32,
    /// Per column: the chance (of 2^32) of its own rank, and the rank drawn otherwise. Empty:
    /// uniform.
    columns: Vec<(u32, u32)>,
}

impl Zipf {
    /// Builds the table (Vose's method) in time and memory (8 bytes) per item.
    pub(crate) fn new(items: u32, skew: f64) -> Self {
        if skew == 0.0 {
            return Self { items, columns: Vec::new() };
        }
        let weights: Vec<f64> = (1..=items).map(|rank| f64::from(rank).powf(-skew)).collect();
        let total: f64 = weights.iter().sum();
        let mut scaled: Vec<f64> =
            weights.into_iter().map(|weight| weight * f64::from(items) / total).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..items).partition(|&rank| scaled[rank as usize] < 1.0);
        // What rounding leaves over keeps its own rank.
        let mut columns: Vec<(u32, u32)> = (0..items).map(|rank| (u32::MAX, rank)).collect();
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            let own = scaled[less as usize];
            columns[less as usize] = ((own * 4_294_967_295.0) as u32, more);
            scaled[more as usize] -= 1.0 - own;
            if scaled[more as usize] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self { items, columns }
    }

    /// The next rank.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let bits = random.next();
        let column = scale((bits >> 32) as u32, self.items);
        match self.columns.get(column as usize) {
            Some(&(own, other)) if bits as u32 > own => other,
            _ => column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_for_ever() {
        let zipf = Zipf::new(1000, 1.05);
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| zipf.draw(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf, "the published first number");
    }

    #[test]
    fn shares_are_those_of_the_law() {
        let (items, skew, draws) = (1000_u32, 1.05, 1_000_000);
        let harmonic: f64 = (1..=items).map(|rank| f64::from(rank).powf(-skew)).sum();
        for (zipf, share) in [
            (Zipf::new(items, skew), 1.0 / harmonic),
            (Zipf::new(items, 0.0), 1.0 / f64::from(items)),
        ] {
            let mut random = Random::new(7);
            let mut counts = vec![0_u32; items as usize];
            for _ in 0..draws {
                counts[zipf.draw(&mut random) as usize] += 1;
            }
            let (seen, expected) = (f64::from(counts[0]), share * f64::from(draws));
            // Five standard deviations.
            assert!((seen - expected).abs() < 5.0 * expected.sqrt(), "{seen} for {expected}");
            assert!(counts.iter().all(|&count| count > 0), "every item is drawn");
        }
    }
}
