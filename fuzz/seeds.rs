//! Makes a seed corpus in `corpus/` from the cores in `tests/cores`: the cores, their first pages and a small one for
//! `core`, and the different words of their tables for `decode`. From the root of the repository:
//! `rustc --edition 2024 -O -o fuzz/target/seeds fuzz/seeds.rs && fuzz/target/seeds`.

#[allow(dead_code)]
#[path = "../examples/support/raw.rs"]
mod raw;

use std::fs;
use std::path::Path;

const CORES: [&str; 4] = ["linux-686", "linux-686-pae", "linux-amd64", "linux-amd64-la57"];

fn main() -> std::io::Result<()> {
    fs::create_dir_all("fuzz/corpus/core")?;
    fs::write("fuzz/corpus/core/made", raw::made(0x1000, &raw::four()))?;
    for (mode, name) in (0_u8..).zip(CORES) {
        let file = fs::read(format!("tests/cores/{name}.core"))?;
        let cores = Path::new("fuzz/corpus/core");
        fs::write(cores.join(name), &file)?;
        // Headers and notes alone, which the reader refuses late.
        fs::write(cores.join(format!("{name}-head")), &file[..4096.min(file.len())])?;
        let words = Path::new("fuzz/corpus/decode");
        fs::create_dir_all(words)?;
        fs::write(words.join(name), decode(mode, &file))?;
    }
    Ok(())
}

/// Different words of a core, in the form of `decode`'s input: mode, limits, attributes, a frame, and
/// then a byte with a set bit before each word.
fn decode(mode: u8, file: &[u8]) -> Vec<u8> {
    let mut words: Vec<u64> = file
        .chunks_exact(8)
        .map(|bytes| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
        .filter(|word| word & 1 != 0)
        .collect();
    // Two entries are of one kind if they differ in the address only.
    words.sort_by_key(|word| (word & 0xfff0_0000_0000_0fff, *word));
    words.dedup_by_key(|word| *word & 0xfff0_0000_0000_0fff);
    let mut bytes = vec![mode, 0, 0, 0, 7, 0, 0, 0, 0, 0];
    bytes.extend(0x1234_5000_u64.to_le_bytes());
    for word in words.iter().take(64) {
        bytes.push(1);
        bytes.extend(word.to_le_bytes());
    }
    bytes
}
