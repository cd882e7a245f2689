//! Which file is corrupted in which way, by number: the same in every process.

use super::changes::{NUMBERS_TO_TRY, corrupt, is_number, write_field};
use super::known::known;
use test_models::gguf::{File, Part, Written};
use test_models::models::{Base, bases, odd_decoder};
use test_models::random::Random;

/// Bases whose every number is tried with every value; with the others, chance decides.
const TRIED: [&str; 3] = ["small", "experts", "encoder"];

pub(crate) struct Cases {
    seed: u64,
    bases: Vec<Base>,
    written: Vec<Written>,
    known: Vec<(String, File)>,
    /// Base, and where it is cut.
    cuts: Vec<(usize, usize)>,
    /// Base, field, and the number that is written there.
    numbers: Vec<(usize, usize, u64)>,
}

impl Cases {
    pub(crate) fn new(seed: u64) -> Self {
        let bases = bases();
        let written: Vec<_> = bases.iter().map(|base| base.file.write()).collect();
        let mut cuts = Vec::new();
        let mut numbers = Vec::new();
        for (index, (base, file)) in bases.iter().zip(&written).enumerate() {
            cuts.extend(borders(file).map(|border| (index, border)));
            if TRIED.contains(&base.name) {
                let fields = (0..file.fields.len()).filter(|field| is_tried(file, *field));
                numbers.extend(fields.flat_map(|field| NUMBERS_TO_TRY.map(|number| (index, field, number))));
            }
        }
        let known = known(&bases);
        Self { seed, bases, written, known, cuts, numbers }
    }

    /// Cases that are the same under every seed; every number from here on is a case made by chance.
    pub(crate) fn fixed(&self) -> u64 {
        (self.known.len() + self.cuts.len() + self.numbers.len()) as u64
    }

    /// Whether the case is a whole file.
    pub(crate) fn is_whole(&self, case: u64) -> bool {
        case < self.bases.len() as u64
    }

    /// What is done to which file, and the bytes that come out.
    pub(crate) fn make(&self, case: u64) -> (String, Vec<u8>) {
        let index = case as usize;
        if let Some((said, file)) = self.known.get(index) {
            return (said.clone(), file.write().bytes);
        }
        let index = index - self.known.len();
        if let Some((base, border)) = self.cuts.get(index) {
            let bytes = self.written[*base].bytes[..*border].to_vec();
            return (format!("{}: cut at {border}", self.bases[*base].name), bytes);
        }
        if let Some((base, field, number)) = self.numbers.get(index - self.cuts.len()) {
            let mut bytes = self.written[*base].bytes.clone();
            let said = write_field(&mut bytes, self.written[*base].fields[*field], *number);
            return (format!("{}: {said}", self.bases[*base].name), bytes);
        }
        let mut random = self.random(case);
        if random.one_in(10) {
            let (said, file) = odd_decoder(&self.bases, &mut random);
            return (said, file.write().bytes);
        }
        let base = random.pick(&self.bases);
        let (said, bytes) = corrupt(base.file.clone(), &mut random);
        (format!("{}: {said}", base.name), bytes)
    }

    /// Random numbers of this case.
    pub(crate) fn random(&self, case: u64) -> Random {
        Random::new(self.seed, case)
    }
}

/// Where fields end, but for the end of the file. Of long lists, the first items stand for all.
fn borders(file: &Written) -> impl Iterator<Item = usize> {
    let end = file.bytes.len();
    let fields = (0..file.fields.len()).filter(|field| !is_deep_in_a_list(file, *field));
    fields.map(|field| file.fields[field].end).filter(move |border| *border < end)
}

fn is_tried(file: &Written, field: usize) -> bool {
    is_number(&file.fields[field]) && !is_deep_in_a_list(file, field)
}

/// Whether the same kinds of fields have come many times before this one.
fn is_deep_in_a_list(file: &Written, field: usize) -> bool {
    let Some(before) = field.checked_sub(8).and_then(|start| file.fields.get(start..field)) else { return false };
    let repeats = |parts: &[Part]| before.iter().all(|field| parts.contains(&field.part));
    repeats(&[Part::Length, Part::Text]) || repeats(&[Part::Number])
}
