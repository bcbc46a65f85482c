//! The example that moves the tables of cores: what it says of real ones, what it says when the
//! protocol is broken on purpose, and files that are no cores.
//!
//! The two larger cores are for a release build: `cargo run --release --example relocate`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

#[allow(dead_code)]
#[path = "../examples/support/raw.rs"]
mod raw;

use raw::{Raw, four, made, page};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `cargo test` builds the examples next to the tests; `cargo test --test relocate_cores` takes the
/// one that is there.
fn relocate(arguments: &[&str], file: &Path) -> Output {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().with_file_name("examples").join("relocate");
    assert!(example.exists(), "`cargo build --examples` makes {}", example.display());
    Command::new(example).args(arguments).arg(file).output().unwrap()
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cores/{name}.core"))
}

/// A file of this content, of which there is one for each name.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("relocate-{name}"));
    fs::write(&path, content).unwrap();
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The numbers that stand before or after these words.
fn numbers(printed: &str, words: &str, at: fn(&str, &str) -> Option<u64>) -> Vec<u64> {
    printed.lines().filter_map(|line| at(line, words)).collect()
}

fn after(line: &str, words: &str) -> Option<u64> {
    let rest = line.split(words).nth(1)?;
    rest.split(|byte: char| !byte.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

fn before(line: &str, words: &str) -> Option<u64> {
    let (rest, _) = line.split_once(words)?;
    rest.split_whitespace().next_back()?.parse().ok()
}

/// How many tables of each height the CPUs of a core have together, read by hand.
fn tables_of(raw: &Raw) -> BTreeMap<usize, u64> {
    let mut tables = BTreeMap::new();
    for cpu in &raw.cpus {
        tables.extend(raw.tables(cpu).into_keys().map(|(height, table)| (table, height)));
    }
    let mut counts = BTreeMap::new();
    tables.into_values().for_each(|height| *counts.entry(height).or_default() += 1);
    counts
}

#[track_caller]
fn moves_everything(name: &str) {
    let svg = file(&format!("{name}.svg"), b"");
    let output = relocate(&["--svg", svg.to_str().unwrap()], &bundled(name));
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    let raw = Raw::parse(fs::read(bundled(name)).unwrap());
    let tables = tables_of(&raw);
    for (&height, &count) in &tables {
        let top = height + 1 == raw.cpus[0].levels.len();
        let alias = if top { "PGD" } else { ["PTE", "PMD", "PUD", "P4D"][height] };
        assert_eq!(numbers(&printed, &format!("  {alias} "), after), [count], "{printed}");
    }
    let accesses = numbers(&printed, " accesses during", before);
    assert_eq!(accesses.len(), raw.cpus.len());
    assert!(accesses.iter().all(|&accesses| accesses >= 1000), "{printed}");
    for zero in ["different:", "lost:", "left on node 0:", "leaked:"] {
        assert_eq!(numbers(&printed, zero, after), [0], "{printed}");
    }
    for some in ["compared:", "written:", "shootdowns:"] {
        assert!(numbers(&printed, some, after)[0] > 0, "{printed}");
    }
    assert!(printed.ends_with("  sound\n"), "{printed}");
    drawn(&fs::read_to_string(svg).unwrap(), tables.values().sum());
}

/// Each table is drawn twice, and on another node the second time.
#[track_caller]
fn drawn(svg: &str, tables: u64) {
    let (before, after) = svg.split_once(", after</text>").unwrap();
    for (picture, node, other) in [(before, "node 0<", "node 1<"), (after, "node 1<", "node 0<")] {
        assert_eq!(picture.matches(&format!(", {node}")).count() as u64, tables);
        assert_eq!(picture.matches(&format!(", {other}")).count(), 0);
    }
}

#[test]
fn moves_all_tables_of_x86_32() {
    moves_everything("linux-686");
}

#[test]
fn moves_all_tables_of_x86_pae() {
    moves_everything("linux-686-pae");
}

#[test]
fn finds_out_every_sabotage() {
    for sabotage in ["acknowledge", "early-free", "no-merge", "no-mirror"] {
        for name in ["linux-686", "linux-686-pae"] {
            let output = relocate(&["--sabotage", sabotage], &bundled(name));
            let printed = text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{sabotage}: {printed}");
            assert!(printed.ends_with("  NOT SOUND\n"), "{sabotage}: {printed}");
        }
    }
}

#[track_caller]
fn refused(name: &str, content: &[u8], says: &str) {
    let path = file(name, content);
    let output = relocate(&[], &path);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}: {error}");
    assert_eq!(error.lines().count(), 1, "{name}: {error}");
    assert!(error.starts_with(&format!("relocate: {}: ", path.display())), "{name}: {error}");
    assert!(error.contains(says), "{name}: {error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn refuses_bad_files_on_one_line() {
    let whole = fs::read(bundled("linux-amd64")).unwrap();
    refused("empty", b"", "file header at offset 0x0");
    refused("short", &whole[..whole.len() / 2], "is cut short");
    let outside = [&four()[..3], &[(0x4000, vec![0; 8])]].concat();
    refused("outside", &made(0x1000, &outside), "0x4000 cannot be reached");
    let nothing = [&four()[..3], &[(0x4000, page(|_| 0))]].concat();
    refused("nothing", &made(0x1000, &nothing), "map nothing");
    let own = [(0x1000, page(|index| if index == 3 { 0x1003 } else { 0x9003 * (index & 1) }))];
    let pages = [&own[..], &[(0x9000, page(|_| 0))]].concat();
    refused("self", &made(0x1000, &pages), "names 0x1000 above it");
    let used =
        [&[(0x1000, page(|index| if index == 0 { 0x2603 } else { 0 }))], &four()[1..]].concat();
    refused("bits", &made(0x1000, &used), "software bits");
    refused("root", &made(0, &four()), "0x0 cannot be the root");
}

#[test]
fn refuses_what_cannot_be_written() {
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-folder/out.svg");
    let output = relocate(&["--svg", nowhere.to_str().unwrap()], &bundled("linux-686"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

/// A tree of four tables is enough for a thousand accesses.
#[test]
fn moves_a_small_tree() {
    let output = relocate(&[], &file("four", &made(0x1000, &four())));
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(numbers(&printed, " accesses during", before)[0] >= 1000);
}
