//! The tables before and after, drawn.

use crate::run::Tables;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// One core's tables.
pub(crate) struct Picture {
    pub(crate) name: String,
    /// The aliases of its levels, by height.
    pub(crate) aliases: Vec<&'static str>,
    pub(crate) before: Tables,
    pub(crate) after: Tables,
}

const WIDTH: f64 = 1200.0;
/// Where the aliases of the levels stand.
const MARGIN: f64 = 56.0;
const ROW: f64 = 56.0;
const COLOURS: [&str; 2] = ["#d95f02", "#1b9e77"];

/// All of them, one below the other.
pub(crate) fn svg(pictures: &[Picture]) -> String {
    let (mut body, mut y) = (String::new(), 40.0);
    for picture in pictures {
        // A `String` takes whatever is written to it.
        let _ = draw(picture, &mut body, &mut y);
    }
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {y}' font-family='sans-serif' \
         font-size='13'>\n<rect width='100%' height='100%' fill='white'/>\n\
         <text x='16' y='24'>page tables: <tspan fill='{}'>&#9632; on node 0</tspan> \
         <tspan fill='{}'>&#9632; on node 1</tspan></text>\n{body}</svg>\n",
        COLOURS[0], COLOURS[1]
    );
    out
}

fn draw(picture: &Picture, out: &mut String, y: &mut f64) -> fmt::Result {
    for (when, tables) in [("before", &picture.before), ("after", &picture.after)] {
        *y += 24.0;
        let name = picture.name.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(out, "<text x='16' y='{y}' font-weight='bold'>{name}, {when}</text>")?;
        let levels = picture.aliases.len();
        let places = places(tables, levels, *y + 20.0);
        for (frame, (table, _)) in tables {
            let Some(&(x, top, size)) = places.get(frame) else { continue };
            for &(to, below, to_size) in table.below.iter().filter_map(|below| places.get(below)) {
                let (from_x, from_y) = (x + size / 2.0, top + size);
                let to_x = to + to_size / 2.0;
                writeln!(
                    out,
                    "<path d='M{from_x:.1} {from_y:.1}L{to_x:.1} {below:.1}' stroke='#999' stroke-width='.4'/>"
                )?;
            }
        }
        for (frame, (table, node)) in tables {
            let Some(&(x, top, size)) = places.get(frame) else { continue };
            let colour = COLOURS.get(*node as usize).copied().unwrap_or("black");
            writeln!(
                out,
                "<rect x='{x:.1}' y='{top:.1}' width='{size:.1}' height='{size:.1}' fill='{colour}'>\
                 <title>{} {frame:#x}, node {node}</title></rect>",
                picture.aliases.get(usize::from(table.height)).unwrap_or(&"")
            )?;
        }
        for (row, alias) in picture.aliases.iter().rev().enumerate() {
            let y = *y + 32.0 + ROW * row as f64;
            writeln!(out, "<text x='16' y='{y}' fill='#555'>{alias}</text>")?;
        }
        *y += 20.0 + ROW * levels as f64;
    }
    Ok(())
}

/// Left edge, upper edge and width of each table: a row for each level, the root's on top.
fn places(tables: &Tables, levels: usize, top: f64) -> BTreeMap<u64, (f64, f64, f64)> {
    let mut places = BTreeMap::new();
    for height in 0..levels {
        let of_height = |(_, (table, _)): &(&u64, &(crate::load::Found, u32))| {
            usize::from(table.height) == height
        };
        let row: Vec<u64> = tables.iter().filter(of_height).map(|(&frame, _)| frame).collect();
        let pitch = (WIDTH - MARGIN - 16.0) / row.len() as f64;
        let size = (pitch * 0.8).min(14.0);
        let y = top + ROW * (levels - 1 - height) as f64;
        for (nth, frame) in row.into_iter().enumerate() {
            places.insert(frame, (MARGIN + pitch * (nth as f64 + 0.5) - size / 2.0, y, size));
        }
    }
    places
}
