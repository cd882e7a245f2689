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

pub(super) const ADVICE: &str = "install the Vulkan SDK and set VULKAN_SDK, or, on Debian from 13 on, run `apt-get \
     install libvulkan-dev glslc spirv-headers mesa-vulkan-drivers` as root; Debian 12's headers are too old";

/// Where headers lie, and what llama.cpp needs of them; those of Debian 12 have it not.
const HEADERS: &str = "include/vulkan/vulkan_core.h";
const NEEDED: &str = "VkLayerSettingEXT";

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
        Part { name: "Vulkan headers", state: headers() },
        Part { name: "SPIRV headers", state: found(spirv().find(|path| path.is_dir())) },
        Part { name: "Vulkan driver", state: found(DRIVERS.iter().find_map(|folder| driver(Path::new(folder)))) },
    ]
}

fn headers() -> Result<String, String> {
    let there: Vec<_> =
        prefixes().into_iter().map(|prefix| prefix.join(HEADERS)).filter(|path| path.is_file()).collect();
    let is_new = |path: &&PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(NEEDED));
    match (there.iter().find(is_new), there.first()) {
        (Some(path), _) => Ok(path.display().to_string()),
        (None, Some(path)) => Err(format!(
            "{} is too old for llama.cpp; install the Vulkan SDK and set VULKAN_SDK, or take the headers of Debian 13",
            path.display()
        )),
        (None, None) => Err(ADVICE.to_owned()),
    }
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
