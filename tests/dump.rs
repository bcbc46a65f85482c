//! The example that prints the page tables of cores: against what an emulator's own walker said of
//! the same machines, and against files that are no cores, or broken ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

#[path = "dump/broken.rs"]
mod broken;
#[path = "dump/made.rs"]
mod made;
#[allow(dead_code)]
#[path = "../examples/support/raw.rs"]
mod raw;

use raw::Raw;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CORES: [&str; 4] = ["linux-686", "linux-686-pae", "linux-amd64", "linux-amd64-la57"];
const PAGE: usize = 0x1000;

/// `cargo test` builds the examples next to the tests; `cargo test --test dump` takes the one that
/// is there.
fn dump() -> Command {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().with_file_name("examples").join("dump");
    assert!(example.exists(), "`cargo build --examples` makes {}", example.display());
    Command::new(example)
}

fn bundled(name: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cores").join(format!("{name}.{kind}"))
}

fn run(arguments: &[&str], file: &Path) -> Output {
    dump().args(arguments).arg(file).output().unwrap()
}

/// A file of this content, of which there is one for each name.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dump-{name}"));
    fs::write(&path, content).unwrap();
    path
}

fn error_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Refused on one line, which names the file and says this; with what it printed before.
fn refused(arguments: &[&str], name: &str, content: &[u8], says: &str) -> String {
    let path = file(name, content);
    let output = run(arguments, &path);
    let error = error_of(&output);
    assert_eq!(output.status.code(), Some(2), "{name}: {error}");
    assert_eq!(error.lines().count(), 1, "{name}: {error}");
    assert!(error.contains(path.to_str().unwrap()), "{name}: {error}");
    assert!(error.contains(says), "{name}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn core(name: &str) -> Vec<u8> {
    fs::read(bundled(name, "core")).unwrap()
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[track_caller]
fn prints_truth(arguments: &[&str], name: &str) {
    let output = dump().args(arguments).output().unwrap();
    assert_eq!(error_of(&output), "", "{name}");
    assert!(output.status.success(), "{name}");
    let truth = fs::read_to_string(bundled(name, "maps")).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let differs = printed.lines().zip(truth.lines()).find(|(printed, truth)| printed != truth);
    assert_eq!(differs, None, "{name}");
    assert!(printed == truth, "{name}: {} bytes, not {}", printed.len(), truth.len());
}

#[test]
fn prints_x86_32_as_the_emulator_does() {
    prints_truth(&[bundled("linux-686", "core").to_str().unwrap()], "linux-686");
}

#[test]
fn prints_x86_pae_as_the_emulator_does() {
    prints_truth(&[bundled("linux-686-pae", "core").to_str().unwrap()], "linux-686-pae");
}

#[test]
fn prints_x86_64_as_the_emulator_does() {
    prints_truth(&[bundled("linux-amd64", "core").to_str().unwrap()], "linux-amd64");
}

#[test]
fn prints_x86_64_la57_as_the_emulator_does() {
    prints_truth(&[bundled("linux-amd64-la57", "core").to_str().unwrap()], "linux-amd64-la57");
}

#[test]
fn prints_a_bundled_core_when_none_is_named() {
    prints_truth(&[], "linux-amd64");
}

#[test]
fn helps_and_refuses_bad_usage() {
    let help = dump().arg("--help").output().unwrap();
    assert!(help.status.success() && !help.stdout.is_empty() && help.stderr.is_empty());
    for arguments in [&["--no-such"][..], &["one", "two"], &["--tree=1"]] {
        let output = dump().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// The columns of a line of `--tree` that hold counts, from the second one on.
fn counts(line: &str) -> Vec<u64> {
    line.split_whitespace().skip(1).take(9).map(|count| count.parse().unwrap()).collect()
}

/// What `--tree` should say of a level: tables, paths, table entries, leaves, empty, non-present,
/// malformed and outside entries, pages.
fn expected(raw: &Raw, cpu: &raw::RawCpu, height: usize) -> Vec<u64> {
    let (tables, paths) = (raw.tables(cpu), raw.paths(cpu));
    let mut sums = vec![0; 9];
    for (role, counts) in tables.range((height, 0)..=(height, u64::MAX)) {
        let (names, empty) = (counts.tables.len() as u64, counts.empty.len() as u64);
        let pages = counts.leaves * paths[role];
        let row = [1, paths[role], names, counts.leaves, empty, counts.non_present, 0, 0, pages];
        sums.iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
    }
    sums
}

#[track_caller]
fn tree_counts(name: &str, aliases: &[&str]) {
    let output = run(&["--tree"], &bundled(name, "core"));
    assert!(output.status.success(), "{}", error_of(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let raw = Raw::parse(core(name));
    let pictures: Vec<&str> = printed.split("\nCPU ").skip(1).collect();
    assert_eq!(pictures.len(), raw.cpus.len());
    for (cpu, picture) in raw.cpus.iter().zip(pictures) {
        let mut lines = picture.lines();
        assert!(lines.next().unwrap().ends_with(&format!("root {:#x}", cpu.root)), "{picture}");
        let lines: Vec<&str> = lines.skip(1).take(cpu.levels.len()).collect();
        let top = cpu.levels.len() - 1;
        for (line, height) in lines.iter().zip((0..=top).rev()) {
            assert_eq!(counts(line), expected(&raw, cpu, height), "{name}: {line}");
            let alias = if height == top { "PGD" } else { ["PTE", "PMD", "PUD", "P4D"][height] };
            assert!(line.trim_start().starts_with(alias), "{line}");
        }
        aliases.iter().for_each(|alias| assert!(picture.contains(alias), "{picture}"));
    }
}

#[test]
fn tree_counts_x86_32() {
    tree_counts("linux-686", &[]);
}

#[test]
fn tree_counts_x86_pae() {
    tree_counts("linux-686-pae", &[]);
}

#[test]
fn tree_counts_x86_64() {
    tree_counts("linux-amd64", &["named by 512 entries, on 2048 paths", "named by 4 entries"]);
}

#[test]
fn tree_counts_x86_64_la57() {
    tree_counts("linux-amd64-la57", &["named by 512 entries, on 2048 paths", "named by 4 entries"]);
}
