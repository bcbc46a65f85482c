//! Files that are no cores, and cores that lie: refused on one line, whatever they say.

use crate::raw::{Raw, four, made};
use crate::{CORES, PAGE, bundled, core, error_of, file, put, refused, run};
use std::fs;
use std::path::Path;

#[test]
fn refuses_what_is_no_core() {
    let mut program = core("linux-amd64");
    put(&mut program, 16, &[2, 0]);
    let mut small = core("linux-amd64");
    small[4] = 1;
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut other = core("linux-amd64");
    put(&mut other, 18, &[183, 0]);
    let mut big = core("linux-amd64");
    big[5] = 2;
    for tree in [&[][..], &["--tree"]] {
        refused(tree, "empty", b"", "file header at offset 0x0");
        refused(tree, "text", &b"no core, but a text\n".repeat(50), "file header");
        refused(tree, "program", &program, "not a core");
        refused(tree, "small", &small, "32 bits");
        refused(tree, "own", &own, "not a core");
        refused(tree, "other-machine", &other, "machine 183");
        refused(tree, "big-endian", &big, "file header");
    }
}

#[test]
fn refuses_what_is_no_file() {
    let directory = run(&[], Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(directory.status.code(), Some(2));
    assert!(error_of(&directory).contains("not a regular file"));
    let missing = run(&[], Path::new("no\nsuch\u{7}file"));
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(error_of(&missing).lines().count(), 1);
    assert!(error_of(&missing).starts_with("dump: no?such?file: "));
}

#[test]
fn refuses_a_core_cut_short_anywhere() {
    for name in CORES {
        let whole = core(name);
        let few = (0..whole.len()).step_by(whole.len() / 24);
        let edges = [15, 16, 63, 64, 65, 119, 120, PAGE - 1, PAGE, whole.len() - 1];
        for length in few.chain(edges) {
            refused(&[], "short", &whole[..length], " ");
        }
    }
}

#[test]
fn refuses_lying_headers() {
    let whole = core("linux-amd64");
    let first_load = 64 + 56;
    let edit = |at: usize, bytes: &[u8]| {
        let mut edited = whole.clone();
        put(&mut edited, at, bytes);
        edited
    };
    let most = u64::MAX.to_le_bytes();
    refused(&[], "phnum", &edit(56, &[0xfe, 0xff]), "program headers at offset 0x40");
    refused(&[], "phnum-extended", &edit(56, &[0xff, 0xff]), "program headers");
    refused(&[], "no-segments", &edit(56, &[0, 0]), "no note");
    refused(&[], "phoff", &edit(32, &most), "program headers");
    refused(&[], "filesz", &edit(first_load + 32, &most), "segment 1 is cut short");
    refused(&[], "offset", &edit(first_load + 8, &most), "segment 1 is cut short");
    refused(&[], "wraps", &edit(first_load + 16 + 8, &(u64::MAX - 7).to_le_bytes()), "segment 1");
    refused(&[], "overlap", &edit(first_load + 24, &0x104_2000_u64.to_le_bytes()), "segment");
    refused(&[], "notes-filesz", &edit(64 + 32, &most), "segment 0 is cut short");
    refused(&[], "no-notes", &edit(64, &[9]), "no note");
    // More in memory than in the file is no error: what was not saved is not there.
    let output = run(&[], &file("memsz", &edit(first_load + 40, &most)));
    assert_eq!(output.stdout, fs::read(bundled("linux-amd64", "maps")).unwrap());
}

#[test]
fn refuses_lying_notes() {
    let raw = Raw::parse(core("linux-amd64"));
    let note = raw.cpus[1].note;
    let edit = |at: usize, bytes: &[u8]| {
        let mut edited = raw.file.clone();
        put(&mut edited, at, bytes);
        edited
    };
    let name = note - 8;
    refused(&[], "note-size", &edit(name - 8, &[0xff; 4]), "notes at offset");
    refused(&[], "note-name", &edit(name - 12, &[0xff; 4]), "notes at offset");
    refused(&[], "note-short", &edit(name - 8, &[4, 1, 0, 0]), "CPU 1");
    refused(&[], "note-version", &edit(note, &[2]), "version 2");
    let mut nobody = raw.file.clone();
    for cpu in &raw.cpus {
        put(&mut nobody, cpu.note - 8, b"NOONE");
    }
    refused(&[], "nobody", &nobody, "no note");
}

#[test]
fn names_the_root_that_is_not_there() {
    for name in CORES {
        let raw = Raw::parse(core(name));
        let mut edited = raw.file.clone();
        put(&mut edited, raw.cpus[1].note + 416, &0x7654_3000_u64.to_le_bytes());
        let printed = refused(&[], "root", &edited, "CPU 1: the root at 0x76543000");
        assert!(printed.lines().count() > 2 && printed.ends_with('\n'), "CPU 0's lines stand");
        refused(&["--tree"], "root", &edited, "CPU 1: the root at 0x76543000");
    }
}

#[test]
fn names_the_table_that_is_not_there() {
    for name in CORES {
        let raw = Raw::parse(core(name));
        let tables = raw.tables(&raw.cpus[0]);
        for height in 1..raw.cpus[0].levels.len() {
            let in_level = tables.range((height, 0)..=(height, u64::MAX));
            let (at, _) = in_level.flat_map(|(_, counts)| &counts.tables).last().unwrap();
            let mut edited = raw.file.clone();
            let place = raw.place(*at);
            let low = edited[place + 1] & 0xf;
            put(&mut edited, place + 1, &[0xe0 | low, 0xcd, 0x7b]);
            let says = format!("table at {:#x} is not in the file's memory", 0x7bcd_e000);
            refused(&[], "outside", &edited, &says);
            let printed = refused(&["--tree"], "outside", &edited, &says);
            assert_eq!(printed.matches("\nCPU ").count(), 2, "the picture is whole");
        }
    }
}

/// The same numbers on every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

/// Flips a few bits of a core, again and again; what comes of it does not matter, as long as it is
/// printed, or refused on one line.
#[track_caller]
fn survives_flips(name: &str, whole: &[u8], rounds: usize) {
    let mut dice = Dice(1);
    for round in 0..rounds {
        let mut edited = whole.to_vec();
        for _ in 0..1 + round % 4 {
            // Headers and notes are in the first page, and tell the most.
            let within = if round % 2 == 0 { PAGE.min(whole.len()) } else { whole.len() };
            edited[dice.throw(within)] ^= 1 << dice.throw(8);
        }
        let tree = if round % 5 == 0 { &["--tree"][..] } else { &[] };
        let output = run(tree, &file(&format!("flipped-{name}"), &edited));
        let error = error_of(&output);
        let lines = match output.status.code() {
            Some(0) => 0,
            Some(2) => 1,
            other => panic!("{name}, round {round}: {other:?}: {error}"),
        };
        assert_eq!(error.lines().count(), lines, "{name}, round {round}: {error}");
    }
}

#[test]
fn survives_flipped_bits_of_kernels() {
    for (name, rounds) in CORES.into_iter().zip([40, 40, 3, 3]) {
        survives_flips(name, &core(name), rounds);
    }
}

#[test]
fn survives_flipped_bits_of_a_small_core() {
    survives_flips("four", &made(0x1000, &four()), 400);
}
