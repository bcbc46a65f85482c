//! Columns, and sizes as people read them.

use std::io::{self, Write};

/// Prints rows of cells in columns: the first one to the left, the others to the right.
pub(crate) fn grid(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut cells = row.iter().zip(&widths);
        if let Some((name, &width)) = cells.next() {
            write!(out, "  {name:<width$}")?;
        }
        for (cell, &width) in cells {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A number of bytes in the largest unit that leaves something before the point; one digit after it,
/// unless there is none.
pub(crate) fn bytes(count: u128) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scale = 0_u32;
    for (unit, next) in UNITS.iter().zip(1_u32..) {
        let whole = count.wrapping_shr(scale);
        if whole < 1024 || *unit == "EiB" {
            let rest = count.wrapping_sub(whole.wrapping_shl(scale));
            let tenths = rest.saturating_mul(10).wrapping_shr(scale);
            return match tenths {
                0 => format!("{whole}{unit}"),
                _ => format!("{whole}.{tenths}{unit}"),
            };
        }
        scale = next.saturating_mul(10);
    }
    format!("{count}B")
}
