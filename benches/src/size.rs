//! How large the code is: all verbs, as a static library with fat LTO.

use crate::cargo;
use crate::progress::Progress;
use crate::table::Table;
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, SectionKind};

/// Bytes of code, and of constants (with what the linker fills in).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    code: u64,
    constants: u64,
}

/// What is weighed: a name, and the features that make it.
const WEIGHED: [(&str, &str); 4] = [
    ("x86-64 with 4 levels, not relocatable", "still"),
    ("x86-64 with 4 levels", ""),
    ("all four modes, not relocatable", "four,still"),
    ("all four modes", "four"),
];

/// Builds everything at both levels, and prints the sizes.
pub fn sizes() -> Result<(), String> {
    let mut table = Table::new([
        "bytes",
        "opt-level \"s\": code",
        "constants",
        "opt-level 3: code",
        "constants",
    ]);
    let progress = Progress::new();
    for (name, features) in WEIGHED {
        let mut cells = vec![name.to_owned()];
        for level in ["s", "3"] {
            progress.show(&format!("{name}, opt-level {level}"));
            let size = weigh(features, level)?;
            cells.extend([size.code.to_string(), size.constants.to_string()]);
        }
        table.row(cells);
    }
    drop(progress);
    print!("{table}");
    Ok(())
}

fn weigh(features: &str, level: &str) -> Result<Size, String> {
    let folder = format!("size-{level}");
    let variables = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)];
    let built = cargo::build("size/Cargo.toml", &folder, &["--features", features], &variables)?;
    let library = built.join("libweighed.a");
    let bytes = std::fs::read(&library).map_err(|error| format!("{library:?}: {error}"))?;
    read(&bytes).map_err(|error| format!("{library:?}: {error}"))
}

/// With fat LTO, all code is in the members of this crate; precompiled libraries of the language lie
/// beside them.
fn read(archive: &[u8]) -> object::Result<Size> {
    let mut size = Size::default();
    for member in ArchiveFile::parse(archive)?.members() {
        let member = member?;
        if !member.name().starts_with(b"weighed") {
            continue;
        }
        let elf: ElfFile64<'_> = ElfFile64::parse(member.data(archive)?)?;
        for section in elf.sections() {
            match section.kind() {
                SectionKind::Text => size.code += section.size(),
                SectionKind::ReadOnlyData
                | SectionKind::ReadOnlyDataWithRel
                | SectionKind::ReadOnlyString
                | SectionKind::Data => size.constants += section.size(),
                _ => {}
            }
        }
    }
    Ok(size)
}
