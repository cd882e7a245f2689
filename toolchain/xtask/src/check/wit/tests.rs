//! Bad contracts, and what is said about each.

use wit_parser::SourceMap;

use super::*;

fn findings(sources: &[&str]) -> Vec<String> {
    let groups = sources.iter().enumerate().map(|(number, source)| {
        let mut map = SourceMap::default();
        map.push_str(&format!("{number}.wit"), *source);
        map.parse().map_err(|(_, error)| error).unwrap()
    });
    judge(groups.collect()).unwrap()
}

const GOOD: &str = "package a:b@0.1.0;
/// Words.
interface types {
  /// A record.
  record request {
    /// Its text.
    text: string,
    /// Its count.
    count: option<u32>,
  }
}
";

const USER: &str = "package a:c@0.1.0;
/// A verb.
interface verb {
  use a:b/types@0.1.0.{request};
  /// Does it.
  act: async func(request: request) -> stream<u8>;
}
/// A world.
world app {
  /// The verb.
  export verb;
}
";

#[test]
fn good_contracts_have_no_findings() {
    assert_eq!(findings(&[GOOD, USER]), Vec::<String>::new());
}

#[test]
fn packages_are_ordered_by_their_needs() {
    assert_eq!(findings(&[USER, GOOD]), Vec::<String>::new());
}

#[test]
fn every_item_needs_documentation() {
    let bare = "package a:b;
interface i {
  record r { f: e }
  enum e { one }
  variant v { two(r) }
  flags g { three }
  resource s { constructor(v: v, g: g); m: func(); }
}
world w { export i; }
";
    let found = findings(&[bare]).join("\n");
    for item in [
        "interface `i`",
        "record `r`",
        "field `f`",
        "enum `e`",
        "case `one`",
        "variant `v`",
        "case `two`",
        "flags `g`",
        "flag `three`",
        "resource `s`",
        "function `m`",
        "world `w`",
        "import or export of `a:b/i`",
    ] {
        assert!(found.contains(&format!("{item} has no `///`")), "{item} in:\n{found}");
    }
}

#[test]
fn findings_say_where() {
    let found = findings(&[&GOOD.replace("    /// Its text.\n", ""), USER]);
    assert_eq!(found, ["0.wit:6:5: field `text` has no `///`"]);
}

#[test]
fn wide_integers_are_found_inside_other_types() {
    let found = findings(&[&GOOD.replace("option<u32>", "option<u64>"), USER]);
    assert!(found.len() == 1 && found[0].contains("`count` is a 64-bit integer"), "{found:?}");
    let found = findings(&[GOOD, &USER.replace("stream<u8>", "list<tuple<s64>>")]);
    assert!(found.len() == 1 && found[0].contains("`act` is a 64-bit integer"), "{found:?}");
}

#[test]
fn names_that_say_nothing_are_found() {
    let found = findings(&[&GOOD.replace("text: string", "text-data: string"), USER]);
    assert!(found.len() == 1 && found[0].contains("field `text-data` ends in `data`"), "{found:?}");
    assert!(findings(&[&GOOD.replace("text: string", "base-url: string"), USER]).is_empty());
    assert!(findings(&[&GOOD.replace("text: string", "dry-base: string"), USER]).is_empty());
}

#[test]
fn leftovers_are_found() {
    let more = GOOD.replace("  /// A record.", "  /// Unused.\n  type spare = u32;\n  /// A record.");
    let found = findings(&[&more, &USER.replace("{request}", "{request, spare}")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("type `spare` is used by no function"), "{found:?}");
    assert!(found[1].contains("`use` of `spare` is used by no function"), "{found:?}");
}

#[test]
fn a_missing_package_is_an_error() {
    let mut map = SourceMap::default();
    map.push_str("1.wit", USER);
    let error = judge(vec![map.parse().map_err(|(_, error)| error).unwrap()]).unwrap_err();
    assert!(error.to_string().contains("do not resolve together"), "{error}");
}
