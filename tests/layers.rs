//! The layer rule and the other rules for the text of this crate, and a test of these rules with
//! violations planted for them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]
#![allow(unreachable_pub, missing_debug_implementations, clippy::must_use_candidate)]

#[path = "layers/planted.rs"]
mod planted;
#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/tokens.rs"]
mod tokens;

use planted::{Case, ROOT};
use std::fs;
use std::path::{Path, PathBuf};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The files below a folder, as paths from the root of the repository. Recordings are not written
/// by hand: they have the length they have.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(HERE).join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        let (below, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(|path| path.is_dir());
        folders.extend(below);
        let recording =
            |path: &PathBuf| path.extension().is_some_and(|x| x == "maps" || x == "core");
        let files = files.into_iter().filter(|path| !recording(path));
        found.extend(files.map(|path| {
            let path = path.strip_prefix(HERE).unwrap();
            let names: Vec<_> = path.iter().map(|name| name.to_str().unwrap()).collect();
            names.join("/")
        }));
    }
    found.sort();
    found
}

#[test]
fn this_crate_keeps_the_rules() {
    let root = fs::read_to_string(Path::new(HERE).join("src/lib.rs")).unwrap();
    let mut violations = Vec::new();
    for file in ["src", "arch", "tests", "examples"].into_iter().flat_map(files) {
        let text = fs::read(Path::new(HERE).join(&file)).unwrap();
        let text = String::from_utf8_lossy(&text);
        violations.extend(rules::check(&file, &text, &root).iter().map(ToString::to_string));
    }
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// A check that reads nothing finds nothing.
#[test]
fn the_rules_are_asked_of_the_real_files() {
    let files = [files("src"), files("arch")].concat();
    for file in
        ["src/lib.rs", "src/map/mod.rs", "src/table/mod.rs", "arch/mod.rs", "arch/x86/cpu.rs"]
    {
        assert!(files.iter().any(|found| found == file), "{file} is not checked");
    }
    let root = fs::read_to_string(Path::new(HERE).join("src/lib.rs")).unwrap();
    let text = fs::read_to_string(Path::new(HERE).join("src/map/tree.rs")).unwrap();
    let found = rules::check("src/addr/mod.rs", &text, &root);
    assert!(!found.is_empty(), "map's code would do as addr's");
}

/// A file of tests that no other one names is never run, and nobody is told.
#[test]
fn each_file_of_the_suite_is_run() {
    let main = fs::read_to_string(Path::new(HERE).join("tests/suite/main.rs")).unwrap();
    let files = files("tests/suite");
    let modules = files.iter().filter_map(|file| {
        file.strip_prefix("tests/suite/")?.strip_suffix(".rs").filter(|name| !name.contains('/'))
    });
    let forgotten = |name: &&str| *name != "main" && !main.contains(&format!("\nmod {name};\n"));
    assert_eq!(modules.filter(forgotten).collect::<Vec<_>>(), [""; 0]);
    assert!(main.contains("\nmod levels;\n") && files.len() > 20);
}

fn judge((file, text, expected): &Case) -> Result<(), String> {
    let found = rules::check(file, text, ROOT);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let right = match (expected, &found[..]) {
        (None, []) => true,
        (Some(expected), [first, ..]) => first.starts_with(&format!("{file}:{expected}")),
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("{text}\n  expected {expected:?}, found {found:?}")) }
}

fn judge_all(cases: &[Case]) {
    let wrong: Vec<_> = cases.iter().filter_map(|case| judge(case).err()).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn planted_imports_are_found() {
    judge_all(planted::ROOMS);
}

#[test]
fn hidden_imports_are_found() {
    judge_all(planted::HIDDEN);
}

#[test]
fn planted_words_are_found() {
    judge_all(planted::WORDS);
}

#[test]
fn planted_lengths_are_found() {
    let file = |lines: usize| "// a line\n".repeat(lines);
    let body = |lines: usize| {
        format!("fn f() -> A<fn() -> u8, {{ 1 }}> {{\n{}}}\n", "g();\n".repeat(lines - 2))
    };
    let nested = |lines| {
        format!("impl A {{\n#[a]\npub {}}}\nmod m {{ m! {{ {} }} }}", body(lines), body(40))
    };
    let cases = [
        ("src/map/x.rs", file(399), None),
        ("src/map/x.rs", file(400), Some("400: a file has under 400 lines")),
        ("examples/x.rs", file(400), Some("400: a file has under 400 lines")),
        ("tests/x.ld", file(400), Some("400: a file has under 400 lines")),
        ("arch/x86/x.rs", body(40), None),
        ("arch/x86/x.rs", body(41), Some("1: a function has at most forty lines, and this one 41")),
        ("src/map/x.rs", nested(40), None),
        ("src/map/x.rs", nested(41), Some("3: a function has at most forty lines")),
        ("src/map/x.rs", format!("trait A {{ fn f(a: fn(u8)); }}\nmod m {{\n{}}}", file(50)), None),
        ("tests/x.rs", body(41), None),
    ];
    for (file, text, expected) in cases {
        let text: &'static str = text.leak();
        judge(&(file, text, expected)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}
