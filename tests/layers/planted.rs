//! Violations planted for the rules to find, and what looks like one and is none.

/// The crate's root in these cases.
pub const ROOT: &str = r#"
pub mod addr; pub mod level; mod map; mod walk;
#[path = "../arch/mod.rs"]
pub mod arch;
pub use addr::{PhysAddr, Span as Run};
pub use map::{Names, Used};
"#;

/// A file, its text, and what the rules answer: `line: rule`, from its beginning on.
pub type Case = (&'static str, &'static str, Option<&'static str>);

/// Who may import from whom.
pub const ROOMS: &[Case] = &[
    ("src/addr/x.rs", "use crate::level::Word;", Some("1: addr may not import from level")),
    ("src/level/x.rs", "use crate::addr::Span;", None),
    ("src/level/x.rs", "use crate::table::Table;", Some("1: level may not import from table")),
    ("src/level/x.rs", "use crate::arch::x86::X86_32;", Some("1: level may not import from arch")),
    ("arch/x86/long.rs", "use crate::{addr::Span, level::Word};", None),
    ("arch/x86/long.rs", "use crate::table::Host;", Some("1: arch may not import from table")),
    ("arch/arm.rs", "use crate::walk::Spot;", Some("1: arch may not import from walk")),
    ("arch/x86/cpu.rs", "use crate::{gather::Gone, table::Host, arch::x86::Bits};", None),
    (
        "arch/x86/cpu.rs",
        "use crate::limbo::Limbo;",
        Some("1: arch's cpu may not import from limbo"),
    ),
    ("src/table/x.rs", "use crate::walk::Spot;", Some("1: table may not import from walk")),
    ("src/walk/x.rs", "use crate::gather::Gone;", Some("1: walk may not import from gather")),
    ("src/gather/x.rs", "use crate::map::Tree;", Some("1: gather may not import from map")),
    ("src/gather/x.rs", "use crate::{table::Host, walk::Spot, level::Word, addr::Span};", None),
    ("src/limbo.rs", "use crate::map::Tree;", Some("1: limbo may not import from map")),
    ("src/map/x.rs", "use crate::{limbo::Limbo, gather::Gone};", None),
    ("src/map/x.rs", "use crate::relocate::Session;", Some("1: map may not import from relocate")),
    ("src/relocate/x.rs", "use crate::map::Tree;", Some("1: relocate may not import from map")),
    ("src/relocate/x.rs", "use crate::limbo::Limbo;", None),
    ("src/space/x.rs", "use crate::{map::Tree, relocate::Session};", None),
    ("src/space/x.rs", "use crate::model::Mmu;", Some("1: space may not import from model")),
    ("src/space/x.rs", "use crate::arch::native;", Some("1: space may not import from arch's cpu")),
    ("src/model/x.rs", "use crate::addr::Span;", None),
    ("src/model/x.rs", "use crate::level::Word;", Some("1: model may not import from level")),
    ("src/util/x.rs", "", Some("1: belongs to no room")),
    ("src/lib.rs", "pub use map::Tree; pub use crate::space::Space;", None),
];

/// The ways in which a path can hide.
pub const HIDDEN: &[Case] = &[
    ("src/walk/x.rs", "\n\nuse crate::map;", Some("3: walk may not import from map")),
    (
        "src/walk/x.rs",
        "use {core::fmt, crate::{addr::Span,\nmap::{self, Tree}}};",
        Some("2: walk may not"),
    ),
    ("src/walk/x.rs", "use crate::map::Tree as Span;", Some("1: walk may not import from map")),
    ("src/walk/x.rs", "use crate::r#map::Tree;", Some("1: walk may not import from map")),
    ("src/walk/x.rs", "pub use crate::map::*;", Some("1: walk may not import from map")),
    ("src/walk/x.rs", "use super::super::map::Tree;", Some("1: walk may not import from map")),
    ("src/walk/mod.rs", "use super::map::Tree;", Some("1: walk may not import from map")),
    ("src/walk.rs", "use super::map::Tree;", Some("1: walk may not import from map")),
    (
        "src/walk/x.rs",
        "use self::super::super::map::Tree;",
        Some("1: walk may not import from map"),
    ),
    ("src/walk/x.rs", "use super::map::Tree;", None),
    ("src/walk/x.rs", "mod y { use super::map::Tree; }", None),
    ("src/walk/mod.rs", "mod y { use super::super::map::Tree; }", Some("1: walk may not import")),
    ("src/walk/mod.rs", "mod y { mod z { use super::super::map::Tree; } }", None),
    (
        "src/walk/mod.rs",
        "fn f() { mod y { use super::super::map::Tree; } }",
        Some("1: walk may not"),
    ),
    (
        "src/walk/x.rs",
        "use super::super::super::map;",
        Some("1: super::super::super::map leads out"),
    ),
    ("src/walk/x.rs", "fn f(a: &crate::map::Tree) {}", Some("1: walk may not import from map")),
    (
        "src/walk/x.rs",
        "fn f() -> u8 { crate::map::ONE + 1 }",
        Some("1: walk may not import from map"),
    ),
    ("src/walk/x.rs", "impl<T> crate::map::Verb for T {}", Some("1: walk may not import from map")),
    (
        "src/walk/x.rs",
        "type T = <u8 as crate::map::Verb>::T;",
        Some("1: walk may not import from map"),
    ),
    ("src/walk/x.rs", "type T = <crate::addr::A as B>::map::C;", None),
    ("src/walk/x.rs", "pub(in crate::map) struct S;", Some("1: walk may not import from map")),
    (
        "src/walk/x.rs",
        "pub(in crate::walk) struct S; pub(crate) struct T; pub(super) struct U;",
        None,
    ),
    (
        "src/walk/x.rs",
        "#[derive(crate::map::Verb)] struct S;",
        Some("1: walk may not import from map"),
    ),
    (
        "src/walk/x.rs",
        "const _: () = assert!(crate::map::ONE == 1);",
        Some("1: walk may not import"),
    ),
    ("src/walk/x.rs", "fn f() { matches!(a, [super::super::map::B, _]) }", Some("1: walk may not")),
    (
        "src/walk/x.rs",
        "cfg_if::cfg_if! { if #[cfg(a)] { use crate::map::T; } }",
        Some("1: walk may not"),
    ),
    ("src/walk/x.rs", "use crate as all;", Some("1: crate: importing the whole crate")),
    ("src/walk/x.rs", "use crate::{self as all};", Some("1: crate: importing the whole crate")),
    ("src/walk/x.rs", "use super::super::*;", Some("1: super::super: importing the whole crate")),
    ("src/walk/x.rs", "extern crate self as all;", Some("1: a name for the whole crate")),
    ("src/walk/x.rs", "fn f(a: ::pgtable::map::Tree) {}", Some("1: walk may not import from map")),
    (
        "src/walk/x.rs",
        "use crate::PhysAddr; fn f(a: crate::Run, b: super::super::PhysAddr) {}",
        None,
    ),
    ("src/walk/x.rs", "use crate::Names;", Some("1: walk may not import from map")),
    ("src/walk/x.rs", "fn f(a: super::super::Used) {}", Some("1: walk may not import from map")),
    ("src/walk/x.rs", "use crate::Unheard;", Some("1: crate::Unheard: no room")),
    ("src/map/x.rs", "use super::tree; use tree::Tree; fn f(map: u8) -> level::A { a::b() }", None),
    ("arch/x86/mod.rs", "mod bits; pub mod cpu; pub use bits::Bits;", None),
    (
        "arch/x86/mod.rs",
        "pub mod cpu; fn f() { cpu::root() }",
        Some("1: arch may not import from arch's cpu"),
    ),
    ("arch/x86/mod.rs", "pub mod cpu; pub use self::cpu::root;", Some("1: arch may not import")),
    ("arch/x86/long.rs", "use super::cpu as c;", Some("1: arch may not import from arch's cpu")),
    (
        "arch/x86/long.rs",
        "use super::super::x86; fn f() { x86::cpu::root() }",
        Some("1: arch may not"),
    ),
    ("arch/x86/mod.rs", "pub mod cpu; type T = <u8 as A>::cpu::B;", None),
    ("arch/x86/long.rs", "use super::*;", Some("1: super::* hides")),
    ("arch/x86/long.rs", "mod tests { use super::*; }", None),
    ("arch/x86/long.rs", "use crate::arch::native::root;", Some("1: arch may not import")),
    ("arch/mod.rs", "pub mod x86; pick! { if a { pub use x86::cpu as native; } }", None),
    (
        "arch/mod.rs",
        "pub mod x86; pub use x86::cpu::root as native;",
        Some("1: arch may not import"),
    ),
    ("arch/mod.rs", "pub mod x86; pub use x86::cpu as other;", Some("1: arch may not import")),
    ("arch/arm/mod.rs", "pub use super::x86::cpu as native;", Some("1: arch may not import")),
    ("src/walk/x.rs", "#[path = \"../map/mod.rs\"] mod m;", Some("1: only the crate root's line")),
    ("src/walk/x.rs", "fn f() { [path = \"m.rs\"] }", None),
    (
        "src/walk/x.rs",
        "mod m { #![path = \"../map\"] mod tree; }",
        Some("1: only the crate root's line"),
    ),
    (
        "src/walk/x.rs",
        "#[cfg_attr(a, path = \"m.rs\")] mod m;",
        Some("1: only the crate root's line"),
    ),
    ("src/lib.rs", "#[path = \"../arch/mod.rs\"] pub mod arch;", None),
    (
        "src/lib.rs",
        "#[path = \"../other/mod.rs\"] pub mod arch;",
        Some("1: only the crate root's line"),
    ),
    ("src/lib.rs", "mod map { }", Some("1: the crate root has no code")),
    ("src/walk/x.rs", "include!(\"../map/mod.rs\");", Some("1: include! hides")),
    ("src/walk/x.rs", "#[doc = include_str!(\"x.md\")] fn path() { let path = \"m.rs\"; }", None),
    ("src/walk/x.rs", "// use crate::map::Tree;\n/* crate::map::A /* crate::map::B */ */", None),
    ("src/walk/x.rs", "//! use crate::map::Tree;\n/// [`A`](crate::map::A)\nstruct S;", None),
    ("src/walk/x.rs", "/** crate::map::A */ struct S; #[doc = \"crate::map::A\"] struct T;", None),
    ("src/walk/x.rs", "/// ```\n/// use pgtable::map::Tree;\n/// ```\nstruct S;", None),
    (
        "src/walk/x.rs",
        "const A: &str = \"crate::map::A\"; const B: &str = r#\"\"crate::map::B\"#;",
        None,
    ),
    ("src/walk/x.rs", "fn f() -> impl Sized + use<'_> { ::core::mem::drop::<u8>(1) }", None),
    ("src/walk/x.rs", "fn f() { let (", Some("1: cannot be read as Rust")),
];

/// The rules for single words.
pub const WORDS: &[Case] = &[
    ("src/map/x.rs", "#[cfg(target_arch = \"x86\")] fn f() {}", Some("1: src/ never asks")),
    (
        "src/map/x.rs",
        "#![cfg_attr(all(a, not(target_arch = \"x86\")), b)]",
        Some("1: src/ never asks"),
    ),
    ("src/map/x.rs", "fn f() { if cfg!(target_arch = \"x86\") {} }", Some("1: src/ never asks")),
    (
        "src/lib.rs",
        "pick! { if #[cfg(any(target_arch = \"x86\"))] {} }",
        Some("1: src/ never asks"),
    ),
    (
        "src/map/x.rs",
        "#[cfg(target_has_atomic = \"64\")] const A: &str = \"target_arch\"; // target_arch",
        None,
    ),
    ("arch/x86/mod.rs", "#[cfg(target_arch = \"x86\")] pub mod cpu;", None),
    ("arch/x86/cpu.rs", "fn f() { unsafe { core::arch::asm!(\"nop\") } }", None),
    ("arch/x86/long.rs", "fn f() { asm!(\"nop\") }", Some("1: asm! stands only")),
    ("arch/cpu.rs", "core::arch::global_asm!(\"nop\");", Some("1: asm! stands only")),
    ("src/table/x.rs", "use core::arch::asm as a;", Some("1: asm! stands only")),
    ("src/table/x.rs", "/// `asm!(\"nop\")`\nconst A: &str = \"asm!()\"; // asm!", None),
    (
        "src/table/x.rs",
        "unsafe trait T { unsafe fn f() { unsafe { g() } } } unsafe impl T for u8 {}",
        None,
    ),
    ("src/limbo/x.rs", "fn f() { unsafe { g() } }", None),
    ("src/walk/x.rs", "fn f() { unsafe { g() } }", Some("1: unsafe stands only in")),
    ("src/walk/x.rs", "unsafe fn f() {}", Some("1: unsafe stands only in")),
    ("src/walk/x.rs", "unsafe impl Sync for S {}", Some("1: unsafe stands only in")),
    ("src/level/format.rs", "pub unsafe trait Format {}", None),
    ("arch/x86/long.rs", "unsafe impl Format for L {}", None),
    ("arch/x86/long.rs", "unsafe fn f() {}", Some("1: unsafe stands only in")),
    ("arch/x86/long.rs", "fn f() { unsafe { g() } }", Some("1: unsafe stands only in")),
    ("src/walk/x.rs", "fn f() { assert!(unsafe { g() }) }", Some("1: unsafe stands only in")),
    ("arch/x86/long.rs", "#[unsafe(no_mangle)] fn f() {}", Some("1: unsafe stands only in")),
    (
        "src/walk/x.rs",
        "#![deny(unsafe_code)] // unsafe\n/// unsafe\nfn f() { g(\"unsafe\") }",
        None,
    ),
    (
        "src/space/x.rs",
        "pub unsafe fn f() {} unsafe impl Sync for S {} unsafe extern \"C\" fn g() {}",
        None,
    ),
    ("src/space/x.rs", "unsafe fn f() {\nunsafe { g() } }", Some("2: space has unsafe signatures")),
    ("src/space/x.rs", "unsafe extern \"C\" { fn f(); }", Some("1: space has unsafe signatures")),
    ("src/lib.rs", "unsafe fn f() {}", Some("1: unsafe stands only in")),
    ("src/map/x.rs", "macro_rules! m { () => {} }", Some("1: the library has no macro_rules!")),
    (
        "arch/x86/bits.rs",
        "mod a { macro_rules! m { () => {} } }",
        Some("1: the library has no macro_"),
    ),
    ("tests/x.rs", "macro_rules! m { () => {} } fn f() { unsafe { asm!(\"nop\") } }", None),
    ("src/map/x.rs", "const A: &str = \"macro_rules! m\"; // macro_rules! m", None),
];
