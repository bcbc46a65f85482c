#![no_main]

use libfuzzer_sys::fuzz_target;
use pgtable_fuzz::decode::{Input, run};

fuzz_target!(|input: Input| run(&input));
