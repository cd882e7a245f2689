//! The ways in which a file is corrupted. Each does one thing and says what.

#![allow(clippy::ptr_arg, reason = "all changes of bytes are called alike, and some of them change how many there are")]

use super::words::{ARCHITECTURES, KEYS, MODEL_KEYS, TEXTS};
use test_models::gguf::{
    ARRAY, BOOL, F32, Field, File, I32, NUMBERS, Part, STRING, TENSOR_KINDS, Tensor, U32, Value, size,
};
use test_models::random::Random;

/// Changes a file's parts.
type Change = fn(&mut File, &mut Random) -> String;
/// Changes its bytes.
type ByteChange = fn(&mut Vec<u8>, &[Field], &mut Random) -> String;

/// Numbers at the borders of what a type, a buffer or a loop can hold.
pub(crate) const NUMBERS_TO_TRY: [u64; 22] = [
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    64,
    127,
    255,
    256,
    1000,
    0x7fff,
    0xffff,
    0x0100_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];
const FLOATS: [f32; 10] = [0.0, -0.0, 1.0, -1.0, 1e-40, 1e38, -1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

const CHANGES: [Change; 23] = [
    remove_key,
    repeat_key,
    change_number,
    change_number,
    change_float,
    change_kind,
    change_text,
    break_text,
    resize_list,
    resize_list,
    change_item,
    change_item,
    claim_item_kind,
    spread_number,
    add_key,
    add_key,
    change_architecture,
    change_architecture,
    remove_tensor,
    repeat_tensor,
    rename_tensor,
    reshape_tensor,
    retype_tensor,
];
const WEIGHT_CHANGES: [Change; 5] = [retype_tensor, retype_all, noise_in_tensor, swap_tensors, same_number_in_tensor];
const BYTE_CHANGES: [ByteChange; 10] =
    [cut, cut_at_border, flip, flip, write_number, write_number, noise, insert, delete, swap_fields];

/// Corrupts a file in one to three ways, and says how.
pub(crate) fn corrupt(mut file: File, random: &mut Random) -> (String, Vec<u8>) {
    let mut said = Vec::new();
    let kind = random.below(10);
    let changes = if random.one_in(4) { 1 + random.below(3) } else { 1 };
    if kind < 7 {
        for _ in 0..changes {
            let change = if kind < 5 { *random.pick(&CHANGES) } else { *random.pick(&WEIGHT_CHANGES) };
            said.push(change(&mut file, random));
        }
    }
    let written = file.write();
    let mut bytes = written.bytes;
    if kind >= 7 {
        for _ in 0..changes {
            said.push(random.pick(&BYTE_CHANGES)(&mut bytes, &written.fields, random));
        }
    }
    (said.join("; "), bytes)
}

/// Writes a number over a field that holds one.
pub(crate) fn write_field(bytes: &mut [u8], field: Field, number: u64) -> String {
    let width = (field.end - field.start).min(8);
    bytes[field.start..][..width].copy_from_slice(&number.to_le_bytes()[..width]);
    format!("{:?} at {} becomes {number:#x}", field.part, field.start)
}

/// Whether a field is a number that a reader believes.
pub(crate) fn is_number(field: &Field) -> bool {
    !matches!(field.part, Part::Magic | Part::Text | Part::Data)
}

fn show(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn random_number(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.number() >> random.below(64),
        _ => *random.pick(&NUMBERS_TO_TRY),
    }
}

/// A key whose value fits, if there is one.
fn pick_key<'a>(file: &'a mut File, random: &mut Random, fits: fn(&Value) -> bool) -> Option<(String, &'a mut Value)> {
    let fitting: Vec<_> = file.keys.iter_mut().filter(|(_, value)| fits(value)).collect();
    let chosen = random.below(fitting.len().max(1));
    fitting.into_iter().nth(chosen).map(|(name, value)| (show(name), value))
}

fn nothing() -> String {
    "nothing".to_owned()
}

fn remove_key(file: &mut File, random: &mut Random) -> String {
    if file.keys.is_empty() {
        return nothing();
    }
    let (name, _) = file.keys.remove(random.below(file.keys.len()));
    format!("no {}", show(&name))
}

