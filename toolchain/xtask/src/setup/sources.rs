//! Reads apt's configuration: where this machine gets Debian from.
//!
//! The packages of another suite come from the same mirror, so no host name stands in the tree and a company's own
//! mirror is used where there is one. Both formats are read: one line per source, and deb822 paragraphs
//! (`man sources.list`).

use std::fs;
use std::path::Path;

/// Suites that are not named after a release.
const ALIASES: [&str; 5] = ["stable", "oldstable", "testing", "unstable", "sid"];

/// A place that has Debian's packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Its address.
    pub(crate) uri: String,
    /// The keys that its index must be signed with; without it, apt's own.
    pub(crate) signed_by: Option<String>,
}

/// The mirror that this machine's release comes from.
pub(crate) fn debian_mirror() -> Option<Mirror> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    if os_release_value(&release, "ID")? != "debian" {
        return None;
    }
    let codename = os_release_value(&release, "VERSION_CODENAME").unwrap_or_default();
    source_files().iter().filter_map(|file| Some((file, fs::read_to_string(file).ok()?))).find_map(|(file, text)| {
        if file.ends_with(".sources") { from_paragraphs(&text, codename) } else { from_lines(&text, codename) }
    })
}

/// The number of this machine's Debian; none for another system, and for a Debian that is no release yet.
pub(crate) fn debian_release() -> Option<u32> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    (os_release_value(&release, "ID")? == "debian").then(|| os_release_value(&release, "VERSION_ID")?.parse().ok())?
}

fn source_files() -> Vec<String> {
    let mut files = vec!["/etc/apt/sources.list".to_owned()];
    let folder = Path::new("/etc/apt/sources.list.d").read_dir();
    let named = folder.into_iter().flatten().flatten().map(|entry| entry.path().display().to_string());
    let mut named: Vec<_> = named.filter(|name| name.ends_with(".list") || name.ends_with(".sources")).collect();
    named.sort();
    files.extend(named);
    files
}

fn os_release_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim_matches('"'))
}

/// Whether a source is the main archive: it has a whole release, not its updates, and the component `main`.
fn is_main_archive<'a>(
    mut suites: impl Iterator<Item = &'a str>,
    mut components: impl Iterator<Item = &'a str>,
    codename: &str,
) -> bool {
    suites.any(|suite| suite == codename || ALIASES.contains(&suite)) && components.any(|name| name == "main")
}

fn from_lines(text: &str, codename: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let source = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
        let (options, source) = match source.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", source),
        };
        let mut words = source.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        if !is_main_archive([suite].into_iter(), words, codename) {
            return None;
        }
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        Some(Mirror { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) })
    })
}

fn from_paragraphs(text: &str, codename: &str) -> Option<Mirror> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|paragraph| {
        let field = |name: &str| {
            paragraph.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let enabled = field("Enabled").is_none_or(|value| !["no", "false"].contains(&value));
        let binary = field("Types")?.split_whitespace().any(|kind| kind == "deb");
        let (suites, components) = (field("Suites")?.split_whitespace(), field("Components")?.split_whitespace());
        if !enabled || !binary || !is_main_archive(suites, components, codename) {
            return None;
        }
        // A key may also stand in the paragraph itself, on lines of its own; then apt's own keys are asked.
        let signed_by = field("Signed-By").filter(|value| value.starts_with('/'));
        Some(Mirror {
            uri: field("URIs")?.split_whitespace().next()?.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, signed_by: Option<&str>) -> Option<Mirror> {
        Some(Mirror { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) })
    }

    #[test]
    fn reads_lines() {
        let text = "# deb http://commented.test/debian bookworm main\n\
            deb-src http://source.test/debian bookworm main\n\
            deb http://security.test/debian-security bookworm-security main\n\
            deb [arch=amd64 signed-by=/keys/d.gpg] http://mirror.test/debian bookworm main contrib # ours\n";
        assert_eq!(from_lines(text, "bookworm"), mirror("http://mirror.test/debian", Some("/keys/d.gpg")));
        assert_eq!(
            from_lines("deb http://mirror.test/debian stable main", "x"),
            mirror("http://mirror.test/debian", None)
        );
        assert_eq!(from_lines("deb http://tools.test cloud-bookworm main", "bookworm"), None);
        assert_eq!(from_lines("deb http://mirror.test/debian bookworm contrib", "bookworm"), None);
        assert_eq!(from_lines("deb [arch=amd64 http://broken.test bookworm main", "bookworm"), None);
    }

    #[test]
    fn reads_paragraphs() {
        let text = "Types: deb\nURIs: http://off.test/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
            Types: deb-src\nURIs: http://source.test/debian\nSuites: bookworm\nComponents: main\n\n\
            # the archive\nTypes: deb deb-src\nURIs: http://mirror.test/debian http://second.test\n\
            Suites: bookworm bookworm-updates\nComponents: main non-free\nSigned-By: /keys/d.gpg\n";
        assert_eq!(from_paragraphs(text, "bookworm"), mirror("http://mirror.test/debian", Some("/keys/d.gpg")));
        let security = "Types: deb\nURIs: http://s.test\nSuites: bookworm-security\nComponents: main\n";
        assert_eq!(from_paragraphs(security, "bookworm"), None);
        let inline = "Types: deb\nURIs: http://m.test\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n";
        assert_eq!(from_paragraphs(inline, "bookworm"), mirror("http://m.test", None));
    }

    #[test]
    fn reads_the_release() {
        let text = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(os_release_value(text, "ID"), Some("debian"));
        assert_eq!(os_release_value(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(os_release_value(text, "BUILD_ID"), None);
    }
}
