//! The rooms, and the rules for one file.

use crate::tokens::{Outside, Reference, Segments, Source, Word};
use std::fmt;

/// The rooms, bottom to top.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Room {
    Addr,
    Level,
    Arch,
    Table,
    Walk,
    Gather,
    Cpu,
    Limbo,
    Map,
    Relocate,
    Space,
    Model,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("arch's cpu"),
            room => f.write_str(&format!("{room:?}").to_lowercase()),
        }
    }
}

impl Room {
    /// The room of what lies at a place in the crate, if its first segment is a room.
    fn of(place: &[String]) -> Option<Self> {
        let (first, below) = place.split_first()?;
        Some(match first.as_str() {
            // `arch::native` is the cpu module of the machine that the crate is built for.
            "arch" if below.iter().any(|name| name == "cpu" || name == "native") => Self::Cpu,
            "arch" => Self::Arch,
            "addr" => Self::Addr,
            "level" => Self::Level,
            "table" => Self::Table,
            "walk" => Self::Walk,
            "gather" => Self::Gather,
            "limbo" => Self::Limbo,
            "map" => Self::Map,
            "relocate" => Self::Relocate,
            "space" => Self::Space,
            "model" => Self::Model,
            _ => return None,
        })
    }

    fn of_file(file: &str) -> Option<Self> {
        match file.split('/').collect::<Vec<_>>()[..] {
            ["arch", _, "cpu.rs"] => Some(Self::Cpu),
            ["arch", ..] => Some(Self::Arch),
            _ => Self::of(&module_of(file)),
        }
    }

    fn may_import(self, from: Self) -> bool {
        let in_arch = |room| matches!(room, Self::Arch | Self::Cpu);
        match (self, from) {
            (one, other) if one == other => true,
            (Self::Model, from) => from == Self::Addr,
            (Self::Relocate, Self::Map) => false,
            // The generic crate never names an architecture.
            (room, from) if in_arch(from) => in_arch(room) && from < room,
            (room, from) => from < room,
        }
    }

    fn may_be_unsafe(self) -> bool {
        matches!(self, Self::Table | Self::Limbo | Self::Cpu)
    }
}

/// A broken rule.
#[derive(Debug)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// The module that a file is: `src/map/tree.rs` is `map::tree`, `arch/x86/mod.rs` is `arch::x86`.
fn module_of(file: &str) -> Segments {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let names = path.split('/').filter(|&name| name != "mod" && name != "lib");
    names.map(str::to_owned).collect()
}

/// Checks one file against all rules. `file` is its path from the root of the repository, `root` the
/// text of the crate's root.
pub fn check(file: &str, text: &str, root: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines >= 400 {
        found.push((400, format!("a file has under 400 lines, and this one {lines}")));
    }
    let library = file.starts_with("src/") || file.starts_with("arch/");
    if library && file.ends_with(".rs") {
        match (Source::read(text, &module_of(file)), Source::read(root, &[])) {
            (Ok(source), Ok(root)) => check_tokens(file, &source, &root, &mut found),
            (Err(error), _) | (_, Err(error)) => found.push((1, error)),
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|(line, rule)| Violation { file: file.to_owned(), line, rule }).collect()
}

fn check_tokens(file: &str, source: &Source, root: &Source, found: &mut Vec<(usize, String)>) {
    let room = Room::of_file(file);
    if room.is_none() && file != "src/lib.rs" {
        found.push((1, "belongs to no room".to_owned()));
    }
    for (line, word) in &source.words {
        found.extend(check_word(file, room, word).map(|rule| (*line, rule)));
    }
    for reference in &source.references {
        let rule = room.and_then(|room| check_reference(file, room, reference, source, root));
        found.extend(rule.map(|rule| (reference.line, rule)));
    }
}

fn check_word(file: &str, room: Option<Room>, word: &Word) -> Option<String> {
    let may_be_unsafe = room.is_some_and(Room::may_be_unsafe);
    let root = file == "src/lib.rs";
    let rule = match word {
        Word::UnsafeSignature if may_be_unsafe || room == Some(Room::Space) => return None,
        // What a format promises, and nothing that it does.
        Word::UnsafePromise if matches!(room, Some(Room::Level | Room::Arch | Room::Space)) => {
            return None;
        }
        Word::UnsafeCode | Word::UnsafePromise if may_be_unsafe => return None,
        Word::UnsafeCode if room == Some(Room::Space) => {
            "space has unsafe signatures, but no unsafe code"
        }
        Word::UnsafeSignature | Word::UnsafeCode | Word::UnsafePromise => {
            "unsafe stands only in table, limbo and arch's cpu, in signatures of space, and as a \
             format's promise"
        }
        Word::Asm if room == Some(Room::Cpu) => return None,
        Word::Asm => "asm! stands only in arch/*/cpu.rs",
        Word::TargetArch if file.starts_with("src/") => "src/ never asks for target_arch",
        Word::MacroRules => "the library has no macro_rules! of its own",
        Word::PathAttribute(path) if root && path == r#""../arch/mod.rs""# => return None,
        Word::PathAttribute(_) => "only the crate root's line for arch gives a module a path",
        Word::Include => "include! hides code from these rules",
        Word::CrateByAnotherName => "a name for the whole crate hides what is imported",
        Word::InlineModule if root => "the crate root has no code of its own",
        Word::Function(lines) if *lines > 40 => {
            return Some(format!("a function has at most forty lines, and this one {lines}"));
        }
        Word::TargetArch | Word::InlineModule | Word::Function(_) => return None,
    };
    Some(rule.to_owned())
}

fn check_reference(
    file: &str,
    room: Room,
    reference: &Reference,
    source: &Source,
    root: &Source,
) -> Option<String> {
    let written = reference.path.join("::");
    let places = match source.resolve(&reference.module, &reference.path) {
        Ok(places) => places,
        Err(Outside) => return Some(format!("{written} leads out of the crate")),
    };
    let all = reference.import.as_ref().is_some_and(|(name, _)| name == "*");
    places.iter().find_map(|place| {
        if place.is_empty() {
            return Some(format!("{written}: importing the whole crate hides what is imported"));
        }
        // Whose names would include `cpu`.
        if all && place[0] == "arch" && place.len() < 3 && room != Room::Cpu {
            return Some(format!("{written}::* hides what is imported from arch"));
        }
        let Some(from) = room_of(place, root) else {
            return Some(format!("{written}: no room, and nothing that the crate root exports"));
        };
        if room.may_import(from) || is_native_switch(file, reference, place) {
            return None;
        }
        Some(format!("{room} may not import from {from} ({written})"))
    })
}

/// The room of a place, also of a name that the crate root exports.
fn room_of(place: &[String], root: &Source) -> Option<Room> {
    Room::of(place).or_else(|| {
        let exported = root.resolve(&[], place).ok()?;
        exported.iter().find_map(|place| Room::of(place))
    })
}

/// The one place where arch names a cpu module: to give that of this machine the name `native`.
fn is_native_switch(file: &str, reference: &Reference, place: &[String]) -> bool {
    let native =
        reference.import.as_ref().is_some_and(|(name, public)| name == "native" && *public);
    file == "arch/mod.rs" && native && place.last().is_some_and(|last| last == "cpu")
}
