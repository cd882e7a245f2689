//! Where the beginning of a prompt is computed already.

use crate::vocab::Token;

/// A shared beginning of fewer tokens costs more to find a place for, or to wait for, than to compute.
const FEWEST: usize = 8;

/// How many tokens two sequences begin with alike.
pub(crate) fn common(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What a slot can share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) slot: usize,
    /// The tokens whose computation the slot's sequence holds.
    pub(crate) held: &'a [Token],
    /// Of a slot that reads its prompt, the tokens that it will hold.
    pub(crate) coming: &'a [Token],
    pub(crate) is_free: bool,
    /// Whether the slot's last request has the same context key.
    pub(crate) is_akin: bool,
    /// When the slot was used last.
    pub(crate) used: u64,
}

/// Where a prompt's beginning comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) slot: usize,
    /// Tokens that are shared.
    pub(crate) shared: usize,
    /// Tokens that the slot holds.
    pub(crate) held: usize,
    pub(crate) is_free: bool,
}

/// What to do with a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Start now, with what is shared, if anything is.
    Start(Option<Source>),
    /// A request that reads its prompt will soon hold far more of this one's beginning.
    Wait,
}

/// Looks for the beginning of a prompt. `can_cut` says whether a slot's sequence, which holds so many tokens, can be cut to so
/// many.
pub(crate) fn find<'a>(
    beginning: &[Token],
    candidates: impl Iterator<Item = Candidate<'a>>,
    can_cut: impl Fn(usize, usize, usize) -> bool,
) -> Plan {
    let mut best: Option<(Source, (usize, bool, bool, u64))> = None;
    let mut coming = 0;
    for candidate in candidates {
        coming = coming.max(common(candidate.coming, beginning));
        let (shared, held) = (common(candidate.held, beginning), candidate.held.len());
        if shared < FEWEST || !can_cut(candidate.slot, held, shared) {
            continue;
        }
        let rank = (shared, candidate.is_akin, candidate.is_free, candidate.used);
        if best.is_none_or(|(_, other)| rank > other) {
            best = Some((Source { slot: candidate.slot, shared, held, is_free: candidate.is_free }, rank));
        }
    }
    let source = best.map(|(source, _)| source);
    if coming >= source.map_or(0, |source| source.shared) + FEWEST { Plan::Wait } else { Plan::Start(source) }
}

impl Source {
    /// Whether most of what the slot holds stays of use, so that the request may go on in it.
    pub(crate) fn is_mostly_shared(&self) -> bool {
        self.shared * 2 >= self.held
    }
}
