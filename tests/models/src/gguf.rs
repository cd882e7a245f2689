//! A GGUF file in parts that can be changed, and written with the place of every field.
//!
//! It writes what is wrong as readily as what is right. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::path::Path;

pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
/// The types of numbers, and how many bytes each takes.
pub const NUMBERS: [(u32, usize); 11] =
    [(0, 1), (1, 1), (2, 2), (3, 2), (U32, 4), (I32, 4), (F32, 4), (BOOL, 1), (10, 8), (11, 8), (12, 8)];

/// ggml's types of tensors: number, elements and bytes of a block.
pub const TENSOR_KINDS: [(u32, u64, u64); 35] = [
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (9, 32, 36),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (15, 256, 292),
    (16, 256, 66),
    (17, 256, 74),
    (18, 256, 98),
    (19, 256, 50),
    (20, 32, 18),
    (21, 256, 110),
    (22, 256, 82),
    (23, 256, 136),
    (24, 1, 1),
    (25, 1, 2),
    (26, 1, 4),
    (27, 1, 8),
    (28, 1, 8),
    (29, 256, 56),
    (30, 1, 2),
    (34, 256, 54),
    (35, 256, 66),
    (39, 32, 17),
    (40, 64, 36),
    (41, 128, 18),
    (42, 64, 18),
];
const ALIGNMENT: usize = 32;

#[derive(Clone)]
pub enum Value {
    /// Type and bits.
    Number(u32, u64),
    Text(Vec<u8>),
    /// Type that is claimed for the items, and the items.
    List(u32, Vec<Value>),
}

#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub shape: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
pub struct File {
    pub keys: Vec<(Vec<u8>, Value)>,
    pub tensors: Vec<Tensor>,
}

/// What a field of a written file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Magic,
    Version,
    Count,
    /// Of a text or a list.
    Length,
    Text,
    Kind,
    Number,
    Dimensions,
    Extent,
    TensorKind,
    Offset,
    Data,
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub part: Part,
    pub start: usize,
    pub end: usize,
}

/// A file as it is written.
#[derive(Default)]
pub struct Written {
    pub bytes: Vec<u8>,
    pub fields: Vec<Field>,
}

pub fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

pub fn number(number: u32) -> Value {
    Value::Number(U32, number.into())
}

pub fn float(number: f32) -> Value {
    Value::Number(F32, number.to_bits().into())
}

pub fn width(kind: u32) -> usize {
    NUMBERS.iter().find(|(number, _)| *number == kind).map_or(4, |(_, width)| *width)
}

/// Bytes of a tensor. Rounds a broken block up, so that the file is as long as its reader would expect at least.
pub fn size(kind: u32, shape: &[u64]) -> usize {
    let elements = shape.iter().fold(1u64, |product, length| product.saturating_mul(*length));
    let (_, block, bytes) = TENSOR_KINDS.iter().find(|(number, _, _)| *number == kind).copied().unwrap_or((kind, 1, 4));
    usize::try_from(elements.div_ceil(block).saturating_mul(bytes)).unwrap()
}

