//! Any operation on a space, in small numbers.

use proptest::prelude::*;

/// An address and a length, small numbers that become pages around an interesting place.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub anchor: u8,
    pub page: u16,
    pub pages: u16,
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Map { place: Place, size: u8, attrs: u8 },
    MapRange { place: Place, frame: u16, aligned: bool, attrs: u8 },
    MapCursor { place: Place, attrs: u8 },
    Unmap { place: Place, size: u8 },
    UnmapRange { place: Place },
    UnmapCursor { place: Place },
    Protect { place: Place, size: u8, attrs: u8 },
    ProtectRange { place: Place, attrs: u8 },
    Split { place: Place },
    Promote { place: Place, size: u8 },
    Exchange { place: Place, size: u8, was: u8, raw: u8 },
    Scan { place: Place, accessed: bool, dirty: bool },
    Touch { place: Place, write: bool },
    TouchStale { place: Place, nth: u8, write: bool },
    Relocate { place: Place, what: u8, height: u8 },
    EndBatch,
}

fn places() -> impl Strategy<Value = Place> {
    let pages = prop_oneof![0..12u16, 0..1100u16];
    let lengths = prop_oneof![1..4u16, 1..1300u16];
    (0..4u8, pages, lengths).prop_map(|(anchor, page, pages)| Place { anchor, page, pages })
}

pub fn ops() -> impl Strategy<Value = Op> {
    let (p, b) = (places, any::<bool>);
    prop_oneof![
        3 => (p(), 0..3u8, 0..16u8).prop_map(|(place, size, attrs)| Op::Map { place, size, attrs }),
        4 => (p(), any::<u16>(), b(), 0..16u8)
            .prop_map(|(place, frame, aligned, attrs)| Op::MapRange { place, frame, aligned, attrs }),
        1 => (p(), 0..16u8).prop_map(|(place, attrs)| Op::MapCursor { place, attrs }),
        3 => (p(), 0..3u8).prop_map(|(place, size)| Op::Unmap { place, size }),
        2 => p().prop_map(|place| Op::UnmapRange { place }),
        1 => p().prop_map(|place| Op::UnmapCursor { place }),
        2 => (p(), 0..3u8, 0..16u8)
            .prop_map(|(place, size, attrs)| Op::Protect { place, size, attrs }),
        2 => (p(), 0..16u8).prop_map(|(place, attrs)| Op::ProtectRange { place, attrs }),
        2 => p().prop_map(|place| Op::Split { place }),
        3 => (p(), 0..3u8).prop_map(|(place, size)| Op::Promote { place, size }),
        2 => (p(), 0..3u8, 0..3u8, 0..3u8)
            .prop_map(|(place, size, was, raw)| Op::Exchange { place, size, was, raw }),
        1 => (p(), b(), b())
            .prop_map(|(place, accessed, dirty)| Op::Scan { place, accessed, dirty }),
        3 => (p(), b()).prop_map(|(place, write)| Op::Touch { place, write }),
        6 => (p(), any::<u8>(), b())
            .prop_map(|(place, nth, write)| Op::TouchStale { place, nth, write }),
        6 => (p(), 0..8u8, 0..5u8)
            .prop_map(|(place, what, height)| Op::Relocate { place, what, height }),
        1 => Just(Op::EndBatch),
    ]
}
