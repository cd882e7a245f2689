//! Files that are whole, and files that once ended the process, or nearly: tried under every seed, because chance finds
//! them rarely.

use test_models::gguf::{File, Value, number, text};
use test_models::models::{Base, odd_lengths};

/// The largest texts that are let through, and the smallest that are not.
const LONG: usize = 1 << 16;
const TOO_LONG: usize = LONG + 1;

/// What is wrong, and the file.
pub(crate) fn known(bases: &[Base]) -> Vec<(String, File)> {
    let mut known: Vec<_> = bases.iter().map(|base| (format!("{}: whole", base.name), base.file.clone())).collect();
    let mut add = |base: &str, said: &str, change: &dyn Fn(&mut File)| {
        let mut file = bases.iter().find(|other| other.name == base).expect("there is such a base").file.clone();
        change(&mut file);
        known.push((format!("{base}: {said}"), file));
    };
    // Another architecture for the engine, which reads to the end, than for llama.cpp.
    add("encoder", "a zero byte in the architecture", &|file| file.set("general.architecture", text("bert\0")));
    // Gigabytes for tokens that nobody named.
    add("no-vocabulary", "tokens without end", &|file| file.set("llama.vocab_size", number(1 << 28)));
    // A division by zero, and one in a model that may have no heads.
    add("small", "no heads", &|file| file.set("llama.attention.head_count", number(0)));
    add("recurrent", "no heads, which it may have", &|_| {});
    add("recurrent", "an architecture that divides by its heads", &|file| file.rename("mamba", "phimoe"));
    // Assertions of computations.
    add("small", "positions in several dimensions, of none", &|file| file.rename("llama", "paddleocr"));
    for length in [LONG, TOO_LONG] {
        // One stack frame, or more, for every byte.
        for (open, close) in [("(", ""), ("[", ""), ("not ", "1 }}"), ("{", "")] {
            let template = format!("{{{{ {}{close}", open.repeat((length - 3 - close.len()) / open.len()));
            add("small", &format!("{length} bytes of `{open}` in the template"), &|file| {
                file.set("tokenizer.chat_template", text(&template));
            });
        }
        for base in ["small", "sentence-pieces", "unigrams", "encoder"] {
            // The third is a control token in all of them but the last, where it is the class's.
            add(base, &format!("a token of {length} bytes"), &|file| {
                if let Some(Value::List(_, tokens)) = file.get("tokenizer.ggml.tokens") {
                    tokens[2] = text(&"a".repeat(length));
                    tokens[20] = text(&"b".repeat(length));
                }
            });
        }
    }
    // Heads of an odd length, which cannot be rotated.
    known.push(("heads of odd length".to_owned(), odd_lengths(bases)));
    known
}
