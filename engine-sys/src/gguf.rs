//! Reads a GGUF file's header before llama.cpp does.
//!
//! llama.cpp asserts on some malformed headers, and an assertion ends the process. Whatever this module lets through
//! has the structure of a GGUF file, with every length inside the file. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, ModelFault};
use crate::sys;

const MAGIC: &[u8; 4] = b"GGUF";
/// Bytes that the smallest tensor or key can take: bounds the counts in the header by the file's size.
const SMALLEST_ENTRY: u64 = 13;
const MAX_DIMENSIONS: u32 = 4;
/// ggml's limit on a tensor's name, with its zero byte.
const MAX_TENSOR_NAME: u64 = 63;
/// Longest key that llama.cpp's own readers take.
const MAX_KEY: u64 = 65_535;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Longest text in a list, such as a token: as long as that, it takes stack for every byte in some tokenisers.
const MAX_ITEM: u64 = 1 << 16;
/// Longest chat template. llama.cpp's Jinja takes stack for every byte of a template that nests, and a stack that is
/// full ends the process; the engine's stack is enough for twice as much.
const MAX_TEMPLATE: u64 = 1 << 16;
/// Types that ggml has for other ends than weights: it computes with them all the same, and reads from a null pointer.
const NO_WEIGHTS: [u32; 7] = [
    sys::GGML_TYPE_Q8_1,
    sys::GGML_TYPE_Q8_K,
    sys::GGML_TYPE_I8,
    sys::GGML_TYPE_I16,
    sys::GGML_TYPE_I32,
    sys::GGML_TYPE_I64,
    sys::GGML_TYPE_F64,
];
/// Tables of tokens and experts, which are no weights.
const TABLES: [&str; 2] = ["d2t", "ffn_gate_tid2eid"];
/// Numbers that llama.cpp divides by, and an architecture that has none all the same.
const DIVISORS: [(&str, &[&str]); 7] = [
    (".attention.head_count", &["mamba", "rwkv"]),
    (".attention.head_count_kv", &["mamba", "rwkv"]),
    (".ssm.group_count", &["plamo2"]),
    (".ssm.time_step_rank", &[]),
    (".experts_per_group", &[]),
    (".interleave_moe_layer_step", &[]),
    (".conv_group_size", &[]),
];

/// What the header says that the loader needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `general.architecture`.
    pub(crate) architecture: String,
}

/// Checks that `path` is a whole GGUF file.
pub(crate) fn check(path: &Path) -> Result<Header, Error> {
    let name = path.display();
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    if metadata.is_dir() {
        return Err(Error::model(ModelFault::NotFound, format!("{name} is a directory; name a GGUF file")));
    }
    // Not by its metadata, which the standard library does not find in Emscripten's 64-bit memory.
    let size = size(&file).map_err(|e| unreadable(path, &e))?;
    let mut reader = Reader { input: BufReader::with_capacity(1 << 16, file), position: 0, size };
    reader.header().map_err(|fault| match fault {
        Fault::NotGguf => Error::model(ModelFault::NotGguf, format!("{name} is not a GGUF file")),
        Fault::Broken(what) => Error::model(ModelFault::Corrupt, format!("{name} is damaged: {what}")),
        Fault::Io(e) => unreadable(path, &e),
    })
}

fn size(mut file: &File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(size)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let name = path.display();
    let message = if error.kind() == io::ErrorKind::NotFound {
        format!("there is no file {name}")
    } else {
        format!("cannot read {name}: {error}")
    };
    Error::model(ModelFault::NotFound, message)
}

enum Fault {
    NotGguf,
    Broken(String),
    Io(io::Error),
}

impl Fault {
    fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }
}

/// A value of the header that this module looks at.
enum Value {
    U32(u32),
    F32(f32),
    String(Vec<u8>),
    Other,
}

struct Reader<R> {
    input: BufReader<R>,
    position: u64,
    size: u64,
}

