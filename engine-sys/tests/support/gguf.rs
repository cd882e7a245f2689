//! Edits a GGUF file's keys, for models that are wrong or different in one known way.

use std::path::{Path, PathBuf};

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A GGUF file in memory.
pub struct Gguf {
    /// Name, type, and the value's bytes.
    pub keys: Vec<(String, u32, Vec<u8>)>,
    version: u32,
    tensor_count: u64,
    tensors: Vec<u8>,
    data: Vec<u8>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        self.at += size;
        &self.bytes[self.at - size..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let size = self.u64() as usize;
        String::from_utf8(self.take(size).to_vec()).unwrap()
    }

    fn skip_value(&mut self, kind: u32) {
        match kind {
            STRING => drop(self.text()),
            ARRAY => {
                let kind = self.u32();
                for _ in 0..self.u64() {
                    self.skip_value(kind);
                }
            }
            0 | 1 | 7 => drop(self.take(1)),
            2 | 3 => drop(self.take(2)),
            4..=6 => drop(self.take(4)),
            _ => drop(self.take(8)),
        }
    }
}

impl Gguf {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the model can be read");
        let mut cursor = Cursor { bytes: &bytes, at: 4 };
        let version = cursor.u32();
        let (tensor_count, key_count) = (cursor.u64(), cursor.u64());
        let mut keys = Vec::new();
        for _ in 0..key_count {
            let (name, kind) = (cursor.text(), cursor.u32());
            let start = cursor.at;
            cursor.skip_value(kind);
            keys.push((name, kind, bytes[start..cursor.at].to_vec()));
        }
        let start = cursor.at;
        for _ in 0..tensor_count {
            cursor.text();
            let dimensions = cursor.u32() as usize;
            cursor.take(8 * dimensions + 4 + 8);
        }
        let tensors = bytes[start..cursor.at].to_vec();
        let data = bytes[cursor.at.next_multiple_of(32)..].to_vec();
        Self { keys, version, tensor_count, tensors, data }
    }

    pub fn remove(&mut self, name: &str) {
        self.keys.retain(|(key, _, _)| key != name);
    }

    pub fn set(&mut self, name: &str, kind: u32, value: Vec<u8>) {
        match self.keys.iter_mut().find(|(key, _, _)| key == name) {
            Some(key) => *key = (name.to_owned(), kind, value),
            None => self.keys.push((name.to_owned(), kind, value)),
        }
    }

    pub fn set_text(&mut self, name: &str, text: &str) {
        let mut value = (text.len() as u64).to_le_bytes().to_vec();
        value.extend_from_slice(text.as_bytes());
        self.set(name, STRING, value);
    }

    pub fn set_u32(&mut self, name: &str, value: u32) {
        self.set(name, 4, value.to_le_bytes().to_vec());
    }

    pub fn set_f32(&mut self, name: &str, value: f32) {
        self.set(name, 6, value.to_le_bytes().to_vec());
    }

    /// A list of truths, of which every second one is the same.
    pub fn set_alternating(&mut self, name: &str, length: u64) {
        let mut value = 7u32.to_le_bytes().to_vec();
        value.extend(length.to_le_bytes());
        value.extend((0..length).map(|index| u8::from(index % 2 == 0)));
        self.set(name, ARRAY, value);
    }

    /// Gives the file another architecture, with the same values under its name.
    pub fn rename_architecture(&mut self, from: &str, to: &str) {
        self.set_text("general.architecture", to);
        for (key, _, _) in &mut self.keys {
            if let Some(rest) = key.strip_prefix(&format!("{from}.")) {
                *key = format!("{to}.{rest}");
            }
        }
    }

    /// Adds a vector of 32-bit floats.
    pub fn add_vector(&mut self, name: &str, values: &[f32]) {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensors.extend((name.len() as u64).to_le_bytes());
        self.tensors.extend(name.as_bytes());
        self.tensors.extend(1u32.to_le_bytes());
        self.tensors.extend((values.len() as u64).to_le_bytes());
        self.tensors.extend(0u32.to_le_bytes());
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.tensor_count += 1;
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (name, kind, value) in &self.keys {
            bytes.extend((name.len() as u64).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// A file in a folder of its own that goes away with it.
pub struct TempFile {
    folder: PathBuf,
    pub path: PathBuf,
}

impl TempFile {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let unique = format!("sipp-engine-test-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { folder, path }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
