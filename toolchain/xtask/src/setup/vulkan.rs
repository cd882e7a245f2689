//! What llama.cpp's Vulkan backend is compiled with, and a driver to run it: Mesa's computes on a processor where there is
//! no GPU.
//!
//! They are the machine's own where those are new enough. On an older Debian they are a newer Debian's packages, unpacked
//! into the cache. Mesa wants a newer C library than the machine's, so programs that use it are started with the one that
//! came along; no root, no chroot.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::debian;
use super::sources::{debian_mirror, debian_release};
use super::{Part, Way, native};
use crate::process;
use crate::repository::cache;

/// Debian's and Ubuntu's packages.
const PACKAGES: [&str; 4] = ["libvulkan-dev", "glslc", "spirv-headers", "mesa-vulkan-drivers"];

/// The first Debian whose packages are new enough: the headers, and a Mesa that computes on a processor without crashing.
const FIRST_RELEASE: u32 = 13;

/// The ways to obtain them.
pub(super) const WAYS: [Way; 2] = [
    Way { name: "apt-get install", obtain: |_| install() },
    Way { name: "a newer Debian's packages", obtain: |_| unpack() },
];

pub(super) const ADVICE: &str = "install the Vulkan SDK and set VULKAN_SDK, or, on Debian from 13 on, run `apt-get \
     install libvulkan-dev glslc spirv-headers mesa-vulkan-drivers` as root; an older Debian needs a mirror that has its \
     newer suites";

/// Where headers lie, and what llama.cpp needs of them; those of Debian 12 have it not.
const HEADERS: &str = "include/vulkan/vulkan_core.h";
const NEEDED: &str = "VkLayerSettingEXT";

/// Where CMake finds the headers of shaders, below a prefix.
const SPIRV: [&str; 3] =
    ["share/cmake/SPIRV-Headers", "lib/cmake/SPIRV-Headers", "lib/x86_64-linux-gnu/cmake/SPIRV-Headers"];

/// Where drivers are listed.
const DRIVERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// The library through which programs find drivers.
const LOADER: &str = "libvulkan.so.1";

/// The last file that [`unpack`] writes.
const COMPLETE: &str = "complete";

/// A newer Debian's packages in the cache.
struct Unpacked {
    /// The folder that holds them as the root of a system.
    root: PathBuf,
    /// Starts programs with the C library that came along.
    loader: PathBuf,
    /// Where their libraries lie.
    libraries: PathBuf,
}

impl Unpacked {
    /// Those that were completed.
    fn find() -> Option<Self> {
        let home = home().ok()?;
        home.join(COMPLETE).is_file().then(|| Self::new(&home).ok())?
    }

    fn new(home: &Path) -> Result<Self> {
        let root = home.join("root");
        let loader = root.join(debian::find(&root, &["usr/lib64", "lib64", "usr/lib"], "ld-linux")?);
        let libraries = debian::folders(&root, "usr/lib", |name| name.contains("-linux-gnu"))?;
        let libraries = root.join(libraries.first().context("the packages hold no libraries")?);
        Ok(Self { root, loader, libraries })
    }

    /// What `VULKAN_SDK` names.
    fn kit(&self) -> PathBuf {
        self.root.join("usr")
    }

    /// Mesa's driver for processors, as the Vulkan loader reads it.
    fn driver(&self) -> PathBuf {
        self.root.join("lavapipe.json")
    }
}

fn home() -> Result<PathBuf> {
    Ok(cache()?.join("debian-vulkan"))
}

/// Makes cargo compile with what was found, and start what it compiled so that the driver can be loaded.
pub(crate) fn apply(cargo: &mut Command) {
    let Some(unpacked) = instead(&own()) else { return };
    let runner = [unpacked.loader.as_path(), Path::new("--library-path"), unpacked.libraries.as_path()];
    cargo.arg("--config").arg(format!("target.'cfg(unix)'.runner = {:?}", runner.map(Path::to_string_lossy)));
    cargo.env("VULKAN_SDK", unpacked.kit()).env("VK_DRIVER_FILES", unpacked.driver());
}

/// The parts, looked up now.
pub(super) fn parts() -> Vec<Part> {
    let own = own();
    match instead(&own) {
        Some(unpacked) => look(&[unpacked.kit()], Some(unpacked.driver()).filter(|path| path.is_file())),
        None => own,
    }
}

/// What is used instead of the machine's own, if that does not do.
fn instead(own: &[Part]) -> Option<Unpacked> {
    Unpacked::find().filter(|_| own.iter().any(|part| part.state.is_err()))
}

/// The machine's own.
fn own() -> Vec<Part> {
    let kit = env::var_os("VULKAN_SDK").map(PathBuf::from);
    let prefixes: Vec<_> = kit.into_iter().chain(["/usr".into(), "/usr/local".into()]).collect();
    look(&prefixes, DRIVERS.iter().find_map(|folder| driver(Path::new(folder))))
}

fn look(prefixes: &[PathBuf], driver: Option<PathBuf>) -> Vec<Part> {
    vec![
        Part { name: "glslc", state: found(glslc(prefixes)) },
        Part { name: "Vulkan headers", state: headers(prefixes) },
        Part { name: "SPIRV headers", state: found(spirv(prefixes)) },
        Part { name: "Vulkan driver", state: found(driver) },
    ]
}

