//! Whole models: the demo model, and very small ones of other shapes and with other tokenisers, whose weights are
//! numbers by chance.

use std::iter::once;

use crate::gguf::{BOOL, F32, File, I32, Tensor, Value, float, number, size, text};
use crate::random::Random;

pub struct Base {
    pub name: &'static str,
    pub file: File,
}

/// The lengths of a decoder of the `llama` family.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    pub embedding: u32,
    pub heads: u32,
    pub heads_kv: u32,
    pub feed_forward: u32,
    pub layers: u32,
    pub context: u32,
    pub experts: u32,
    /// Type of the matrices.
    pub kind: u32,
}

const SMALL: Lengths =
    Lengths { embedding: 64, heads: 2, heads_kv: 1, feed_forward: 64, layers: 1, context: 64, experts: 0, kind: 1 };
/// Rows of whole blocks of every quantised type.
const WIDE: Lengths = Lengths { embedding: 256, feed_forward: 256, kind: 8, ..SMALL };
const TEMPLATE: &str =
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}";

pub fn bases() -> Vec<Base> {
    let demo = File::read(&std::fs::read(crate::demo_path()).unwrap());
    let byte_pairs = byte_pairs(&demo);
    let none = vec![("tokenizer.ggml.model", text("none")), ("llama.vocab_size", number(64))];
    let mut odd = decoder("llama", SMALL, byte_pairs.clone());
    odd.keys.extend(odd_keys());
    let file = |name, file| Base { name, file };
    vec![
        file("small", decoder("llama", SMALL, byte_pairs.clone())),
        file("sentence-pieces", decoder("llama", SMALL, sentence_pieces("llama"))),
        file("unigrams", decoder("llama", SMALL, unigrams())),
        file("no-vocabulary", decoder("llama", SMALL, none)),
        file("odd-keys", odd),
        file("wide", decoder("llama", WIDE, byte_pairs.clone())),
        file("experts", decoder("llama", Lengths { experts: 4, layers: 2, ..SMALL }, byte_pairs.clone())),
        file("normed", normed(decoder("qwen3", SMALL, byte_pairs.clone()))),
        file("windows", windows(decoder("gemma2", Lengths { layers: 2, ..SMALL }, sentence_pieces("llama")))),
        file("recurrent", recurrent(byte_pairs.clone())),
        file("encoder", encoder()),
        file("encoder-decoder", encoder_decoder()),
        file("ranker", ranker()),
        file("demo", demo),
    ]
}

/// A decoder whose lengths fit each other in the file, if not in the arithmetic.
pub fn odd_decoder(bases: &[Base], random: &mut Random) -> (String, File) {
    let lengths = Lengths {
        embedding: *random.pick(&[1, 2, 31, 32, 33, 64, 96, 256]),
        heads: *random.pick(&[0, 1, 2, 3, 4, 5, 64, 1000]),
        heads_kv: *random.pick(&[0, 1, 2, 3, 4, 8]),
        feed_forward: *random.pick(&[0, 1, 31, 32, 256]),
        layers: *random.pick(&[0, 1, 2, 3]),
        context: *random.pick(&[0, 1, 2, 3, 64, 5000]),
        experts: *random.pick(&[0, 0, 0, 1, 2, 5]),
        kind: *random.pick(&[0, 1, 2, 8, 26, 30]),
    };
    let architecture = random.pick(&["llama", "qwen2", "mistral3", "granite", "minicpm", "arcee", "deci", "internlm2"]);
    (format!("{architecture} of {lengths:?}"), decoder(architecture, lengths, demo_byte_pairs(bases)))
}

/// A decoder whose heads have an odd length, and so no pairs of numbers to rotate.
pub fn odd_lengths(bases: &[Base]) -> File {
    decoder("llama", Lengths { heads: 3, heads_kv: 1, kind: 0, ..SMALL }, demo_byte_pairs(bases))
}

fn demo_byte_pairs(bases: &[Base]) -> Keys {
    byte_pairs(&bases.last().expect("the demo is the last of them").file)
}

