//! Compiles the C++ bridge against the headers of the llama.cpp that `llama-cpp-sys-2` built.
//!
//! That crate exports no include path. It does export where it installed ggml, which is beside the CMake cache of its
//! build, and that names the source folder: the very one that was built, wherever it came from.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 5] =
    ["bridge/conversation.cpp", "bridge/device.cpp", "bridge/guard.cpp", "bridge/template.cpp", "bridge/vision.cpp"];
const INCLUDES: [&str; 6] = ["common", "include", "ggml/include", "src", "tools/mtmd", "vendor"];

/// For browsers: products of matrices, which need ggml's own headers.
const WASM_SOURCES: [&str; 1] = ["bridge/wasm/matmul.cpp"];
const WASM_INCLUDES: [&str; 2] = ["ggml/src", "ggml/src/ggml-cpu"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=bridge");
    println!("cargo::rerun-if-changed=build.rs");
    let llama = llama_source()?;
    if !llama.join("common/chat.h").is_file() {
        return Err(
            format!("{} has no common/chat.h; is this the llama.cpp of llama-cpp-sys-2?", llama.display()).into()
        );
    }
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").files(SOURCES).include("bridge");
    let mut includes = INCLUDES.to_vec();
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("emscripten") {
        build.files(WASM_SOURCES).flag("-msimd128");
        includes.extend(WASM_INCLUDES);
    }
    // As system headers, so that warnings are about our own code.
    let system = !build.get_compiler().is_like_msvc();
    for folder in includes.into_iter().map(|folder| llama.join(folder)) {
        if system {
            build.flag("-isystem").flag(folder);
        } else {
            build.include(folder);
        }
    }
    build.compile("sipp_bridge");
    Ok(())
}

/// The folder of llama.cpp's source, from the CMake cache of the sys crate's build.
fn llama_source() -> Result<PathBuf, Box<dyn Error>> {
    let installed = env::var("DEP_LLAMA_GGML_CMAKE_DIR")
        .map_err(|_| "llama-cpp-sys-2 does not say where it installed ggml; this build script needs version 0.1.161")?;
    let cache = Path::new(&installed).join("../../build/CMakeCache.txt");
    let text = fs::read_to_string(&cache).map_err(|e| format!("cannot read {}: {e}", cache.display()))?;
    let source = text.lines().find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="));
    source.map(PathBuf::from).ok_or_else(|| format!("{} names no source folder", cache.display()).into())
}
