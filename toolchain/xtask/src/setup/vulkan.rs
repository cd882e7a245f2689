//! What llama.cpp's Vulkan backend is compiled with, and a driver to run it: Mesa's computes on a processor where there is
//! no GPU.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Part, Way, native};
use crate::process;

/// Debian's and Ubuntu's packages.
const PACKAGES: [&str; 4] = ["libvulkan-dev", "glslc", "spirv-headers", "mesa-vulkan-drivers"];

/// The way through apt.
pub(super) const APT: Way = Way { name: "apt-get install", obtain: |_| native::apt_install(&PACKAGES) };

pub(super) const ADVICE: &str = "install the Vulkan SDK and set VULKAN_SDK, or, on Debian and Ubuntu, run `apt-get \
     install libvulkan-dev glslc spirv-headers mesa-vulkan-drivers` as root";

/// Where headers lie.
const HEADERS: &str = "include/vulkan/vulkan.hpp";

/// Where CMake finds the headers of shaders, below a prefix.
const SPIRV: [&str; 3] =
    ["share/cmake/SPIRV-Headers", "lib/cmake/SPIRV-Headers", "lib/x86_64-linux-gnu/cmake/SPIRV-Headers"];

/// Where drivers are listed.
const DRIVERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// The parts, looked up now.
pub(super) fn parts() -> Vec<Part> {
    let found = |path: Option<PathBuf>| path.map(|path| path.display().to_string()).ok_or_else(|| ADVICE.to_owned());
    let spirv = || prefixes().into_iter().flat_map(|prefix| SPIRV.map(|folder| prefix.join(folder)));
    vec![
        Part { name: "glslc", state: found(process::find_program("glslc")) },
        Part {
            name: "Vulkan headers",
            state: found(prefixes().into_iter().map(|prefix| prefix.join(HEADERS)).find(|path| path.is_file())),
        },
        Part { name: "SPIRV headers", state: found(spirv().find(|path| path.is_dir())) },
        Part { name: "Vulkan driver", state: found(DRIVERS.iter().find_map(|folder| driver(Path::new(folder)))) },
    ]
}

fn prefixes() -> Vec<PathBuf> {
    env::var_os("VULKAN_SDK").map(PathBuf::from).into_iter().chain(["/usr".into(), "/usr/local".into()]).collect()
}

fn driver(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "json"))
}