type Keys = Vec<(&'static str, Value)>;

fn list(kind: u32, items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(kind, items.into_iter().collect())
}

fn integers(numbers: impl IntoIterator<Item = u64>) -> Value {
    list(I32, numbers.into_iter().map(|number| Value::Number(I32, number)))
}

/// The demo's tokeniser with its single bytes and few pairs.
fn byte_pairs(demo: &File) -> Keys {
    let cut = |name: &str, most: usize| match demo.keys.iter().find(|(key, _)| key == name.as_bytes()) {
        Some((_, Value::List(kind, items))) => Value::List(*kind, items.iter().take(most).cloned().collect()),
        _ => panic!("the demo has {name}"),
    };
    vec![
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", cut("tokenizer.ggml.tokens", 288)),
        ("tokenizer.ggml.token_type", cut("tokenizer.ggml.token_type", 288)),
        ("tokenizer.ggml.merges", cut("tokenizer.ggml.merges", 24)),
        ("tokenizer.ggml.bos_token_id", number(0)),
        ("tokenizer.ggml.eos_token_id", number(1)),
        ("tokenizer.ggml.add_bos_token", Value::Number(BOOL, 1)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ]
}

/// A tokeniser with scores: control tokens, bytes, and the letters with and without a space before them.
fn sentence_pieces(model: &str) -> Keys {
    let letters = ('a'..='z').chain('A'..='Z').chain(",.!?:\n".chars());
    let words =
        letters.flat_map(|letter| [letter.to_string(), format!("\u{2581}{letter}")]).chain(once("\u{2581}".into()));
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let (words, bytes): (Vec<String>, Vec<String>) = (words.collect(), bytes.collect());
    let kinds = [2, 3, 3].into_iter().chain(bytes.iter().map(|_| 6)).chain(words.iter().map(|_| 1));
    let kinds: Vec<u64> = kinds.collect();
    let scores = (0..kinds.len()).map(|index| float(-(index as f32)));
    vec![
        ("tokenizer.ggml.model", text(model)),
        ("tokenizer.ggml.tokens", list(8, special.iter().chain(&bytes).chain(&words).map(|token| text(token)))),
        ("tokenizer.ggml.scores", list(F32, scores)),
        ("tokenizer.ggml.token_type", integers(kinds)),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
    ]
}

/// The same tokens for T5's tokeniser, with a map of characters: a trie of 256 nodes without words, and a replacement.
fn unigrams() -> Keys {
    let mut keys = sentence_pieces("t5");
    let map = 1024u32.to_le_bytes().into_iter().chain([0; 1024]).chain(*b"x\0y\0");
    keys.push(("tokenizer.ggml.precompiled_charsmap", list(0, map.map(|byte| Value::Number(0, byte.into())))));
    keys.push(("tokenizer.ggml.remove_extra_whitespaces", Value::Number(BOOL, 1)));
    keys
}

/// Words and their ends.
fn word_pieces() -> Keys {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let letters = ('a'..='z').flat_map(|letter| [letter.to_string(), format!("\u{2581}{letter}")]);
    let tokens: Vec<String> = special.into_iter().chain(letters).chain(["\u{2581}hello".to_owned()]).collect();
    let kinds: Vec<u64> = (0..tokens.len()).map(|index| if index < 5 { 3 } else { 1 }).collect();
    vec![
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.tokens", list(8, tokens.iter().map(|token| text(token)))),
        ("tokenizer.ggml.token_type", integers(kinds)),
        ("tokenizer.ggml.token_type_count", number(2)),
        ("tokenizer.ggml.padding_token_id", number(0)),
        ("tokenizer.ggml.unknown_token_id", number(1)),
        ("tokenizer.ggml.cls_token_id", number(2)),
        ("tokenizer.ggml.bos_token_id", number(2)),
        ("tokenizer.ggml.seperator_token_id", number(3)),
        ("tokenizer.ggml.eos_token_id", number(3)),
        ("tokenizer.ggml.mask_token_id", number(4)),
    ]
}

/// Keys that nobody reads, of every type and with lists of every type.
fn odd_keys() -> impl Iterator<Item = (Vec<u8>, Value)> {
    (0..=12u32).filter(|kind| *kind != 9).flat_map(|kind| {
        let item = if kind == 8 { text("odd \u{1f600}") } else { Value::Number(kind, 1) };
        let items = (0..kind as usize % 4).map(|_| item.clone());
        [
            (format!("odd.{kind}").into_bytes(), item.clone()),
            (format!("odd.list.{kind}").into_bytes(), list(kind, items)),
        ]
    })
}

fn vocabulary_size(keys: &Keys) -> u64 {
    keys.iter()
        .find_map(|(name, value)| match value {
            Value::List(_, items) if *name == "tokenizer.ggml.tokens" => Some(items.len() as u64),
            Value::Number(_, size) if name.ends_with("vocab_size") => Some(*size),
            Value::Number(..) | Value::Text(_) | Value::List(..) => None,
        })
        .unwrap()
}

fn begin(architecture: &str, lengths: &[(&str, u32)], vocabulary: Keys) -> File {
    let mut file = File { keys: Vec::new(), tensors: Vec::new() };
    file.set("general.architecture", text(architecture));
    for (name, length) in lengths {
        file.set(&format!("{architecture}.{name}"), number(*length));
    }
    for (name, value) in vocabulary {
        file.set(name, value);
    }
    file
}

/// Adds a tensor: of 1 if it is a norm, else of small numbers that depend on the place only.
fn add(file: &mut File, name: &str, kind: u32, shape: &[u32]) {
    let shape: Vec<u64> = shape.iter().map(|length| u64::from(*length)).collect();
    let norm = name.contains("norm") || (name.contains("ln") && name.ends_with("weight"));
    let mut random = Random::new(0, file.tensors.len() as u64);
    let mut bytes = Vec::with_capacity(size(kind, &shape));
    while bytes.len() < size(kind, &shape) {
        match kind {
            0 if norm => bytes.extend(1f32.to_le_bytes()),
            0 => bytes.extend((random.below(1000) as f32 / 5000.0 - 0.1).to_le_bytes()),
            // 16 bits with a small exponent are small numbers in halves and in blocks, which begin with one.
            _ => bytes.extend(((random.number() as u16 & 0x83ff) | 0x2800).to_le_bytes()),
        }
    }
    bytes.truncate(size(kind, &shape));
    file.tensors.push(Tensor { name: name.as_bytes().to_vec(), shape, kind, bytes });
}

fn decoder(architecture: &str, lengths: Lengths, vocabulary: Keys) -> File {
    let Lengths { embedding, heads, heads_kv, feed_forward, layers, context, experts, kind } = lengths;
    let tokens = vocabulary_size(&vocabulary) as u32;
    let mut numbers = vec![
        ("context_length", context),
        ("embedding_length", embedding),
        ("block_count", layers),
        ("feed_forward_length", feed_forward),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads_kv),
    ];
    if experts > 0 {
        numbers.extend([("expert_count", experts), ("expert_used_count", experts.div_ceil(2))]);
    }
    let mut file = begin(architecture, &numbers, vocabulary);
    file.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), float(1e-5));
    let head = embedding.checked_div(heads).unwrap_or(embedding);
    add(&mut file, "token_embd.weight", kind, &[embedding, tokens]);
    add(&mut file, "output_norm.weight", 0, &[embedding]);
    for layer in 0..layers {
        let mut add =
            |name: &str, kind, shape: &[u32]| add(&mut file, &format!("blk.{layer}.{name}.weight"), kind, shape);
        add("attn_norm", 0, &[embedding]);
        add("attn_q", kind, &[embedding, head * heads]);
        add("attn_k", kind, &[embedding, head * heads_kv]);
        add("attn_v", kind, &[embedding, head * heads_kv]);
        add("attn_output", kind, &[head * heads, embedding]);
        add("ffn_norm", 0, &[embedding]);
        if experts > 0 {
            add("ffn_gate_inp", 0, &[embedding, experts]);
            add("ffn_gate_exps", kind, &[embedding, feed_forward, experts]);
            add("ffn_down_exps", kind, &[feed_forward, embedding, experts]);
            add("ffn_up_exps", kind, &[embedding, feed_forward, experts]);
        } else {
            add("ffn_gate", kind, &[embedding, feed_forward]);
            add("ffn_down", kind, &[feed_forward, embedding]);
            add("ffn_up", kind, &[embedding, feed_forward]);
        }
    }
    file
}