fn repeat_key(file: &mut File, random: &mut Random) -> String {
    if file.keys.is_empty() {
        return nothing();
    }
    let key = random.pick(&file.keys).clone();
    let said = format!("{} twice", show(&key.0));
    file.keys.push(key);
    said
}

fn change_number(file: &mut File, random: &mut Random) -> String {
    let fits = |value: &Value| matches!(value, Value::Number(kind, _) if *kind != F32);
    let Some((name, Value::Number(_, bits))) = pick_key(file, random, fits) else { return nothing() };
    let old = *bits;
    *bits = match random.below(6) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => old.wrapping_mul(2),
        3 => old / 2,
        _ => random_number(random),
    };
    format!("{name} is {:#x}, was {old:#x}", *bits)
}

fn change_float(file: &mut File, random: &mut Random) -> String {
    let Some((name, value)) = pick_key(file, random, |value| matches!(value, Value::Number(F32, _))) else {
        return nothing();
    };
    let number = *random.pick(&FLOATS);
    *value = Value::Number(F32, number.to_bits().into());
    format!("{name} is {number}")
}

fn any_value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Text(random.pick(&TEXTS).as_bytes().to_vec()),
        1 => Value::Number(F32, random.pick(&FLOATS).to_bits().into()),
        2 => Value::Number(BOOL, random.number() % 3),
        3 => Value::Number(I32, random_number(random)),
        4 => {
            let length = *random.pick(&[0, 1, 2, 4, 512, 513]);
            let kind = *random.pick(&[U32, I32, F32, BOOL]);
            let bits = random_number(random);
            Value::List(kind, vec![Value::Number(kind, bits); length])
        }
        _ => Value::Number(U32, random_number(random)),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Number(kind, bits) => format!("number {bits:#x} of type {kind}"),
        Value::Text(text) => format!("text {:?}", show(&text[..text.len().min(40)])),
        Value::List(kind, items) => {
            let first = items.first().map(describe).unwrap_or_default();
            format!("list of {} of type {kind}: {first}", items.len())
        }
    }
}

/// Gives a value another type: its bits stay where both are numbers.
fn change_kind(file: &mut File, random: &mut Random) -> String {
    let Some((name, value)) = pick_key(file, random, |_| true) else { return nothing() };
    *value = match value {
        Value::Number(_, bits) if random.one_in(2) => Value::Number(random.pick(&NUMBERS).0, *bits),
        Value::Number(..) | Value::Text(_) | Value::List(..) => any_value(random),
    };
    format!("{name} is a {}", describe(value))
}

fn change_text(file: &mut File, random: &mut Random) -> String {
    let Some((name, value)) = pick_key(file, random, |value| matches!(value, Value::Text(_))) else { return nothing() };
    *value = Value::Text(random.pick(&TEXTS).as_bytes().to_vec());
    format!("{name} is a {}", describe(value))
}

/// Bytes that are no text, or a very long one.
fn broken_text(old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = old.to_vec();
    match random.below(6) {
        0 => bytes.clear(),
        1 => bytes.extend([0xff, 0xc3, 0x28, 0xf0, 0x9f]),
        2 => bytes = vec![*random.pick(&[0, 0x80, 0xc0, 0xe2, 0xf4, 0xff]); 1 + random.below(6)],
        // What a template nests for each byte takes stack for each byte.
        3 => {
            bytes = if random.one_in(2) { b"{{ ".to_vec() } else { Vec::new() };
            bytes.resize(bytes.len() + (1 << random.below(19)), *random.pick(b"a \n({[<\\%"));
        }
        4 => bytes.insert(random.below(old.len() + 1), 0),
        _ => bytes.truncate(random.below(old.len() + 1)),
    }
    bytes
}

fn break_text(file: &mut File, random: &mut Random) -> String {
    let Some((name, Value::Text(text))) = pick_key(file, random, |value| matches!(value, Value::Text(_))) else {
        return nothing();
    };
    *text = broken_text(text, random);
    format!("{name} is {} bytes of {:?}", text.len(), show(&text[..text.len().min(40)]))
}

fn is_list(value: &Value) -> bool {
    matches!(value, Value::List(..))
}

