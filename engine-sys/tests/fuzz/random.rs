//! Random numbers that are the same in every process.

pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// The numbers of one case under one seed.
    pub(crate) fn new(seed: u64, case: u64) -> Self {
        // What neighbours begin with has nothing in common.
        let seed = fastrand::Rng::with_seed(seed).u64(..) ^ fastrand::Rng::with_seed(case).u64(..);
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `end`, which is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