fn found(path: Option<PathBuf>) -> Result<String, String> {
    path.map(|path| path.display().to_string()).ok_or_else(|| ADVICE.to_owned())
}

/// CMake looks into the kit before it looks at the search path.
fn glslc(prefixes: &[PathBuf]) -> Option<PathBuf> {
    let inside = prefixes.iter().map(|prefix| prefix.join("bin/glslc")).find(|path| path.is_file());
    inside.or_else(|| process::find_program("glslc"))
}

fn spirv(prefixes: &[PathBuf]) -> Option<PathBuf> {
    prefixes.iter().flat_map(|prefix| SPIRV.map(|folder| prefix.join(folder))).find(|path| path.is_dir())
}

fn headers(prefixes: &[PathBuf]) -> Result<String, String> {
    let there: Vec<_> = prefixes.iter().map(|prefix| prefix.join(HEADERS)).filter(|path| path.is_file()).collect();
    let is_new = |path: &&PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(NEEDED));
    match (there.iter().find(is_new), there.first()) {
        (Some(path), _) => Ok(path.display().to_string()),
        (None, Some(path)) => Err(format!("{} is too old for llama.cpp; {ADVICE}", path.display())),
        (None, None) => Err(ADVICE.to_owned()),
    }
}

fn driver(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "json"))
}

/// Installs the machine's own packages where they are new enough.
fn install() -> Result<()> {
    match debian_release() {
        Some(release) if release < FIRST_RELEASE => bail!("the packages of Debian {release} are too old"),
        Some(_) | None => native::apt_install(&PACKAGES),
    }
}

/// Unpacks a newer Debian's packages and makes them usable from where they lie. What was not finished is begun anew.
fn unpack() -> Result<()> {
    let mirror = debian_mirror().context("this machine's apt configuration names no Debian mirror")?;
    let home = home()?;
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home)?;
    // The machine's own compiler of shaders knows fewer extensions and is none the worse for it: it compiles fewer shaders.
    let has_glslc = process::find_program("glslc").is_some();
    let packages: Vec<_> = PACKAGES.into_iter().filter(|name| *name != "glslc" || !has_glslc).collect();
    debian::unpack(&home, &mirror, &packages, None)?;
    let unpacked = Unpacked::new(&home)?;
    if !has_glslc {
        wrap_glslc(&unpacked)?;
    }
    write_stub(&home, &unpacked)?;
    write_driver(&unpacked)?;
    fs::write(home.join(COMPLETE), "")?;
    Ok(())
}

/// Puts a script where CMake looks for the compiler of shaders, which starts it with its own C library.
fn wrap_glslc(unpacked: &Unpacked) -> Result<()> {
    let (program, moved) = (unpacked.kit().join("bin/glslc"), unpacked.kit().join("lib/glslc"));
    fs::rename(&program, &moved).context("the packages hold no glslc")?;
    let inside = |path: &Path| path.strip_prefix(&unpacked.root).map(|path| format!("\"$root/{}\"", path.display()));
    let (loader, libraries) = (inside(&unpacked.loader)?, inside(&unpacked.libraries)?);
    debian::write_script(&program, "../..", &format!("{loader} --library-path {libraries} {}", inside(&moved)?))
}

/// Makes a library to link with. The real one wants a C library that the machine's linker does not have; which names it
/// has is all that the linker needs.
fn write_stub(home: &Path, unpacked: &Unpacked) -> Result<()> {
    let library = unpacked.libraries.join(LOADER);
    let names = process::read(Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(library))?;
    let names = names.lines().filter_map(|line| line.split([' ', '@']).next()).filter(|name| name.starts_with("vk"));
    let source = home.join("stub.c");
    fs::write(&source, names.map(|name| format!("void {name}(void) {{}}\n")).collect::<String>())?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-nostdlib", "-fPIC"]).arg(format!("-Wl,-soname,{LOADER}"));
    process::read(compiler.arg("-o").arg(unpacked.kit().join("lib/libvulkan.so")).arg(source))?;
    Ok(())
}

/// Says where the driver lies now, and checks that nothing that it needs is missing.
fn write_driver(unpacked: &Unpacked) -> Result<()> {
    let listed = debian::find(&unpacked.root, &["usr/share/vulkan/icd.d"], "lvp_icd")?;
    let mut driver: Value = serde_json::from_str(&fs::read_to_string(unpacked.root.join(listed))?)?;
    let place = driver.pointer_mut("/ICD/library_path").context("the driver's list names no library")?;
    let name = place.as_str().and_then(|path| Path::new(path).file_name()).context("the driver has no name")?;
    let library = unpacked.libraries.join(name);
    *place = Value::String(library.display().to_string());
    fs::write(unpacked.driver(), serde_json::to_vec(&driver)?)?;
    let mut loader = Command::new(&unpacked.loader);
    loader.arg("--library-path").arg(&unpacked.libraries).arg("--list").arg(library);
    let needed = process::read(&mut loader).context("Mesa's driver does not load here")?;
    let missing: Vec<_> = needed.lines().filter(|line| line.contains("not found")).map(str::trim).collect();
    ensure!(missing.is_empty(), "Mesa's driver lacks libraries: {}", missing.join(", "));
    Ok(())
}
