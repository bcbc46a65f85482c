//! Counts instructions: this program, or one that was built otherwise, does one row under valgrind.

use crate::contestant::Contestant;
use crate::row::{Load, Row};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// With it, glibc's `memset` is a loop of stores, and not an instruction that counts once per byte.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.cpu.x86_rep_stosb_threshold=1000000000");

/// Instructions per operation.
pub fn count(who: &Contestant, row: Row) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    count_in(&this, who, row)
}

/// The same, as another build of this program does it.
pub fn count_in(program: &Path, who: &Contestant, row: Row) -> Result<f64, String> {
    let output = std::env::temp_dir().join(format!("pgtable-{}.callgrind", std::process::id()));
    let total = run(program, who.name, row.name(), &output);
    // What cannot be removed is not there.
    let _ = std::fs::remove_file(&output);
    Ok(total? as f64 / Load::new(who.mode).operations(row) as f64)
}

fn run(program: &Path, who: &str, row: &str, output: &PathBuf) -> Result<u64, String> {
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(output);
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=pgtable_timed_region", "-q"])
        .arg(file)
        .arg(program)
        .args(["once", who, row])
        .env(TUNABLES.0, TUNABLES.1)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error} (Debian: apt install valgrind)"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("{who}, {row}: {}", said.lines().last().unwrap_or("valgrind failed")));
    }
    let text = std::fs::read_to_string(output).map_err(|error| format!("{output:?}: {error}"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| format!("{output:?} has no total"))
}