fn resize_list(file: &mut File, random: &mut Random) -> String {
    let Some((name, Value::List(_, items))) = pick_key(file, random, is_list) else { return nothing() };
    let length = items.len();
    let wanted = match random.below(7) {
        0 => 0,
        1 => 1,
        2 => length / 2,
        3 => length.saturating_sub(1),
        4 => length + 1,
        5 => length * 2,
        _ => random.below(length + 1),
    };
    items.truncate(wanted);
    while !items.is_empty() && items.len() < wanted {
        items.push(items[items.len() - 1].clone());
    }
    format!("{name} has {} of {length} items", items.len())
}

fn change_item(file: &mut File, random: &mut Random) -> String {
    let Some((name, Value::List(_, items))) = pick_key(file, random, is_list) else { return nothing() };
    if items.is_empty() {
        return nothing();
    }
    let (at, other) = (random.below(items.len()), random.below(items.len()));
    let copy = items[other].clone();
    match &mut items[at] {
        item if random.one_in(4) => *item = copy,
        Value::Number(F32, bits) => *bits = random.pick(&FLOATS).to_bits().into(),
        Value::Number(_, bits) => *bits = random_number(random),
        Value::Text(text) => *text = broken_text(text, random),
        Value::List(..) => {}
    }
    format!("item {at} of {name} is a {}", describe(&items[at]))
}

fn claim_item_kind(file: &mut File, random: &mut Random) -> String {
    let Some((name, Value::List(kind, items))) = pick_key(file, random, is_list) else { return nothing() };
    *kind = *random.pick(&[0, 1, 2, 3, U32, I32, F32, BOOL, STRING, ARRAY, 10, 12, 13, u32::MAX]);
    // The bytes that the claimed type takes, or those of the old one.
    if random.one_in(2) && *kind != STRING {
        for item in items.iter_mut() {
            *item = Value::Number(*kind, random_number(random));
        }
    }
    format!("{name} claims items of type {kind}")
}

/// A number becomes a list, as it is where every layer has one of its own.
fn spread_number(file: &mut File, random: &mut Random) -> String {
    let Some((name, value)) = pick_key(file, random, |value| matches!(value, Value::Number(..))) else {
        return nothing();
    };
    let Value::Number(kind, bits) = *value else { return nothing() };
    let mut items = vec![Value::Number(kind, bits); *random.pick(&[0, 1, 2, 3, 4, 5, 600])];
    if let Some(item) = items.last_mut() {
        *item = Value::Number(kind, random_number(random));
    }
    *value = Value::List(kind, items);
    format!("{name} is a {}", describe(value))
}

fn add_key(file: &mut File, random: &mut Random) -> String {
    let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    let name = if random.one_in(4) {
        (*random.pick(&words(KEYS))).to_owned()
    } else {
        format!("{}.{}", file.architecture(), random.pick(&words(MODEL_KEYS)))
    };
    let value = any_value(random);
    let said = format!("{name} is a {}", describe(&value));
    file.set(&name, value);
    said
}

/// Another architecture reads the same lengths and tensors.
fn change_architecture(file: &mut File, random: &mut Random) -> String {
    let old = file.architecture();
    let names: Vec<_> = ARCHITECTURES.split_whitespace().collect();
    let architecture = *random.pick(&names);
    file.rename(&old, architecture);
    if random.one_in(2) {
        return format!("the architecture is {architecture}");
    }
    // It wants other lengths too; with them, reading gets to where it calculates with them.
    let mut said = format!("the architecture is {architecture}, with");
    for word in MODEL_KEYS.split_whitespace() {
        let name = format!("{architecture}.{word}");
        if file.get(&name).is_none() && !random.one_in(8) {
            let value = likely_value(word, random);
            said.push_str(&format!(" {word}={}", describe(&value)));
            file.set(&name, value);
        }
    }
    said
}

