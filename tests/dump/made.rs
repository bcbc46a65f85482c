//! Cores made by hand: memory in odd pieces, and tables that name themselves.

use crate::raw::{Raw, four, made, page};
use crate::{PAGE, counts, dump, error_of, file, put, refused, run};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const OF_FOUR: &str = "0 0x0 0x1000 2 0x9000 0x1000 0x1000 ---DA---W";

#[track_caller]
fn prints_four(name: &str, core: &[u8]) {
    let output = run(&[], &file(name, core));
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(printed.lines().skip(2).collect::<Vec<_>>(), [OF_FOUR], "{}", error_of(&output));
    assert!(output.status.success());
}

#[test]
fn joins_segments_that_touch() {
    prints_four("four", &made(0x1000, &four()));
    let all: Vec<u8> = four().into_iter().flat_map(|(_, bytes)| bytes).collect();
    // Cut where no page ends and no word does, out of order.
    let (low, high) = all.split_at(0x1a35);
    let pieces = [(0x2a35, high.to_vec()), (0x1000, low.to_vec())];
    prints_four("cut", &made(0x1000, &pieces));
    // With bytes before that make the beginning no word's.
    let before = [vec![0xff; 3], all.clone()].concat();
    prints_four("before", &made(0x1000, &[(0xffd, before)]));
    // One byte is missing at the end of the last table.
    let short = made(0x1000, &[(0x1000, all[..all.len() - 1].to_vec())]);
    refused(&[], "one-short", &short, "the PTE table at 0x4000 is not in the file's memory");
    // The same, but for the byte before the first table.
    let late = made(0x1000, &[(0x1001, all[1..].to_vec())]);
    refused(&[], "late", &late, "the root at 0x1000");
}

#[test]
fn lets_segments_share_bytes_only_if_they_agree() {
    // The second segment is made to hold the bytes of the first one once more.
    let again = |start: u64, bytes: usize| {
        let mut core = made(0x1000, &[four(), vec![(start, vec![0; bytes])]].concat());
        let first = core[64 + 56 + 8..][..8].to_vec();
        put(&mut core, 64 + 5 * 56 + 8, &first);
        core
    };
    prints_four("shared", &again(0x1000, PAGE));
    refused(&[], "disagree", &again(0x1800, PAGE), "that another segment holds, too");
    // At other addresses the same bytes are more memory: not more than the file is long.
    let many: Vec<_> = (0..50).map(|index| (0x10_0000 * (index + 1), Vec::new())).collect();
    let mut core = made(0x1000, &[four(), many].concat());
    let (first, size) = (core[64 + 56 + 8..][..8].to_vec(), (4 * PAGE).to_le_bytes());
    for index in 5..55 {
        put(&mut core, 64 + index * 56 + 8, &first);
        put(&mut core, 64 + index * 56 + 32, &size);
        put(&mut core, 64 + index * 56 + 40, &size);
    }
    refused(&[], "too-much", &core, "more memory than");
}

#[test]
fn prints_nothing_of_a_cpu_that_does_not_page() {
    let mut core = made(0x1000, &four());
    let note = Raw::parse(core.clone()).cpus[0].note;
    put(&mut core, note + 392 + 3, &[0]);
    let output = run(&[], &file("off", &core));
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

/// The end of a child, which must come soon.
fn end(mut child: Child) -> ExitStatus {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it goes on when nobody reads");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory that a process has had, in KiB, where that can be known.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn streams_a_table_that_names_itself() {
    // Each of 512^4 paths is a page, and none goes on as the one before.
    let itself = page(|index| 0x1001 | ((index & 1) << 1));
    let path = file("itself", &made(0x1000, &[(0x1000, itself)]));
    let begun = Instant::now();
    let mut child =
        dump().arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..100_000_u64 {
        let line = lines.next().unwrap().unwrap();
        if let Some(page) = number.checked_sub(2) {
            let write = if page & 1 == 0 { '-' } else { 'W' };
            let expected =
                format!("0 {:#x} 0x1000 1 0x1000 0x1000 0x1000 --------{write}", page << 12);
            assert_eq!(line, expected);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "lines come at once");
    assert!(peak(&child).is_none_or(|peak| peak < 16 << 10), "{:?} KiB", peak(&child));
    drop(lines);
    let stderr = child.stderr.take().unwrap();
    assert!(end(child).success());
    assert_eq!(BufReader::new(stderr).lines().count(), 0);
}

#[test]
fn draws_a_table_that_names_itself() {
    let itself = page(|_| 0x1003);
    let output = run(&["--tree"], &file("itself-tree", &made(0x1000, &[(0x1000, itself)])));
    assert!(output.status.success(), "{}", error_of(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = printed.lines().find(|line| line.contains("PTE")).unwrap();
    assert_eq!(counts(line)[..2], [1, 512_u64.pow(3)], "{printed}");
}
