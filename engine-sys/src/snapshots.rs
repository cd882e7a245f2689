//! States of sequences that left the context, for prompts that begin as they do.

use crate::prefix::common;
use crate::vocab::Token;

/// Snapshots within limits; the one that was used least recently goes first.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    entries: Vec<Snapshot>,
    most_entries: usize,
    most_bytes: u64,
    clock: u64,
}

#[derive(Debug)]
struct Snapshot {
    tokens: Vec<Token>,
    state: Vec<u8>,
    used: u64,
}

impl Snapshots {
    pub(crate) fn new(most_entries: usize, most_bytes: u64) -> Self {
        Self { most_entries, most_bytes, ..Self::default() }
    }

    /// Whether it is of use to save a sequence with these tokens: no snapshot begins with them.
    pub(crate) fn wants(&self, tokens: &[Token]) -> bool {
        self.most_entries > 0 && !self.entries.iter().any(|entry| entry.tokens.starts_with(tokens))
    }

    /// Keeps a state. Snapshots of the beginnings of `tokens` are not needed any more.
    pub(crate) fn keep(&mut self, tokens: Vec<Token>, state: Vec<u8>) {
        if size(&state) > self.most_bytes {
            return;
        }
        self.entries.retain(|entry| !tokens.starts_with(&entry.tokens));
        let used = self.tick();
        self.entries.push(Snapshot { tokens, state, used });
        while self.entries.len() > self.most_entries || self.bytes() > self.most_bytes {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used).map(|(index, _)| index);
            let Some(oldest) = oldest else { return };
            self.entries.swap_remove(oldest);
        }
    }

    /// The snapshot that shares most tokens with `prompt`: how many it holds, how many are shared, and its name.
    /// `usable` says whether a state of so many tokens can be cut to so many.
    pub(crate) fn best(&self, prompt: &[Token], usable: impl Fn(usize, usize) -> bool) -> Option<(usize, usize)> {
        self.entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (index, entry.tokens.len(), common(&entry.tokens, prompt)))
            .filter(|(_, held, shared)| *shared > 0 && usable(*held, *shared))
            .max_by_key(|(_, _, shared)| *shared)
            .map(|(index, _, shared)| (index, shared))
    }

    /// The state of a snapshot that [`Self::best`] named.
    pub(crate) fn state(&mut self, index: usize) -> Option<&[u8]> {
        let used = self.tick();
        let entry = self.entries.get_mut(index)?;
        entry.used = used;
        Some(&entry.state)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| size(&entry.state)).sum()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

fn size(state: &[u8]) -> u64 {
    state.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(snapshots: &Snapshots) -> Vec<Vec<Token>> {
        let mut tokens: Vec<_> = snapshots.entries.iter().map(|entry| entry.tokens.clone()).collect();
        tokens.sort();
        tokens
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut snapshots = Snapshots::new(2, 100);
        snapshots.keep(vec![1, 1], vec![0; 10]);
        snapshots.keep(vec![2, 2], vec![0; 10]);
        let (index, shared) = snapshots.best(&[1, 1, 9], |_, _| true).expect("there is one");
        assert_eq!(shared, 2);
        assert!(snapshots.state(index).is_some());
        snapshots.keep(vec![3, 3], vec![0; 10]);
        assert_eq!(held(&snapshots), [vec![1, 1], vec![3, 3]]);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut snapshots = Snapshots::new(10, 100);
        snapshots.keep(vec![1], vec![0; 60]);
        snapshots.keep(vec![2], vec![0; 60]);
        assert_eq!(held(&snapshots), [vec![2]]);
        snapshots.keep(vec![3], vec![0; 101]);
        assert_eq!(held(&snapshots), [vec![2]], "a state above the limit is not kept");
    }

    #[test]
    fn a_longer_one_replaces_its_beginnings() {
        let mut snapshots = Snapshots::new(10, 100);
        snapshots.keep(vec![1, 2], vec![0; 10]);
        snapshots.keep(vec![1, 2, 3], vec![0; 10]);
        assert_eq!(held(&snapshots), [vec![1, 2, 3]]);
        assert!(!snapshots.wants(&[1, 2]) && snapshots.wants(&[1, 3]));
    }

    #[test]
    fn none_are_kept_where_none_may_be() {
        let snapshots = Snapshots::new(0, 100);
        assert!(!snapshots.wants(&[1]));
    }
}