impl File {
    pub fn get(&mut self, name: &str) -> Option<&mut Value> {
        self.keys.iter_mut().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value)
    }

    pub fn set(&mut self, name: &str, value: Value) {
        match self.get(name) {
            Some(old) => *old = value,
            None => self.keys.push((name.as_bytes().to_vec(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.keys.retain(|(key, _)| key != name.as_bytes());
    }

    /// `general.architecture`, with which the names of many keys begin.
    pub fn architecture(&mut self) -> String {
        match self.get("general.architecture") {
            Some(Value::Text(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => String::new(),
        }
    }

    /// Gives the file and its keys another architecture.
    pub fn rename(&mut self, old: &str, new: &str) {
        for (name, _) in &mut self.keys {
            if let Some(rest) = name.strip_prefix(format!("{old}.").as_bytes()) {
                *name = [new.as_bytes(), b".", rest].concat();
            }
        }
        self.set("general.architecture", text(new));
    }

    /// Reads a file that is whole.
    pub fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader { bytes, at: 8 };
        let (tensor_count, key_count) = (reader.number(8), reader.number(8));
        let keys = (0..key_count)
            .map(|_| {
                let name = reader.text();
                let kind = reader.number(4) as u32;
                (name, reader.value(kind))
            })
            .collect();
        let tensors: Vec<_> = (0..tensor_count)
            .map(|_| {
                let name = reader.text();
                let dimensions = reader.number(4);
                let shape = (0..dimensions).map(|_| reader.number(8)).collect();
                let tensor = Tensor { name, shape, kind: reader.number(4) as u32, bytes: Vec::new() };
                (tensor, reader.number(8) as usize)
            })
            .collect();
        let data = &bytes[reader.at.next_multiple_of(ALIGNMENT)..];
        let fill = |(tensor, offset): (Tensor, usize)| Tensor {
            bytes: data[offset..][..size(tensor.kind, &tensor.shape)].to_vec(),
            ..tensor
        };
        Self { keys, tensors: tensors.into_iter().map(fill).collect() }
    }

    /// Reads a file that is whole from where it lies.
    pub fn open(path: &Path) -> Self {
        Self::read(&std::fs::read(path).expect("the model can be read"))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.write().bytes
    }

    pub fn write(&self) -> Written {
        let mut written = Written::default();
        written.put(Part::Magic, b"GGUF");
        written.put(Part::Version, &3u32.to_le_bytes());
        written.put(Part::Count, &(self.tensors.len() as u64).to_le_bytes());
        written.put(Part::Count, &(self.keys.len() as u64).to_le_bytes());
        for (name, value) in &self.keys {
            written.text(name);
            written.value(value, true);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            written.text(&tensor.name);
            written.put(Part::Dimensions, &(tensor.shape.len() as u32).to_le_bytes());
            for length in &tensor.shape {
                written.put(Part::Extent, &length.to_le_bytes());
            }
            written.put(Part::TensorKind, &tensor.kind.to_le_bytes());
            written.put(Part::Offset, &(offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            written.bytes.resize(written.bytes.len().next_multiple_of(ALIGNMENT), 0);
            written.put(Part::Data, &tensor.bytes);
        }
        written.bytes.resize(written.bytes.len().next_multiple_of(ALIGNMENT), 0);
        written
    }
}

impl Written {
    fn put(&mut self, part: Part, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.fields.push(Field { part, start, end: self.bytes.len() });
    }

    fn text(&mut self, text: &[u8]) {
        self.put(Part::Length, &(text.len() as u64).to_le_bytes());
        self.put(Part::Text, text);
    }

    /// A value, with its type where it is not an item of a list.
    fn value(&mut self, value: &Value, with_kind: bool) {
        let kind = match value {
            Value::Number(kind, _) => *kind,
            Value::Text(_) => STRING,
            Value::List(..) => ARRAY,
        };
        if with_kind {
            self.put(Part::Kind, &kind.to_le_bytes());
        }
        match value {
            Value::Number(kind, bits) => self.put(Part::Number, &bits.to_le_bytes()[..width(*kind)]),
            Value::Text(text) => self.text(text),
            Value::List(kind, items) => {
                self.put(Part::Kind, &kind.to_le_bytes());
                self.put(Part::Length, &(items.len() as u64).to_le_bytes());
                for item in items {
                    self.value(item, false);
                }
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        self.at += size;
        &self.bytes[self.at - size..self.at]
    }

    fn number(&mut self, width: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width));
        u64::from_le_bytes(bytes)
    }

    fn text(&mut self) -> Vec<u8> {
        let size = self.number(8) as usize;
        self.take(size).to_vec()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            STRING => Value::Text(self.text()),
            ARRAY => {
                let kind = self.number(4) as u32;
                let length = self.number(8);
                Value::List(kind, (0..length).map(|_| self.value(kind)).collect())
            }
            kind => Value::Number(kind, self.number(width(kind))),
        }
    }
}