/// A decoder that norms queries and keys too.
fn normed(mut file: File) -> File {
    for name in ["blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"] {
        add(&mut file, name, 0, &[SMALL.embedding / SMALL.heads]);
    }
    file
}

/// A decoder that looks at a window in every other layer, and norms after each part too.
fn windows(mut file: File) -> File {
    file.set("gemma2.attention.sliding_window", number(16));
    file.set("gemma2.attention.key_length", number(SMALL.embedding / SMALL.heads));
    file.set("gemma2.attention.value_length", number(SMALL.embedding / SMALL.heads));
    file.set("gemma2.attn_logit_softcapping", float(50.0));
    file.set("gemma2.final_logit_softcapping", float(30.0));
    for layer in 0..2 {
        for name in ["post_attention_norm", "post_ffw_norm"] {
            add(&mut file, &format!("blk.{layer}.{name}.weight"), 0, &[SMALL.embedding]);
        }
    }
    file
}

/// A model that remembers a state instead of tokens.
fn recurrent(vocabulary: Keys) -> File {
    let (embedding, inner, state, rank, kernel) = (32, 64, 16, 2, 4);
    let tokens = vocabulary_size(&vocabulary) as u32;
    let numbers = [
        ("context_length", 64),
        ("embedding_length", embedding),
        ("block_count", 1),
        ("feed_forward_length", 0),
        ("attention.head_count", 0),
        ("ssm.conv_kernel", kernel),
        ("ssm.inner_size", inner),
        ("ssm.state_size", state),
        ("ssm.time_step_rank", rank),
    ];
    let mut file = begin("mamba", &numbers, vocabulary);
    file.set("mamba.attention.layer_norm_rms_epsilon", float(1e-5));
    add(&mut file, "token_embd.weight", 0, &[embedding, tokens]);
    add(&mut file, "output_norm.weight", 0, &[embedding]);
    for (name, shape) in [
        ("attn_norm.weight", &[embedding][..]),
        ("ssm_in.weight", &[embedding, 2 * inner]),
        ("ssm_conv1d.weight", &[kernel, inner]),
        ("ssm_conv1d.bias", &[inner]),
        ("ssm_x.weight", &[inner, rank + 2 * state]),
        ("ssm_dt.weight", &[rank, inner]),
        ("ssm_dt.bias", &[inner]),
        ("ssm_a", &[state, inner]),
        ("ssm_d", &[inner]),
        ("ssm_out.weight", &[inner, embedding]),
    ] {
        add(&mut file, &format!("blk.0.{name}"), 0, shape);
    }
    file
}