/// A small value of the type that a key has, judged by its name.
fn likely_value(word: &str, random: &mut Random) -> Value {
    const FLOATS: [&str; 13] = [
        "epsilon",
        "scale",
        "factor",
        "base",
        "_bias",
        "_fast",
        "_slow",
        "capping",
        "clamp_kqv",
        "alpha",
        "beta",
        "multiplier",
        "magnitude",
    ];
    const FLAGS: [&str; 7] = ["causal", "_norm", "finetuned", "residual", "_rms", "_gate", "before_fc"];
    if FLOATS.iter().any(|end| word.ends_with(end)) {
        Value::Number(F32, 1f32.to_bits().into())
    } else if FLAGS.iter().any(|end| word.ends_with(end)) {
        Value::Number(BOOL, random.number() % 2)
    } else if word.ends_with("scaling.type") {
        Value::Text(b"none".to_vec())
    } else if word.ends_with("sections") {
        Value::List(I32, vec![Value::Number(I32, random.number() % 5); 4])
    } else {
        Value::Number(U32, *random.pick(&[0, 0, 1, 2, 4, 16, 64]))
    }
}

fn pick_tensor<'a>(file: &'a mut File, random: &mut Random) -> Option<&'a mut Tensor> {
    let chosen = random.below(file.tensors.len().max(1));
    file.tensors.get_mut(chosen)
}

fn remove_tensor(file: &mut File, random: &mut Random) -> String {
    if file.tensors.is_empty() {
        return nothing();
    }
    let tensor = file.tensors.remove(random.below(file.tensors.len()));
    format!("no {}", show(&tensor.name))
}

fn repeat_tensor(file: &mut File, random: &mut Random) -> String {
    let Some(mut tensor) = pick_tensor(file, random).cloned() else { return nothing() };
    if random.one_in(2) {
        tensor.name = format!("blk.{}.other", random.below(3)).into_bytes();
    }
    let said = format!("{} once more", show(&tensor.name));
    file.tensors.push(tensor);
    said
}

fn rename_tensor(file: &mut File, random: &mut Random) -> String {
    let other = pick_tensor(file, random).map(|tensor| tensor.name.clone()).unwrap_or_default();
    let Some(tensor) = pick_tensor(file, random) else { return nothing() };
    let old = show(&tensor.name);
    tensor.name = match random.below(4) {
        0 => other,
        1 => b"x".repeat(60 + random.below(8)),
        2 => old.replace(".0.", ".7.").into_bytes(),
        _ => broken_text(old.as_bytes(), random),
    };
    format!("{old} is called {:?}", show(&tensor.name[..tensor.name.len().min(70)]))
}

/// Fills a tensor with as many bytes as its type and shape want, as far as that is possible.
fn refill(tensor: &mut Tensor) {
    const MOST: usize = 4 << 20;
    let wanted = size(tensor.kind, &tensor.shape).min(MOST);
    let old = if tensor.bytes.is_empty() { vec![1] } else { tensor.bytes.clone() };
    tensor.bytes = old.into_iter().cycle().take(wanted).collect();
}

fn reshape_tensor(file: &mut File, random: &mut Random) -> String {
    let Some(tensor) = pick_tensor(file, random) else { return nothing() };
    let old = tensor.shape.clone();
    match random.below(6) {
        0 => tensor.shape.reverse(),
        1 => tensor.shape.push(1),
        2 => tensor.shape = vec![old.iter().product()],
        3 => tensor.shape.clear(),
        4 => tensor.shape.resize(5, 1),
        _ => {
            let at = random.below(old.len().max(1));
            if let Some(length) = tensor.shape.get_mut(at) {
                *length = *random.pick(&[0, 1, 32, 33, *length + 1, *length * 2, *length / 2, 1 << 20]);
            }
        }
    }
    refill(tensor);
    format!("{} has the shape {:?}, had {old:?}", show(&tensor.name), tensor.shape)
}

fn retype_tensor(file: &mut File, random: &mut Random) -> String {
    let Some(tensor) = pick_tensor(file, random) else { return nothing() };
    tensor.kind = random.pick(&TENSOR_KINDS).0;
    refill(tensor);
    format!("{} has the type {}", show(&tensor.name), tensor.kind)
}

/// All matrices of a type, or everything.
fn retype_all(file: &mut File, random: &mut Random) -> String {
    let (kind, least) = (random.pick(&TENSOR_KINDS).0, 1 + random.below(2));
    for tensor in file.tensors.iter_mut().filter(|tensor| tensor.shape.len() >= least) {
        tensor.kind = kind;
        refill(tensor);
    }
    format!("every tensor of {least} dimensions or more has the type {kind}")
}

