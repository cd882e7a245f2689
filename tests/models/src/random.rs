//! Random numbers that are the same in every process.

pub struct Random(fastrand::Rng);

impl Random {
    /// The numbers of one case under one seed.
    pub fn new(seed: u64, case: u64) -> Self {
        // What neighbours begin with has nothing in common.
        let seed = fastrand::Rng::with_seed(seed).u64(..) ^ fastrand::Rng::with_seed(case).u64(..);
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