/// A model that scores a text against another.
#[must_use]
pub fn ranker() -> File {
    let mut file = encoder();
    file.set("bert.pooling_type", number(4));
    let Some(Value::Number(_, length)) = file.get("bert.embedding_length").cloned() else { panic!("it has a length") };
    let length = length as u32;
    add(&mut file, "cls.weight", 1, &[length, length]);
    add(&mut file, "cls.bias", 0, &[length]);
    add(&mut file, "cls.output.weight", 1, &[length, 1]);
    add(&mut file, "cls.output.bias", 0, &[1]);
    file
}

/// A model that reads only.
fn encoder() -> File {
    let (embedding, feed_forward, context) = (32, 64, 64);
    let vocabulary = word_pieces();
    let tokens = vocabulary_size(&vocabulary) as u32;
    let numbers = [
        ("context_length", context),
        ("embedding_length", embedding),
        ("block_count", 1),
        ("feed_forward_length", feed_forward),
        ("attention.head_count", 1),
        ("pooling_type", 1),
    ];
    let mut file = begin("bert", &numbers, vocabulary);
    file.set("bert.attention.layer_norm_epsilon", float(1e-5));
    file.set("bert.attention.causal", Value::Number(BOOL, 0));
    add(&mut file, "token_embd.weight", 1, &[embedding, tokens]);
    add(&mut file, "token_types.weight", 0, &[embedding, 2]);
    add(&mut file, "position_embd.weight", 0, &[embedding, context]);
    add(&mut file, "token_embd_norm.weight", 0, &[embedding]);
    add(&mut file, "token_embd_norm.bias", 0, &[embedding]);
    for (name, rows, columns) in [
        ("attn_q", embedding, embedding),
        ("attn_k", embedding, embedding),
        ("attn_v", embedding, embedding),
        ("attn_output", embedding, embedding),
        ("attn_output_norm", embedding, 0),
        ("ffn_up", embedding, feed_forward),
        ("ffn_down", feed_forward, embedding),
        ("layer_output_norm", embedding, 0),
    ] {
        let (kind, shape, bias) = if columns == 0 { (0, vec![rows], rows) } else { (1, vec![rows, columns], columns) };
        add(&mut file, &format!("blk.0.{name}.weight"), kind, &shape);
        add(&mut file, &format!("blk.0.{name}.bias"), 0, &[bias]);
    }
    file
}

