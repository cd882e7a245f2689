//! The gateway's demo configuration: where it listens, and a copy of it for another port
//! and with the chat page.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::repository::Repository;

/// The committed configuration.
const DEMO: &str = "gateway-host/config/demo.toml";

/// What `serve` must know of a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// The file that the gateway reads.
    pub(super) file: PathBuf,
    /// Where requests are answered.
    pub(super) public: SocketAddr,
    /// Where readiness is asked for: the management address, if there is one.
    pub(super) readiness: SocketAddr,
    /// The route of readiness.
    pub(super) readiness_path: String,
    /// Path of the chat page, if it is served.
    pub(super) chat: Option<String>,
}

impl Config {
    /// The demo configuration; with a port or the chat page, a copy under the target folder.
    ///
    /// The page is not in the committed file, with which the gateway starts whether or not the browser's package is built.
    ///
    /// # Errors
    /// When it cannot be read, or names no address.
    pub(super) fn load(repository: &Repository, port: Option<u16>, chat: bool) -> Result<Self> {
        let demo = repository.root().join(DEMO);
        let text = fs::read_to_string(&demo).with_context(|| format!("{DEMO} cannot be read"))?;
        let mut table: Table = text.parse().with_context(|| format!("{DEMO} is not TOML"))?;
        if port.is_none() && !chat {
            return Self::from_table(demo, &table);
        }
        if let Some(port) = port {
            move_to(&mut table, port)?;
        }
        if chat {
            table.insert("chat".to_owned(), Value::Table(page(repository)));
        }
        keep_models(&mut table, demo.parent().unwrap_or(repository.root()), repository.root());
        let copy = repository.target().join("serve/demo.toml");
        fs::create_dir_all(copy.parent().unwrap_or(repository.root()))?;
        fs::write(&copy, toml::to_string(&table)?)?;
        Self::from_table(copy, &table)
    }

    /// Every address that the gateway listens on.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = vec![self.public, self.readiness];
        addresses.dedup();
        addresses
    }

    fn from_table(file: PathBuf, table: &Table) -> Result<Self> {
        let public = address(table, "public_bind")?.with_context(|| format!("{DEMO} has no `public_bind`"))?;
        let readiness = address(table, "management_bind")?.unwrap_or(public);
        let path = table.get("routes").and_then(|routes| routes.get("readiness")).and_then(Value::as_str);
        let chat = table.get("chat").and_then(|chat| chat.get("path")).and_then(Value::as_str).map(str::to_owned);
        Ok(Self { file, public, readiness, readiness_path: path.unwrap_or("/readyz").to_owned(), chat })
    }
}

/// The chat page with the demo model. The paths are absolute: the copy lies in another folder.
fn page(repository: &Repository) -> Table {
    let text = |path: PathBuf| Value::String(path.display().to_string());
    Table::from_iter([
        ("path".to_owned(), Value::String("/chat".to_owned())),
        ("assets".to_owned(), text(repository.browser().join("dist"))),
        ("models".to_owned(), Value::Array(vec![text(repository.demo_model())])),
    ])
}

fn address(table: &Table, key: &str) -> Result<Option<SocketAddr>> {
    let value = table.get(key).and_then(Value::as_str);
    value.map(|value| value.parse().with_context(|| format!("{DEMO}: `{key}` is no address"))).transpose()
}

/// Changes the public port, and the management port to the next one.
fn move_to(table: &mut Table, port: u16) -> Result<()> {
    for (key, port) in [("public_bind", Some(port)), ("management_bind", port.checked_add(1))] {
        if let Some(mut address) = address(table, key)? {
            address.set_port(port.context("there is no port after 65535 for `management_bind`")?);
            table.insert(key.to_owned(), Value::String(address.to_string()));
        }
    }
    Ok(())
}

/// Makes the models' paths absolute: the copy lies in another folder.
fn keep_models(table: &mut Table, beside: &Path, root: &Path) {
    let targets = table.get_mut("targets").and_then(Value::as_array_mut);
    for model in targets.into_iter().flatten().filter_map(|target| target.get_mut("model")) {
        let Some(path) = model.as_str() else { continue };
        if let Some(absolute) = [beside, root].iter().find_map(|folder| folder.join(path).canonicalize().ok()) {
            *model = Value::String(absolute.display().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn readiness_is_asked_where_it_is_answered() {
        let one = Config::from_table("a".into(), &table("public_bind = '127.0.0.1:80'")).unwrap();
        assert_eq!((one.readiness, one.readiness_path.as_str()), (one.public, "/readyz"));
        assert_eq!(one.addresses().len(), 1);
        let text = "public_bind = '127.0.0.1:80'\nmanagement_bind = '127.0.0.1:90'\n[routes]\nreadiness = '/up'";
        let two = Config::from_table("a".into(), &table(text)).unwrap();
        assert_eq!((two.readiness.port(), two.readiness_path.as_str()), (90, "/up"));
        assert_eq!(two.addresses().len(), 2);
    }

    #[test]
    fn the_page_is_announced_where_it_is_served() {
        let mut one = table("public_bind = '127.0.0.1:80'");
        assert_eq!(Config::from_table("a".into(), &one).unwrap().chat, None);
        one.insert("chat".to_owned(), Value::Table(page(&Repository::here().unwrap())));
        assert_eq!(Config::from_table("a".into(), &one).unwrap().chat.as_deref(), Some("/chat"));
    }

    #[test]
    fn a_configuration_without_an_address_is_refused() {
        assert!(Config::from_table("a".into(), &Table::new()).is_err());
        let error = Config::from_table("a".into(), &table("public_bind = 'here'")).unwrap_err();
        assert!(error.to_string().contains("`public_bind` is no address"), "{error}");
    }

    #[test]
    fn another_port_moves_both_addresses() {
        let mut both = table("public_bind = '127.0.0.1:80'\nmanagement_bind = '127.0.0.1:90'");
        move_to(&mut both, 7000).unwrap();
        assert_eq!(both, table("public_bind = '127.0.0.1:7000'\nmanagement_bind = '127.0.0.1:7001'"));
        assert!(move_to(&mut both, u16::MAX).is_err());
        let mut one = table("public_bind = '127.0.0.1:80'");
        move_to(&mut one, u16::MAX).unwrap();
        assert_eq!(one, table("public_bind = '127.0.0.1:65535'"));
    }

    #[test]
    fn the_copy_finds_the_model() {
        let root = Repository::here().unwrap();
        let mut targets = table("[[targets]]\nmodel = 'Cargo.toml'\n[[targets]]\nmodel = 'gpt'");
        keep_models(&mut targets, Path::new("nowhere"), root.root());
        let expected = root.root().join("Cargo.toml").display().to_string();
        assert_eq!(targets["targets"][0]["model"].as_str(), Some(expected.as_str()));
        assert_eq!(targets["targets"][1]["model"].as_str(), Some("gpt"));
    }
}
