//! A kernel that does not ask for relocation does not have it: looked up in what the compiler makes of
//! `tests/absent`, a static library with the verbs for one kind of space.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use iced_x86::{Decoder, DecoderOptions};
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;

/// The functions of a static library: mangled names, and how many instructions each has.
struct Library(BTreeMap<String, usize>);

impl Library {
    /// Builds it with these features, in a target directory for these flags of the compiler.
    fn build(features: &str, flags: &str) -> Self {
        let folder = if flags.is_empty() { "absent" } else { "absent-without" };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/absent/Cargo.toml");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--offline", "--locked"])
            .args(["--features", features])
            .arg("--manifest-path")
            .arg(package)
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTFLAGS", format!("-Csymbol-mangling-version=v0 {flags}"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self::read(&std::fs::read(target.join("release/libabsent.a")).unwrap())
    }

    fn read(archive: &[u8]) -> Self {
        let mut functions = BTreeMap::new();
        for member in ArchiveFile::parse(archive).unwrap().members() {
            let member = member.unwrap();
            // The precompiled libraries of the language are in the archive, too.
            let name = String::from_utf8_lossy(member.name()).into_owned();
            if !name.starts_with("absent") && !name.starts_with("pgtable") {
                continue;
            }
            let elf: ElfFile64<'_> = ElfFile64::parse(member.data(archive).unwrap()).unwrap();
            for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
                let Some(section) = symbol.section_index() else { continue };
                let section = elf.section_by_index(section).unwrap();
                let code = section.data_range(symbol.address(), symbol.size()).unwrap().unwrap();
                let name = symbol.name().unwrap().to_owned();
                functions.insert(name, Decoder::new(64, code, DecoderOptions::NONE).iter().count());
            }
        }
        Self(functions)
    }

    /// The functions of which the mangled name has this in it.
    fn named(&self, part: &str) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|name| name.contains(part)).collect()
    }

    /// All instructions but those of the sessions, which are only there to be refused.
    fn instructions(&self) -> usize {
        let counted = |name: &str| !name.contains("7session") && !name.starts_with("move_");
        self.0.iter().filter(|(name, _)| counted(name)).map(|(_, count)| count).sum()
    }
}

/// Rooms as they stand in mangled names: each word after its length.
const ROOMS: [&str; 2] = ["8relocate", "5limbo"];

#[test]
fn code_that_nobody_asks_for_is_not_there() {
    // Each is built by one processor, and those with the same flags one after the other.
    let (without, [still, moving, only_pte]) = thread::scope(|scope| {
        let without = scope.spawn(|| Library::build("", "--cfg pgtable_no_relocation"));
        let built = ["", "moving", "only-pte"].map(|features| Library::build(features, ""));
        (without.join().unwrap(), built)
    });
    for room in ROOMS {
        assert_eq!(
            still.named(room),
            [""; 0],
            "a space that is not relocatable has none of {room}"
        );
    }
    for part in ["8relocate", "13migrate_entry"] {
        assert!(!moving.named(part).is_empty(), "one that is has {part}");
    }
    // One copy of the body for each level whose tables are moved, and one for the root.
    assert_eq!(moving.named("13migrate_entry").len(), 4);
    assert_eq!(only_pte.named("13migrate_entry").len(), 1);

    let [still, moving, without] = [&still, &moving, &without].map(Library::instructions);
    println!("instructions: {still} not relocatable, {without} without the code, {moving} with it");
    // The compiler does not always inline alike: a hundredth of it is noise.
    assert!(still.abs_diff(without) * 100 <= without, "{still} instructions, not {without}");
    assert!(moving * 100 > without * 110, "what is looked at would show: {moving}, {without}");
}