/// A model that reads a text first, then writes.
pub fn encoder_decoder() -> File {
    let (embedding, feed_forward, heads, buckets) = (64, 64, 2, 8);
    let mut vocabulary = unigrams();
    vocabulary.push(("tokenizer.ggml.add_eos_token", Value::Number(BOOL, 1)));
    let tokens = vocabulary_size(&vocabulary) as u32;
    let numbers = [
        ("context_length", 128),
        ("embedding_length", embedding),
        ("block_count", 1),
        ("feed_forward_length", feed_forward),
        ("attention.head_count", heads),
        ("attention.relative_buckets_count", buckets),
        ("decoder_start_token_id", 0),
    ];
    let mut file = begin("t5", &numbers, vocabulary);
    file.set("t5.attention.layer_norm_rms_epsilon", float(1e-5));
    add(&mut file, "token_embd.weight", 1, &[embedding, tokens]);
    add(&mut file, "output.weight", 1, &[embedding, tokens]);
    for (part, attentions) in [("enc", &["attn"][..]), ("dec", &["attn", "cross_attn"])] {
        add(&mut file, &format!("{part}.output_norm.weight"), 0, &[embedding]);
        let mut add =
            |name: &str, kind, shape: &[u32]| add(&mut file, &format!("{part}.blk.0.{name}.weight"), kind, shape);
        for attention in attentions {
            add(&format!("{attention}_norm"), 0, &[embedding]);
            for name in ["q", "k", "v", "o"] {
                add(&format!("{attention}_{name}"), 1, &[embedding, embedding]);
            }
        }
        add("attn_rel_b", 0, &[heads, buckets]);
        add("ffn_norm", 0, &[embedding]);
        add("ffn_gate", 1, &[embedding, feed_forward]);
        add("ffn_down", 1, &[feed_forward, embedding]);
        add("ffn_up", 1, &[embedding, feed_forward]);
    }
    file
}

/// How a model reads images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Every image has the same size, and its vectors follow each other as tokens do.
    Line,
    /// Every image keeps its shape, and its vectors have places in a grid.
    Grid,
    /// Every image has the same size, and each of its vectors is computed in sight of all of them.
    Mutual,
}

/// Numbers in a vector of the models that read images.
const SEEING: Lengths = Lengths { embedding: 64, context: 512, layers: 2, ..SMALL };

/// A model that reads images, and its projector.
pub fn seeing(sight: Sight) -> (File, File) {
    let demo = File::read(&std::fs::read(crate::demo_path()).unwrap());
    let vocabulary = byte_pairs(&demo);
    let model = match sight {
        Sight::Line => decoder("llama", SEEING, vocabulary),
        Sight::Grid => {
            let mut model = decoder("qwen2vl", SEEING, vocabulary);
            let sections = [8, 4, 4, 0];
            model.set("qwen2vl.rope.dimension_sections", integers(sections));
            model
        }
        Sight::Mutual => {
            let mut model = decoder("gemma3", SEEING, vocabulary);
            let head = SEEING.embedding / SEEING.heads;
            model.set("gemma3.attention.key_length", number(head));
            model.set("gemma3.attention.value_length", number(head));
            for layer in 0..SEEING.layers {
                for (name, length) in [
                    ("post_attention_norm", SEEING.embedding),
                    ("post_ffw_norm", SEEING.embedding),
                    ("attn_q_norm", head),
                    ("attn_k_norm", head),
                ] {
                    add(&mut model, &format!("blk.{layer}.{name}.weight"), 0, &[length]);
                }
            }
            model
        }
    };
    (model, projector(sight))
}