impl<R: Read> Reader<R> {
    fn header(&mut self) -> Result<Header, Fault> {
        if self.size < 4 || &self.bytes::<4>()? != MAGIC {
            return Err(Fault::NotGguf);
        }
        match self.u32()? {
            2 | 3 => {}
            version if version.swap_bytes() <= 3 => return Err(Fault::broken("it is for a big-endian machine")),
            version => return Err(Fault::broken(format!("GGUF version {version} is not known"))),
        }
        let tensors = self.count("tensors")?;
        let keys = self.count("keys")?;
        let mut architecture = None;
        let mut alignment = DEFAULT_ALIGNMENT;
        let mut zeros = Vec::new();
        for _ in 0..keys {
            let key = self.text(MAX_KEY)?;
            if key.is_empty() {
                return Err(Fault::broken("a key has no name"));
            }
            let kind = self.u32()?;
            let value = self.value(kind)?;
            match (key.as_slice(), value) {
                // llama.cpp reads it up to there, and would see another one than the engine.
                (b"general.architecture", Value::String(text)) if text.contains(&0) => {
                    return Err(Fault::broken("general.architecture has a zero byte"));
                }
                (b"general.architecture", Value::String(text)) => {
                    architecture = Some(String::from_utf8_lossy(&text).into_owned());
                }
                // Without a tokeniser, llama.cpp makes as many tokens as it reads here.
                (name, Value::U32(tokens)) if name.ends_with(b".vocab_size") && u64::from(tokens) > self.size => {
                    return Err(Fault::broken(format!("{} is {tokens}", String::from_utf8_lossy(name))));
                }
                (name, Value::String(text))
                    if name.starts_with(b"tokenizer.chat_template") && text.len() as u64 > MAX_TEMPLATE =>
                {
                    return Err(Fault::broken(format!("a chat template has more than {MAX_TEMPLATE} bytes")));
                }
                (b"general.alignment", Value::U32(bytes)) if bytes.is_power_of_two() => alignment = u64::from(bytes),
                // The computation asserts it, where an assertion cannot be caught.
                (name, Value::F32(epsilon))
                    if name.ends_with(b"_epsilon") && !(epsilon >= 0.0 && epsilon.is_finite()) =>
                {
                    return Err(Fault::broken(format!("{} is {epsilon}", String::from_utf8_lossy(name))));
                }
                (name, Value::U32(0)) if DIVISORS.iter().any(|(divisor, _)| name.ends_with(divisor.as_bytes())) => {
                    zeros.push(String::from_utf8_lossy(name).into_owned());
                }
                (b"general.alignment", _) => return Err(Fault::broken("general.alignment is not a power of two")),
                _ => {}
            }
        }
        self.tensors(tensors, alignment)?;
        let architecture = architecture.ok_or_else(|| Fault::broken("general.architecture is missing"))?;
        let allows = |zero: &&String, (divisor, without): &(&str, &[&str])| {
            zero.ends_with(divisor) && without.iter().any(|word| architecture.contains(word))
        };
        if let Some(zero) = zeros.iter().find(|zero| !DIVISORS.iter().any(|divisor| allows(zero, divisor))) {
            return Err(Fault::broken(format!("{zero} is 0")));
        }
        Ok(Header { architecture })
    }

