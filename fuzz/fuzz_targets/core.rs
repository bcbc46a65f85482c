#![no_main]

use libfuzzer_sys::fuzz_target;
use pgtable_fuzz::cores::run;

fuzz_target!(|file: &[u8]| run(file));