fn projector(sight: Sight) -> File {
    let (embedding, feed_forward, patch, layers) = (32, 64, 14, 2);
    let side = if sight == Sight::Mutual { 8 } else { 4 };
    let mut file = File { keys: Vec::new(), tensors: Vec::new() };
    let kind = match sight {
        Sight::Line => "mlp",
        Sight::Grid => "qwen2vl_merger",
        Sight::Mutual => "gemma3",
    };
    file.set("general.architecture", text("clip"));
    file.set("clip.projector_type", text(kind));
    file.set("clip.has_vision_encoder", Value::Number(BOOL, 1));
    file.set("clip.use_gelu", Value::Number(BOOL, 1));
    for (name, length) in [
        ("embedding_length", embedding),
        ("feed_forward_length", feed_forward),
        ("block_count", layers),
        ("projection_dim", SEEING.embedding),
        ("attention.head_count", 2),
        ("image_size", side * patch),
        ("patch_size", patch),
    ] {
        file.set(&format!("clip.vision.{name}"), number(length));
    }
    file.set("clip.vision.attention.layer_norm_epsilon", float(1e-5));
    for (name, value) in [("image_mean", 0.5), ("image_std", 0.25)] {
        file.set(&format!("clip.vision.{name}"), list(F32, [float(value), float(value), float(value)]));
    }
    let mut add = |name: &str, kind, shape: &[u32]| add(&mut file, name, kind, shape);
    add("v.patch_embd.weight", 1, &[patch, patch, 3, embedding]);
    match sight {
        Sight::Line => {
            add("v.class_embd", 0, &[embedding]);
            add("v.position_embd.weight", 0, &[embedding, side * side + 1]);
            add("mm.0.weight", 1, &[embedding, SEEING.embedding]);
            add("mm.0.bias", 0, &[SEEING.embedding]);
            add("mm.2.weight", 1, &[SEEING.embedding, SEEING.embedding]);
            add("mm.2.bias", 0, &[SEEING.embedding]);
        }
        Sight::Grid => {
            add("v.patch_embd.weight.1", 1, &[patch, patch, 3, embedding]);
            add("v.post_ln.weight", 0, &[embedding]);
            add("v.post_ln.bias", 0, &[embedding]);
            add("mm.0.weight", 1, &[4 * embedding, 4 * embedding]);
            add("mm.0.bias", 0, &[4 * embedding]);
            add("mm.2.weight", 1, &[4 * embedding, SEEING.embedding]);
            add("mm.2.bias", 0, &[SEEING.embedding]);
        }
        Sight::Mutual => {
            add("v.position_embd.weight", 0, &[embedding, side * side]);
            add("v.post_ln.weight", 0, &[embedding]);
            add("v.post_ln.bias", 0, &[embedding]);
            add("mm.soft_emb_norm.weight", 0, &[embedding]);
            add("mm.input_projection.weight", 1, &[SEEING.embedding, embedding]);
        }
    }
    for layer in 0..layers {
        for (name, rows, columns) in [
            ("attn_q", embedding, embedding),
            ("attn_k", embedding, embedding),
            ("attn_v", embedding, embedding),
            ("attn_out", embedding, embedding),
            ("ffn_up", embedding, feed_forward),
            ("ffn_down", feed_forward, embedding),
            ("ln1", embedding, 0),
            ("ln2", embedding, 0),
        ] {
            let (kind, shape, bias) =
                if columns == 0 { (0, vec![rows], rows) } else { (1, vec![rows, columns], columns) };
            add(&format!("v.blk.{layer}.{name}.weight"), kind, &shape);
            add(&format!("v.blk.{layer}.{name}.bias"), 0, &[bias]);
        }
    }
    file
}