    /// Every tensor's description, and that its bytes lie in the file.
    fn tensors(&mut self, count: u64, alignment: u64) -> Result<(), Fault> {
        let mut end = 0u64;
        for _ in 0..count {
            let name = String::from_utf8_lossy(&self.text(MAX_TENSOR_NAME)?).into_owned();
            let broken = |what: &str| Fault::broken(format!("tensor `{name}` {what}"));
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err(broken("has too many dimensions"));
            }
            let mut shape = [1u64; MAX_DIMENSIONS as usize];
            for length in shape.iter_mut().take(dimensions as usize) {
                *length = self.u64()?;
            }
            let kind = self.u32()?;
            let offset = self.u64()?;
            let bytes = tensor_bytes(kind, shape).ok_or_else(|| broken("has a type or a size that is not possible"))?;
            let is_table = TABLES.iter().any(|table| name.split('.').any(|word| word == *table));
            if NO_WEIGHTS.contains(&kind) && !is_table {
                return Err(broken("has a type that no weight has"));
            }
            let is_vector = dimensions <= 1 || name.contains("norm") || name.ends_with(".bias");
            if is_vector && !is_table && kind != sys::GGML_TYPE_F32 {
                return Err(broken("has a type that no vector has; it must be f32"));
            }
            if offset % alignment != 0 {
                return Err(broken("does not start at an aligned place"));
            }
            end = end.max(offset.checked_add(bytes).ok_or_else(|| broken("ends outside the file"))?);
        }
        let data = self.position.next_multiple_of(alignment);
        match data.checked_add(end) {
            Some(needed) if needed <= self.size || end == 0 => Ok(()),
            needed => {
                let needed = needed.map_or_else(|| "more".to_owned(), |needed| needed.to_string());
                Err(Fault::broken(format!(
                    "it has {} bytes and needs {needed}; it may not be downloaded to its end",
                    self.size
                )))
            }
        }
    }

    fn value(&mut self, kind: u32) -> Result<Value, Fault> {
        Ok(match kind {
            sys::GGUF_TYPE_UINT32 => Value::U32(self.u32()?),
            sys::GGUF_TYPE_FLOAT32 => Value::F32(f32::from_bits(self.u32()?)),
            sys::GGUF_TYPE_STRING => Value::String(self.text(u64::MAX)?),
            sys::GGUF_TYPE_ARRAY => {
                self.array()?;
                Value::Other
            }
            _ => {
                self.skip(scalar_bytes(kind).ok_or_else(|| Fault::broken("a key has a type that is not known"))?)?;
                Value::Other
            }
        })
    }

    fn array(&mut self) -> Result<(), Fault> {
        let kind = self.u32()?;
        let length = self.u64()?;
        if kind == sys::GGUF_TYPE_STRING {
            for _ in 0..length {
                let size = self.u64()?;
                if size > MAX_ITEM {
                    return Err(Fault::broken(format!("a token or another text of a list has {size} bytes")));
                }
                self.skip(size)?;
            }
            return Ok(());
        }
        let bytes = scalar_bytes(kind).and_then(|bytes| bytes.checked_mul(length));
        self.skip(bytes.ok_or_else(|| Fault::broken("an array has a type or a length that is not possible"))?)
    }

    fn count(&mut self, what: &str) -> Result<u64, Fault> {
        let count = self.u64()?;
        if count > self.size / SMALLEST_ENTRY {
            return Err(Fault::broken(format!("it claims {count} {what}, more than it has room for")));
        }
        Ok(count)
    }

    fn text(&mut self, longest: u64) -> Result<Vec<u8>, Fault> {
        let size = self.u64()?;
        if size > longest {
            return Err(Fault::broken("a name is too long"));
        }
        self.room_for(size)?;
        let mut text = vec![0; usize::try_from(size).map_err(|_| Fault::broken("a text is too long"))?];
        self.read(&mut text)?;
        Ok(text)
    }

    fn skip(&mut self, size: u64) -> Result<(), Fault> {
        self.room_for(size)?;
        let skipped = io::copy(&mut self.input.by_ref().take(size), &mut io::sink()).map_err(Fault::Io)?;
        self.position += skipped;
        if skipped == size { Ok(()) } else { Err(Fault::broken("it ends inside its header")) }
    }

    fn room_for(&self, size: u64) -> Result<(), Fault> {
        if size > self.size.saturating_sub(self.position) {
            return Err(Fault::broken("it ends inside its header"));
        }
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.room_for(bytes.len() as u64)?;
        self.input.read_exact(bytes).map_err(Fault::Io)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

fn scalar_bytes(kind: u32) -> Option<u64> {
    Some(match kind {
        sys::GGUF_TYPE_UINT8 | sys::GGUF_TYPE_INT8 | sys::GGUF_TYPE_BOOL => 1,
        sys::GGUF_TYPE_UINT16 | sys::GGUF_TYPE_INT16 => 2,
        sys::GGUF_TYPE_UINT32 | sys::GGUF_TYPE_INT32 | sys::GGUF_TYPE_FLOAT32 => 4,
        sys::GGUF_TYPE_UINT64 | sys::GGUF_TYPE_INT64 | sys::GGUF_TYPE_FLOAT64 => 8,
        _ => return None,
    })
}

/// Bytes of a tensor, if its type is known and its rows consist of whole blocks.
fn tensor_bytes(kind: u32, shape: [u64; MAX_DIMENSIONS as usize]) -> Option<u64> {
    if kind >= sys::GGML_TYPE_COUNT {
        return None;
    }
    // SAFETY: both functions are pure look-ups for a type below the count; types that were removed have size 0.
    let (block, bytes) = unsafe { (sys::ggml_blck_size(kind), sys::ggml_type_size(kind)) };
    let block = u64::try_from(block).ok().filter(|block| *block > 0)?;
    let [row, rest @ ..] = shape;
    if bytes == 0 || !row.is_multiple_of(block) {
        return None;
    }
    let elements = rest.iter().try_fold(row, |product, length| product.checked_mul(*length))?;
    i64::try_from(elements).ok()?;
    (elements / block).checked_mul(bytes as u64)
}
