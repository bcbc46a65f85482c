#![no_main]

use libfuzzer_sys::fuzz_target;
use pgtable_fuzz::operations::{Input, run};

fuzz_target!(|input: Input| run(&input));
