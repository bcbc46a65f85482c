//! Two pictures: how long a tree takes by its size, and the longest stretches in it.

use super::{Cost, Kind};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;
use std::time::Duration;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line of a picture: its name, its colour, and what of a cost it shows.
struct Line {
    name: &'static str,
    kind: Kind,
    colour: RGBColor,
    shows: fn(&Cost) -> Duration,
}

const ORANGE: RGBColor = RGBColor(217, 95, 2);
const GREEN: RGBColor = RGBColor(27, 158, 119);
const VIOLET: RGBColor = RGBColor(117, 112, 179);
const GREY: RGBColor = RGBColor(102, 102, 102);

const TIMES: [Line; 4] = [
    Line { name: "full: all", kind: Kind::Full, colour: ORANGE, shows: |cost| cost.times.whole },
    Line {
        name: "full: copy and redirect",
        kind: Kind::Full,
        colour: GREEN,
        shows: |cost| cost.times.copy,
    },
    Line { name: "full: memcpy", kind: Kind::Full, colour: GREY, shows: |cost| cost.times.memcpy },
    Line {
        name: "sparse: all",
        kind: Kind::Sparse,
        colour: VIOLET,
        shows: |cost| cost.times.whole,
    },
];

const STRETCHES: [Line; 4] = [
    Line {
        name: "full: end of a batch",
        kind: Kind::Full,
        colour: ORANGE,
        shows: |cost| cost.longest_end,
    },
    Line {
        name: "full: move of one table",
        kind: Kind::Full,
        colour: GREEN,
        shows: |cost| cost.longest_move,
    },
    Line {
        name: "sparse: end of a batch",
        kind: Kind::Sparse,
        colour: VIOLET,
        shows: |cost| cost.longest_end,
    },
    Line {
        name: "sparse: move of one table",
        kind: Kind::Sparse,
        colour: GREY,
        shows: |cost| cost.longest_move,
    },
];

/// Draws what was measured into a file.
pub fn draw(costs: &[Cost], file: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    // The backend writes at its end, and says nothing if it cannot.
    std::fs::write(file, "").map_err(|error| failed(&error))?;
    let all = SVGBackend::new(file, (1000, 1000)).into_drawing_area();
    all.fill(&WHITE).map_err(|error| failed(&error))?;
    let (upper, lower) = all.split_vertically(500);
    picture(&upper, "moving a whole tree, microseconds by tables", &TIMES, costs)
        .and_then(|()| {
            picture(&lower, "longest stretch, microseconds by tables", &STRETCHES, costs)
        })
        .and_then(|()| all.present().map_err(|error| error.to_string()))
        .map_err(|error| failed(&error))
}

fn points<'c>(line: &'c Line, costs: &'c [Cost]) -> impl Iterator<Item = (f64, f64)> + Clone + 'c {
    let of_kind = costs.iter().filter(|cost| cost.kind == line.kind);
    of_kind.map(|cost| (cost.tables as f64, (line.shows)(cost).as_secs_f64() * 1e6))
}

/// Both axes are logarithmic: what is in proportion is a straight line of slope one, and what is
/// constant is level.
fn picture(area: &Area<'_>, title: &str, lines: &[Line], costs: &[Cost]) -> Result<(), String> {
    let all = || lines.iter().flat_map(|line| points(line, costs));
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let around = values.fold((f64::MAX, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        around.0 * 0.7..around.1 * 1.5
    };
    let (x, y) = (span(&mut all().map(|at| at.0)), span(&mut all().map(|at| at.1)));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(x.log_scale(), y.log_scale())
        .map_err(|error| error.to_string())?;
    chart.configure_mesh().draw().map_err(|error| error.to_string())?;
    for line in lines {
        let colour = line.colour;
        let drawn = chart.draw_series(LineSeries::new(points(line, costs), colour.stroke_width(2)));
        drawn
            .map_err(|error| error.to_string())?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let dots = points(line, costs).map(|at| Circle::new(at, 3, colour.filled()));
        chart.draw_series(dots).map_err(|error| error.to_string())?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|error| error.to_string())
}