fn noise_in_tensor(file: &mut File, random: &mut Random) -> String {
    let Some(tensor) = pick_tensor(file, random) else { return nothing() };
    let (start, end) = (random.below(tensor.bytes.len() + 1), random.below(tensor.bytes.len() + 1));
    let range = start.min(end)..start.max(end);
    for byte in &mut tensor.bytes[range.clone()] {
        *byte = random.number() as u8;
    }
    format!("noise in {} at {range:?}", show(&tensor.name))
}

fn same_number_in_tensor(file: &mut File, random: &mut Random) -> String {
    let Some(tensor) = pick_tensor(file, random) else { return nothing() };
    let byte = *random.pick(&[0, 0x7f, 0x80, 0xff]);
    tensor.bytes.fill(byte);
    format!("{} is full of {byte:#x}", show(&tensor.name))
}

fn swap_tensors(file: &mut File, random: &mut Random) -> String {
    if file.tensors.is_empty() {
        return nothing();
    }
    let (first, second) = (random.below(file.tensors.len()), random.below(file.tensors.len()));
    let name = file.tensors[first].name.clone();
    file.tensors[first].name = std::mem::replace(&mut file.tensors[second].name, name);
    format!("{} and {} are swapped", show(&file.tensors[first].name), show(&file.tensors[second].name))
}

fn cut(bytes: &mut Vec<u8>, _: &[Field], random: &mut Random) -> String {
    bytes.truncate(random.below(bytes.len() + 1));
    format!("cut at {}", bytes.len())
}

fn cut_at_border(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let border = random.pick(fields).end;
    bytes.truncate(border.saturating_add_signed(random.below(3) as isize - 1));
    format!("cut at {}", bytes.len())
}

/// A place in the file, mostly in its header: weights are far more, and nothing is read from them.
fn place(bytes: &[u8], fields: &[Field], random: &mut Random) -> usize {
    let field = random.pick(fields);
    let at = field.start + random.below((field.end - field.start).max(1));
    at.min(bytes.len().saturating_sub(1))
}

fn flip(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    if bytes.is_empty() {
        return nothing();
    }
    let (at, bit) = (place(bytes, fields, random), random.below(8));
    bytes[at] ^= 1 << bit;
    format!("bit {bit} of byte {at} flipped")
}

fn write_number(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let numbers: Vec<_> = fields.iter().filter(|field| is_number(field) && field.end <= bytes.len()).collect();
    if numbers.is_empty() {
        return nothing();
    }
    let field = **random.pick(&numbers);
    let number = random_number(random);
    write_field(bytes, field, number)
}

fn noise(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let start = place(bytes, fields, random);
    let end = bytes.len().min(start + 1 + random.below(64));
    for byte in &mut bytes[start..end] {
        *byte = random.number() as u8;
    }
    format!("noise at {start}..{end}")
}

fn insert(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let (at, count) = (place(bytes, fields, random), 1 + random.below(40));
    bytes.splice(at..at, std::iter::repeat_n(random.number() as u8, count));
    format!("{count} bytes inserted at {at}")
}

fn delete(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let start = place(bytes, fields, random);
    let end = bytes.len().min(start + 1 + random.below(40));
    bytes.drain(start..end);
    format!("bytes {start}..{end} deleted")
}

/// Two fields of the same length change places.
fn swap_fields(bytes: &mut Vec<u8>, fields: &[Field], random: &mut Random) -> String {
    let first = *random.pick(fields);
    let alike = |field: &&Field| field.end - field.start == first.end - first.start && is_number(field);
    let others: Vec<_> = fields.iter().filter(alike).collect();
    let (true, Some(second)) = (is_number(&first), others.get(random.below(others.len().max(1)))) else {
        return nothing();
    };
    if first.end.max(second.end) > bytes.len() {
        return nothing();
    }
    for index in 0..first.end - first.start {
        bytes.swap(first.start + index, second.start + index);
    }
    format!("{:?} at {} and {:?} at {} are swapped", first.part, first.start, second.part, second.start)
}
